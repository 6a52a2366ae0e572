//! Listeners and their accept queues. They are kept by the socket's address, which an iterator can walk: walking socket
//! storage can take the kernel with it.

use aya_ebpf::bindings::BPF_NOEXIST;
use rstwatch_common::listener::{Gone, Listener};
use rstwatch_common::record::Task;

use crate::facts::{self, flow_of, netns_of_sock, now};
use crate::kernel::value;
use crate::maps::{GONE, LISTENERS};

/// A socket listens from now on, or is found listening.
#[inline(never)]
pub fn opened(sk: u64, owner: &Task) {
    let netns = netns_of_sock(sk);
    if !facts::watched(netns) || !facts::in_cgroup(sk) {
        return;
    }
    let drops = value!(sk, sk_drops, u32);
    let listener = Listener {
        owner: *owner,
        sock: sk,
        since_ns: now(),
        full_ns: 0,
        flow: flow_of(sk),
        netns,
        drops_before: drops,
        drops,
        length: 0,
        limit: value!(sk, sk_max_ack_backlog, u32),
        gone: 0,
    };
    // One that is there already is this very one, found by both hook and iterator.
    let _ = LISTENERS.insert(&sk, &listener, BPF_NOEXIST as u64);
}

/// It listens no more. What it dropped is kept until the daemon has read it.
#[inline(never)]
pub fn closed(sk: u64) {
    let Some(listener) = LISTENERS.get_ptr_mut(&sk) else { return };
    // SAFETY: an element of the map, which nobody else deletes while the socket is being closed.
    let listener = unsafe { &mut *listener };
    refresh(listener);
    listener.gone = 1;
    if listener.drops != listener.drops_before {
        let key = Gone { sock: sk, since_ns: listener.since_ns };
        let _ = GONE.insert(&key, listener, 0);
    }
    let _ = LISTENERS.remove(&sk);
}

/// A handshake met its queue full.
#[inline(always)]
pub fn met_full(sk: u64) {
    if let Some(listener) = LISTENERS.get_ptr_mut(&sk) {
        // SAFETY: an element of the map; a number is written.
        unsafe { (*listener).full_ns = now() };
    }
}

/// The numbers of this moment. The port may be given after listen() was called, and listen() again changes the limit.
#[inline(always)]
pub fn refresh(listener: &mut Listener) {
    let sk = listener.sock;
    listener.flow = flow_of(sk);
    listener.drops = value!(sk, sk_drops, u32);
    listener.length = value!(sk, sk_ack_backlog, u32);
    listener.limit = value!(sk, sk_max_ack_backlog, u32);
}
