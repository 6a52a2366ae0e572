//! `tcp_receive_reset`: a socket accepted an RST. The first line of tcp_reset(): the state is the old one, queues and
//! counters are intact.
//!
//! The kernel also calls tcp_reset() itself, for data after RCV_SHUTDOWN. Then `send_reset` follows for the same
//! socket and says so.

use core::ffi::c_void;

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use rstwatch_common::record::{flags, mark, state};

use crate::conn_state::{lifecycle, phantoms, scratch, share, slots, ttl};
use crate::drops;
use crate::facts::cgroup::in_cgroup;
use crate::facts::clock;
use crate::facts::netns::{net_of_sock, netns_of_sock, watched};
use crate::facts::segment::Seen;
use crate::facts::socket::flow_of;
use crate::kernel::{Typed, setting, value};
use crate::reports::{received, rejected};

/// `trace_tcp_receive_reset(sk)`.
#[btf_tracepoint(function = "tcp_receive_reset")]
pub fn tcp_receive_reset(ctx: BtfTracePointContext) -> i32 {
    let typed = ctx.arg::<*mut c_void>(0);
    if typed.is_null() {
        return 0;
    }
    let Some(sk) = Typed::tcp_sock(typed) else { return 0 };
    let netns = netns_of_sock(sk);
    if !watched(netns, || net_of_sock(sk)) || !in_cgroup(sk) {
        return 0;
    }
    let flow = flow_of(sk);
    let now = clock::now();
    let found = slots::get_or_create_open(typed, value!(sk, skc_state, u8), || share::owner_of(sk));
    let conn = if found.is_null() { scratch::take_received(typed) } else { found };
    // SAFETY: the state of a socket that the caller holds, or one of this CPU's.
    let Some(conn) = (unsafe { conn.as_mut() }) else { return 0 };
    lifecycle::met_late(conn, sk);
    conn.marks |= mark::RECEIVED;
    conn.reset.time_ns = now;
    // An attempt has no TTL of its own handshake yet, so it gets that of an earlier one. A connection whose handshake was not
    // seen gets none: another machine may have answered the earlier one.
    if conn.ttl == 0 && value!(sk, skc_state, u8) == state::SYN_SENT {
        conn.ttl = ttl::peer_ttl(&flow, net_of_sock(sk));
    }
    // There are drops only if `kfree_skb` is attached, in place of nf_send_reset. A reject belongs to no cgroup.
    if setting!(filter_cgroup) == 0
        && let Some(drop) = drops::answered_by(&conn.rst, &flow)
    {
        let mut dropped = Seen { segment: drop.segment, flow };
        dropped.reverse_flow();
        rejected::report(&dropped, drop.netns, drop.time_ns, flags::INFERRED);
    }
    let delivered = received::report(sk, netns, &flow, conn, now);
    if !delivered {
        conn.marks |= mark::RECEIVED_LOST;
    }
    if found.is_null() {
        phantoms::keep(sk, delivered);
    } else {
        slots::settle(conn, typed);
    }
    0
}
