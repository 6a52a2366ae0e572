//! TTLs and hop limits of peers' handshakes, against which an RST's is held.

use rstwatch_common::flow::{Flow, NetnsFlow};

use crate::facts::{flow_of, netns_of_sock};
use crate::kernel::{Base, zeroed};
use crate::maps::PEER_TTL;

/// The TTL of the handshakes with an address and port, for attempts that get none.
#[inline(always)]
pub fn remember_ttl(sk: impl Base, ttl: u8) {
    let key = peer_key(&flow_of(sk), netns_of_sock(sk));
    // A hit writes nothing: an update takes a node from the free list and gives one back.
    // SAFETY: one byte; a torn read is not possible.
    if unsafe { PEER_TTL.get(&key) } != Some(&ttl) {
        let _ = PEER_TTL.insert(&key, &ttl, 0);
    }
}

/// The hop limit of a handshake's last ACK, where the kernel keeps none with the socket.
#[inline(always)]
pub fn handshake_ttl(flow: &Flow, netns: u32, ttl: u8) {
    let _ = PEER_TTL.insert(&NetnsFlow { flow: *flow, netns }, &ttl, 0);
}

#[inline(never)]
pub fn take_handshake_ttl(sk: impl Base) -> u8 {
    let key = NetnsFlow { flow: flow_of(sk), netns: netns_of_sock(sk) };
    // SAFETY: one byte; a torn read is not possible.
    let ttl = unsafe { PEER_TTL.get(&key) }.copied().unwrap_or(0);
    if ttl != 0 {
        let _ = PEER_TTL.remove(&key);
    }
    ttl
}

/// The TTL of earlier handshakes with the same address and port; 0: none seen.
#[inline(never)]
pub fn peer_ttl(flow: &Flow, netns: u32) -> u8 {
    let key = peer_key(flow, netns);
    // SAFETY: one byte; a torn read is not possible.
    unsafe { PEER_TTL.get(&key) }.copied().unwrap_or(0)
}

#[inline(always)]
pub fn peer_key(flow: &Flow, netns: u32) -> NetnsFlow {
    // Not by address alone: behind one address each port may be served by another machine or container.
    let mut key: NetnsFlow = zeroed();
    key.flow.remote = flow.remote;
    key.flow.remote_port = flow.remote_port;
    key.flow.family = flow.family;
    key.netns = netns;
    key
}
