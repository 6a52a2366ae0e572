//! Listeners and their accept queues. They are kept by the socket's address, which an iterator can walk: walking socket
//! storage can take the kernel with it.

use aya_ebpf::bindings::BPF_NOEXIST;
use rstwatch_common::listener::{Gone, Listener};
use rstwatch_common::record::{Task, state};

use crate::emit::add_one;
use crate::facts::{self, flow_of, now};
use crate::kernel::{Base, copy, offset, read_or_zero, value};
use crate::maps::{GONE, LISTENERS, UNLISTED};
use crate::memory::NO_TASK;
use crate::netns::netns_of_sock;

/// The first process; 0: not known.
pub const INIT: u32 = 1;

/// A socket listens from now on: the running task has called listen(). An element that is there already is a former listener's.
#[inline(never)]
pub fn opened(sk: u64) {
    let mut owner = NO_TASK;
    facts::current_process(&mut owner);
    insert(sk, &owner, 0);
}

/// A socket was found listening. It may have ended meanwhile, on another CPU: then nobody would take its element away.
#[inline(never)]
pub fn found(sk: u64, owner: &Task) {
    if let Some(listener) = LISTENERS.get_ptr_mut(&sk) {
        // SAFETY: an element of the map.
        let listener = unsafe { &mut *listener };
        // Who activates sockets for others holds them too, and comes first.
        if listener.owner.tgid <= INIT {
            listener.owner = *owner;
        }
        return;
    }
    insert(sk, owner, BPF_NOEXIST as u64);
    if value!(sk, skc_state, u8) != state::LISTEN {
        let _ = LISTENERS.remove(&sk);
    }
}

#[inline(always)]
fn insert(sk: u64, owner: &Task, flags: u64) {
    let netns = netns_of_sock(sk);
    if !facts::watched(netns) || !facts::in_cgroup(sk) {
        return;
    }
    let drops = value!(sk, sk_drops, u32);
    let listener = Listener {
        owner: *owner,
        sock: sk,
        since_ns: now(),
        met_full: 0,
        met_full_late: 0,
        flow: flow_of(sk),
        netns,
        drops_before: drops,
        drops,
        length: 0,
        limit: value!(sk, sk_max_ack_backlog, u32),
        gone: 0,
    };
    if LISTENERS.insert(&sk, &listener, flags).is_err()
        && LISTENERS.get_ptr(&sk).is_none()
        && let Some(unlisted) = UNLISTED.get_ptr_mut(0)
    {
        add_one(unlisted);
    }
}

/// The owner of the listener whose child is just being made.
///
/// At first a child is a copy of its listener, and an empty list in it still leads to the listener's own list head
/// (net/core/sock.c, sk_clone_lock; the list is made anew only after the child has got its first state, in
/// net/ipv4/tcp_minisocks.c, tcp_create_openreq_child).
#[inline(always)]
pub fn owner_of_child(sk: impl Base, owner: &mut Task) {
    let list = offset!(tsorted_sent_queue);
    // As a number: a verifier knows this for a pointer, with which there is no reckoning.
    let listener = read_or_zero::<u64>(sk.address(), list).wrapping_sub(list as u64);
    if let Some(known) = LISTENERS.get_ptr(&listener) {
        // SAFETY: an element of the map. It is the listener's as long as that listens.
        copy(owner, unsafe { &(*known).owner });
    }
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

/// A handshake meets its queue full: an overflow.
#[inline(always)]
pub fn met_full(sk: u64) {
    if let Some(listener) = LISTENERS.get_ptr_mut(&sk) {
        // SAFETY: the address of an element's field.
        add_one(unsafe { &raw mut (*listener).met_full });
    }
}

/// A handshake's last ACK was dropped for that, which is seen after the event.
#[inline(always)]
pub fn dropped_last_ack(sk: u64) {
    if let Some(listener) = LISTENERS.get_ptr_mut(&sk) {
        // SAFETY: the address of an element's field.
        add_one(unsafe { &raw mut (*listener).met_full_late });
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
