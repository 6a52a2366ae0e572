//! Finds a live connection by its local end alone, among the sockets that share its port.
//!
//! The table of connections is keyed by both ends, so it cannot be searched when one is unknown. The table of bound ports
//! (`inet_hashinfo.bhash`, net/ipv4/inet_hashtables.c) lists every socket that has a local port, children of listeners
//! included, newest first. It is read without its locks, so what is found is checked against the segment.

use rstwatch_common::flow::{Flow, IPV4};
use rstwatch_common::layout::ABSENT;
use rstwatch_common::record::{Segment, state, tcp_flag};

use crate::facts::socket::{AF_INET, AF_INET6};
use crate::kernel::{Base, offset, value};

/// Ports and addresses that one bucket's chain may have before ours.
const BUCKETS: usize = 32;
/// Sockets of one port and local address that are compared. A client's port has few. A busy
/// server's has more: there, connections older than this many others are not found.
const OWNERS: usize = 64;
/// How far a segment may lie before what was acknowledged: it may be a retransmission, or late.
const LATE: u32 = 1 << 16;

/// An IPv6 address as two words in network order; an IPv4 address is v4-mapped, as in `inet_bind2_bucket.v6_rcv_saddr`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Address(u64, u64);

impl Address {
    #[inline(always)]
    const fn mapped(ipv4: u32) -> Self {
        Self(0, (ipv4 as u64) << 32 | 0xffff_0000)
    }

    #[inline(always)]
    fn local_of(flow: &Flow) -> Self {
        let words = flow.local.as_ptr().cast::<u32>();
        // SAFETY: words of the address; the flow is aligned to them.
        let word = |index| unsafe { words.add(index).read_volatile() };
        let pair = |low, high| word(low) as u64 | (word(high) as u64) << 32;
        if flow.family == IPV4 { Self::mapped(word(0)) } else { Self(pair(0, 1), pair(2, 3)) }
    }

    /// The local address of a socket.
    #[inline(always)]
    fn of_socket(sk: u64) -> Self {
        match value!(sk, skc_family, u16) {
            AF_INET => Self::mapped(value!(sk, skc_rcv_saddr, u32)),
            AF_INET6 => Self::read(sk, offset!(skc_v6_rcv_saddr)),
            _ => Self(0, 0),
        }
    }

    #[inline(always)]
    fn read(base: u64, offset: u16) -> Self {
        if offset == ABSENT { Self(0, 0) } else { Self(base.value(offset), base.value(offset + 8)) }
    }
}

/// Whether this kernel's table is read: since Linux 6.8, where a port's sockets are divided by local address.
#[inline(always)]
pub fn is_readable() -> bool {
    offset!(bind_bhash2) != ABSENT
}

/// The address of a live connection's socket which has the flow's local end and in whose windows the segment lies, in the
/// namespace `net` (the address of its structure); 0: none was found. Not inlined, to save the caller's stack.
#[inline(never)]
pub fn connection_of(segment: &Segment, flow: &Flow, net: u64) -> u64 {
    let Address(low, high) = Address::local_of(flow);
    let owners = owners_of(net, flow.local_port.into(), low, high);
    let numbers = segment.seq as u64 | (segment.ack as u64) << 32;
    let opens = segment.flags & tcp_flag::SYN != 0;
    owner_of(owners, flow.local_port as u64 | (opens as u64) << 16, low, high, numbers)
}

