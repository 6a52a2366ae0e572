//! TTLs and hop limits of peers' handshakes, with which an RST's is compared.
//!
//! Each is a word of a table: seven bytes of a hash, and the TTL as the last. A later one with the same slot replaces it.

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use rstwatch_common::flow::{Flow, NetnsFlow};

use crate::conn_state::hash::{hash, hash_of_peer};
use crate::facts::netns::net_of_sock;
use crate::facts::socket::flow_of;
use crate::kernel::Base;
use crate::words::zeroed;

const SLOTS: u32 = 1 << 14;

/// TTL or hop limit of the handshakes of a peer, by namespace, address and port; and of handshakes that are just being
/// completed, by their whole flow.
#[map]
static PEER_TTL: Array<u64> = Array::with_max_entries(SLOTS, 0);

/// A word's last byte.
const TTL: u64 = 0xff;

/// A hash's slot, and the word without its TTL.
#[inline(always)]
fn slot_of(hash: u64) -> (u32, u64) {
    // The upper bits are better mixed; the word holds all the lower ones.
    ((hash >> 32) as u32 & (SLOTS - 1), hash << 8)
}

#[inline(always)]
fn insert(hash: u64, ttl: u8) {
    let (index, tag) = slot_of(hash);
    let Some(slot) = PEER_TTL.get_ptr_mut(index) else { return };
    let word = tag | ttl as u64;
    // SAFETY: one word, read or written in one access. An equal word is not written again: CPUs share its cache line.
    unsafe {
        if slot.read_volatile() != word {
            slot.write_volatile(word);
        }
    }
}

/// The TTL under a hash, and removed if `take`; 0: none.
#[inline(never)]
fn find(hash: u64, take: bool) -> u8 {
    let (index, tag) = slot_of(hash);
    let Some(slot) = PEER_TTL.get_ptr_mut(index) else { return 0 };
    // SAFETY: one word, read in one access.
    let word = unsafe { slot.read_volatile() };
    if word & !TTL != tag {
        return 0;
    }
    if take {
        // SAFETY: one word, written in one access.
        unsafe { slot.write_volatile(0) };
    }
    (word & TTL) as u8
}

/// Keeps the TTL of a handshake with an address and port (see [`peer_key`]), for attempts that are reset before theirs.
#[inline(always)]
pub fn keep_peer_ttl(sk: impl Base, ttl: u8) {
    insert(hash_of_peer(&flow_of(sk), net_of_sock(sk)), ttl);
}

/// The TTL of earlier handshakes with the same address and port; 0: none seen.
#[inline(always)]
pub fn peer_ttl(flow: &Flow, net: u64) -> u8 {
    find(hash_of_peer(flow, net), false)
}

/// Keeps the hop limit of a handshake's last ACK, where the kernel keeps none with the socket.
#[inline(always)]
pub fn keep_handshake_ttl(flow: &Flow, net: u64, ttl: u8) {
    insert(hash(flow, net), ttl);
}

/// The hop limit that [`keep_handshake_ttl`] kept; 0: none.
#[inline(never)]
pub fn take_handshake_ttl(sk: impl Base) -> u8 {
    find(hash(&flow_of(sk), net_of_sock(sk)), true)
}

/// The key of a peer. Not its address alone: behind one address each port may be served by another machine or container.
#[inline(always)]
pub fn peer_key(flow: &Flow, netns: u32) -> NetnsFlow {
    let mut key: NetnsFlow = zeroed();
    key.flow.remote = flow.remote;
    key.flow.remote_port = flow.remote_port;
    key.flow.family = flow.family;
    key.netns = netns;
    key
}
