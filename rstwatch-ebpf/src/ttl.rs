//! TTLs and hop limits of peers' handshakes, against which an RST's is held.
//!
//! Each is a word of a table: seven bytes of a hash, and the TTL as the last. A later one that falls on its place takes it.

use rstwatch_common::flow::{Flow, NetnsFlow};

use crate::facts::flow_of;
use crate::hash::{hash, hash_of_peer};
use crate::kernel::{Base, zeroed};
use crate::maps::PEER_TTL;
use crate::netns::net_of_sock;

pub const PLACES: u32 = 1 << 14;

/// A word's last byte.
const TTL: u64 = 0xff;

/// A hash's place, and the word without its TTL.
#[inline(always)]
fn place_of(hash: u64) -> (u32, u64) {
    // The lower bits are the worse mixed, and all of them stand in the word.
    ((hash >> 32) as u32 & (PLACES - 1), hash << 8)
}

#[inline(always)]
fn keep(hash: u64, ttl: u8) {
    let (index, tag) = place_of(hash);
    let Some(place) = PEER_TTL.get_ptr_mut(index) else { return };
    let word = tag | ttl as u64;
    // SAFETY: one word, read or written at once. What stands there already is not written: CPUs share it.
    unsafe {
        if place.read_volatile() != word {
            place.write_volatile(word);
        }
    }
}

/// The TTL kept under a hash, and forgotten if it is `taken`; 0: none.
#[inline(never)]
fn kept(hash: u64, taken: bool) -> u8 {
    let (index, tag) = place_of(hash);
    let Some(place) = PEER_TTL.get_ptr_mut(index) else { return 0 };
    // SAFETY: one word, read at once.
    let word = unsafe { place.read_volatile() };
    if word & !TTL != tag {
        return 0;
    }
    if taken {
        // SAFETY: one word, written at once.
        unsafe { place.write_volatile(0) };
    }
    (word & TTL) as u8
}

/// The TTL of the handshakes with an address and port (see [`peer_key`]), for attempts that get none.
#[inline(always)]
pub fn remember_ttl(sk: impl Base, ttl: u8) {
    keep(hash_of_peer(&flow_of(sk), net_of_sock(sk)), ttl);
}

/// The hop limit of a handshake's last ACK, where the kernel keeps none with the socket.
#[inline(always)]
pub fn handshake_ttl(flow: &Flow, net: u64, ttl: u8) {
    keep(hash(flow, net), ttl);
}

#[inline(never)]
pub fn take_handshake_ttl(sk: impl Base) -> u8 {
    kept(hash(&flow_of(sk), net_of_sock(sk)), true)
}

/// The TTL of earlier handshakes with the same address and port; 0: none seen.
#[inline(always)]
pub fn peer_ttl(flow: &Flow, net: u64) -> u8 {
    kept(hash_of_peer(flow, net), false)
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