/// The first entry in the list of sockets that have a port and a local address; 0: there is none.
///
/// A global function of numbers, like the next one: a verifier walks it once, and not for each call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn owners_of(net: u64, port: u64, low: u64, high: u64) -> u64 {
    if !is_readable() {
        return 0;
    }
    let bucket = bucket_of(net, port as u32);
    if bucket == 0 {
        return 0;
    }
    // struct hlist_head: {first}; struct hlist_node: {next, pprev}.
    let mut node: u64 = value!(bucket, bhash_chain, u64);
    let mut found = 0;
    for _ in 0..BUCKETS {
        if node == 0 {
            return 0;
        }
        let bound = node.wrapping_sub(offset!(bind_node) as u64);
        if value!(bound, bind_port, u16) as u64 == port && value!(bound, bind_net, u64) == net {
            found = bound;
            break;
        }
        node = node.value(0);
    }
    if found == 0 {
        return 0;
    }
    node = value!(found, bind_bhash2, u64);
    for _ in 0..BUCKETS {
        if node == 0 {
            return 0;
        }
        let bound = node.wrapping_sub(offset!(bind2_node) as u64);
        if Address::read(bound, offset!(bind2_address)) == Address(low, high) {
            return value!(bound, bind2_owners, u64);
        }
        node = node.value(0);
    }
    0
}

/// The bucket of a port: `inet_bhashfn`, include/net/inet_hashtables.h. The chain is the bucket's last member.
#[inline(always)]
fn bucket_of(net: u64, port: u32) -> u64 {
    if offset!(net_hashinfo) == ABSENT || offset!(bhash_chain) == ABSENT || offset!(net_hash_mix) == ABSENT {
        return 0;
    }
    let tables = value!(net, net_hashinfo, u64);
    let mask = value!(tables, bhash_size, u32).wrapping_sub(1);
    let index = port.wrapping_add(value!(net, net_hash_mix, u32)) & mask;
    let size = offset!(bhash_chain) as u64 + size_of::<u64>() as u64;
    value!(tables, bhash, u64).wrapping_add(index as u64 * size)
}

/// The first socket in a list of owners that the segment belongs to; 0: none. `wanted`: the port, and 1 << 16 for a SYN-ACK.
/// `numbers`: sequence number, and acknowledgement in the high half.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn owner_of(first: u64, wanted: u64, low: u64, high: u64, numbers: u64) -> u64 {
    if !is_readable() {
        return 0;
    }
    let mut node = first;
    for _ in 0..OWNERS {
        if node == 0 {
            return 0;
        }
        let sk = node.wrapping_sub(offset!(skc_bind_node) as u64);
        if acknowledged_by(sk, (numbers >> 32) as u32)
            && is_expected(sk, numbers, wanted & 1 << 16 != 0)
            && value!(sk, skc_num, u16) == wanted as u16
            && Address::of_socket(sk) == Address(low, high)
        {
            return sk;
        }
        node = node.value(0);
    }
    0
}

/// Whether an acknowledgement is one of what a socket has sent. The answer can arrive before `snd_nxt` is moved
/// (net/ipv4/tcp_output.c, tcp_connect and tcp_write_xmit), so what was written counts. The list may hold a TIME_WAIT mini-socket,
/// which is smaller than what is read here; its state says so later.
#[inline(always)]
fn acknowledged_by(sk: u64, ack: u32) -> bool {
    let written = value!(sk, write_seq, u32);
    let unacknowledged = written.wrapping_sub(value!(sk, snd_una, u32));
    written.wrapping_sub(ack) <= unacknowledged.wrapping_add(LATE)
}

/// Whether a socket may receive a segment with these numbers: it is live, and the sequence number lies in its window, or before
/// as those of retransmissions do. Only a SYN-ACK reaches a socket that connects, which knows no sequence number yet.
#[inline(always)]
fn is_expected(sk: u64, numbers: u64, opens: bool) -> bool {
    match value!(sk, skc_state, u8) {
        state::SYN_SENT => opens && value!(sk, snd_una, u32).wrapping_add(1) == (numbers >> 32) as u32,
        state::ESTABLISHED
        | state::FIN_WAIT1
        | state::FIN_WAIT2
        | state::CLOSE_WAIT
        | state::LAST_ACK
        | state::CLOSING => {
            let reach = value!(sk, rcv_wnd, u32).wrapping_add(LATE);
            let ahead = (numbers as u32).wrapping_sub(value!(sk, rcv_nxt, u32));
            ahead.wrapping_add(reach) <= reach.wrapping_mul(2)
        }
        _ => false,
    }
}
