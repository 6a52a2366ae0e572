//! `tcp_send_reset`: the stack sent an RST, of its own accord (active, no skb) or in response to a segment (passive, skb).

use core::ffi::c_void;
use core::ptr::null_mut;

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::conn_state::slots;
use crate::facts::cgroup::in_cgroup;
use crate::facts::netns::{net_of_skb, net_of_sock, netns_of_skb, netns_of_sock, watched};
use crate::facts::segment::{self, Seen};
use crate::facts::socket::{class_of, read_flow};
use crate::kernel::{Base, Typed, argument, setting, value};
use crate::reports::sent::Sent;
use crate::words::clear;

/// `trace_tcp_send_reset(sk, skb, reason)`; `reason` since Linux 6.10. Both pointers can be NULL, `sk` can be a
/// listener or a TIME_WAIT mini-socket (net/ipv4/tcp_ipv4.c, tcp_v4_send_reset).
#[btf_tracepoint(function = "tcp_send_reset")]
pub fn tcp_send_reset(ctx: BtfTracePointContext) -> i32 {
    // The pointer has a NULL check of its own for the kernels that require one.
    let typed = ctx.arg::<*mut c_void>(0);
    let sk = if typed.is_null() { None } else { Typed::tcp_sock(typed) };
    // Whether it is NULL is read from the number; the pointer's own check is for the kernels that require one. On the others a
    // load from NULL would be an oops.
    let packet = Typed::new(ctx.arg::<*mut c_void>(1)).filter(|_| argument(ctx.as_ptr(), 1) != 0);
    let skb = packet.map_or(0, |packet| packet.address());
    // Segments without a socket and mini-sockets are read through the helper, and belong to no cgroup.
    let address = sk.map_or_else(|| argument(ctx.as_ptr(), 0), |sk| sk.address());
    let (netns, net, state) = match sk {
        Some(sk) => (netns_of_sock(sk), net_of_sock(sk), value!(sk, skc_state, u8)),
        None if address != 0 => (netns_of_sock(address), net_of_sock(address), value!(address, skc_state, u8)),
        None => packet.map_or((0, 0, 0), |packet| (netns_of_skb(packet), net_of_skb(packet), 0)),
    };
    if !watched(netns, || net) || (setting!(filter_cgroup) == 1 && !sk.is_some_and(|sk| in_cgroup(sk))) {
        return 0;
    }
    // Read as a number, so no verifier types it.
    let reason = if setting!(has_reason) == 1 { ctx.arg::<u64>(2) as u32 } else { u32::MAX };
    let class = class_of(address, state);
    let mut sent = Sent { address, sk, skb, netns, net, reason, state, class, seen: Seen::empty() };
    read_cause(address, sk, packet, &mut sent.seen);
    sent.report(|| if typed.is_null() { null_mut() } else { slots::get(typed) });
    0
}

/// Reads the provoking segment, and the flow from our end: the segment's, reversed, if there is one (a listener has no peer),
/// else the socket's. In place, to save stack.
#[inline(always)]
fn read_cause(address: u64, sk: Option<Typed>, packet: Option<Typed>, seen: &mut Seen) {
    if let Some(packet) = packet
        && segment::read_skb(packet, seen)
    {
        return seen.reverse_flow();
    }
    clear(&mut seen.segment);
    match sk {
        Some(sk) => read_flow(sk, &mut seen.flow),
        None if address != 0 => read_flow(address, &mut seen.flow),
        None => clear(&mut seen.flow),
    }
}
