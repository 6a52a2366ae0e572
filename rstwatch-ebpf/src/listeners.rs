//! Listeners and their accept queues. A hash map by the socket's address keeps them, because an iterator can walk it: walking
//! socket storage can crash the kernel (`hooks/sample.rs`).

use core::ffi::c_void;
use core::mem::MaybeUninit;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_seq_write;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap};
use rstwatch_common::listener::{Gone, Listener};
use rstwatch_common::record::{Task, state};

use crate::facts::cgroup::in_cgroup;
use crate::facts::clock::now;
use crate::facts::netns::{net_of_sock, netns_of_sock, watched};
use crate::facts::socket::flow_of;
use crate::facts::task::read_current_process;
use crate::kernel::{Base, offset, read_into, read_or_zero, value};
use crate::listener_shares;
use crate::words::{add_one, copy};

/// Maximum listeners.
pub const MAX: u32 = 16_384;

/// Listeners by the address of their socket.
#[map]
static LISTENERS: HashMap<u64, Listener> = HashMap::with_max_entries(MAX, 0);

/// How many listeners found the map full, or their share of it used up.
#[map]
static UNLISTED: Array<u64> = Array::with_max_entries(1, 0);

/// Former listeners that had dropped something, until the daemon has read them.
#[map]
static GONE: HashMap<Gone, Listener> = HashMap::with_max_entries(1024, 0);

/// The first process; 0: not known.
pub const INIT: u32 = 1;

/// The running task has called listen() on a socket. An element with this key is a former listener's, and is replaced.
#[inline(never)]
pub fn opened(sk: u64) {
    let mut owner = Task::NONE;
    read_current_process(&mut owner);
    insert(sk, &owner);
}

/// A scan found a socket listening. If it ended meanwhile, on another CPU, its element is removed here: no hook would.
#[inline(never)]
pub fn found(sk: u64, owner: &Task) {
    if let Some(listener) = LISTENERS.get_ptr_mut(&sk) {
        // SAFETY: an element of the map.
        let listener = unsafe { &mut *listener };
        // A process that activates sockets for others (systemd) holds them too, and is visited first.
        if listener.owner.tgid <= INIT {
            listener.owner = *owner;
        }
        return;
    }
    insert(sk, owner);
    if value!(sk, skc_state, u8) != state::LISTEN {
        remove(sk);
    }
}

#[inline(always)]
fn insert(sk: u64, owner: &Task) {
    let netns = netns_of_sock(sk);
    if !watched(netns, || net_of_sock(sk)) || !in_cgroup(sk) {
        return;
    }
    // The element of a former listener at this address.
    remove(sk);
    let share = listener_shares::of(sk);
    if listener_shares::is_used_up(share, MAX.into()) {
        return count_unlisted();
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
        share,
        reserved: 0,
    };
    if LISTENERS.insert(&sk, &listener, BPF_NOEXIST as u64).is_ok() {
        listener_shares::count(share, 1);
    } else if LISTENERS.get_ptr(&sk).is_none() {
        count_unlisted();
    }
}

#[inline(always)]
fn count_unlisted() {
    if let Some(unlisted) = UNLISTED.get_ptr_mut(0) {
        add_one(unlisted);
    }
}

/// Removes a listener from the map, if it is there.
#[inline(always)]
fn remove(sk: u64) {
    let Some(listener) = LISTENERS.get_ptr(&sk) else { return };
    // SAFETY: an element of the map.
    let share = unsafe { (*listener).share };
    if LISTENERS.remove(&sk).is_ok() {
        listener_shares::count(share, -1);
    }
}

/// Copies the listener's owner to a child that is just being created.
///
/// At first a child is a copy of its listener, so an empty list in it still points at the listener's own list head
/// (net/core/sock.c, sk_clone_lock). The list is initialised only after the child's first state is set
/// (net/ipv4/tcp_minisocks.c, tcp_create_openreq_child).
#[inline(always)]
pub fn copy_owner_to_child(sk: impl Base, owner: &mut Task) {
    let list = offset!(tsorted_sent_queue);
    // Read as a number: a verifier types it as a pointer, and forbids arithmetic on it.
    let listener = read_or_zero::<u64>(sk.address(), list).wrapping_sub(list as u64);
    if let Some(known) = LISTENERS.get_ptr(&listener) {
        // SAFETY: an element of the map, which is the listener's while it listens.
        copy(owner, unsafe { &(*known).owner });
    }
}

/// A listener is closed. What it dropped is kept until the daemon has read it.
#[inline(never)]
pub fn closed(sk: u64) {
    let Some(listener) = LISTENERS.get_ptr_mut(&sk) else { return };
    // SAFETY: an element of the map, which only this call deletes while the socket is being closed.
    let listener = unsafe { &mut *listener };
    refresh(listener);
    listener.gone = 1;
    if listener.drops != listener.drops_before {
        let key = Gone { sock: sk, since_ns: listener.since_ns };
        let _ = GONE.insert(&key, listener, 0);
    }
    remove(sk);
}

/// A handshake found the queue full: an overflow.
#[inline(always)]
pub fn met_full(sk: u64) {
    if let Some(listener) = LISTENERS.get_ptr_mut(&sk) {
        // SAFETY: the address of an element's field.
        add_one(unsafe { &raw mut (*listener).met_full });
    }
}

/// A handshake's last ACK was dropped because the queue was full. It is seen at the drop, after the overflow.
#[inline(always)]
pub fn dropped_last_ack(sk: u64) {
    if let Some(listener) = LISTENERS.get_ptr_mut(&sk) {
        // SAFETY: the address of an element's field.
        add_one(unsafe { &raw mut (*listener).met_full_late });
    }
}

/// Reads the current numbers. The port may be assigned after listen(), and a second listen() changes the limit.
#[inline(always)]
pub fn refresh(listener: &mut Listener) {
    let sk = listener.sock;
    listener.flow = flow_of(sk);
    listener.drops = value!(sk, sk_drops, u32);
    listener.length = value!(sk, sk_ack_backlog, u32);
    listener.limit = value!(sk, sk_max_ack_backlog, u32);
}

/// The address of a listener's element, if it has one.
#[inline(always)]
pub fn element(sk: u64) -> Option<u64> {
    LISTENERS.get_ptr(&sk).map(|listener| listener as u64)
}

/// Writes the current numbers of a listener that still listens to an iterator's sequence, from the element at this address. It
/// does not write into the map: an element may be reused for another listener during the visit.
#[inline(always)]
pub fn write(element: u64, seq: *mut c_void) {
    let mut copy = MaybeUninit::<Listener>::zeroed();
    // SAFETY: all zeros are a valid value.
    let listener = unsafe { copy.assume_init_mut() };
    if !read_into(element, listener) || value!(listener.sock, skc_state, u8) != state::LISTEN {
        return;
    }
    if netns_of_sock(listener.sock) != listener.netns {
        return;
    }
    refresh(listener);
    // SAFETY: the sequence is the context's own, and the listener is whole.
    unsafe { bpf_seq_write(seq.cast(), core::ptr::from_ref(listener).cast(), size_of::<Listener>() as u32) };
}
