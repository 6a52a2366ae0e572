//! `tcp_send_reset`: the stack sent an RST, of its own (active, no skb) or as an answer (passive, skb).

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use core::ffi::c_void;
use rstwatch_common::flow::Flow;
use rstwatch_common::record::{Segment, sk_class};

use crate::facts::{self, class_of, flow_of, netns_of_skb, netns_of_sock};
use crate::kernel::{argument, setting, value};
use crate::maps::SOCKETS;
use crate::segment::{self, NO_SEGMENT, Seen};
use crate::sent::Sent;

/// `trace_tcp_send_reset(sk, skb, reason)`; `reason` since Linux 6.10. Both pointers can be NULL, `sk` can be a
/// listener or a TIME_WAIT mini-socket (net/ipv4/tcp_ipv4.c, tcp_v4_send_reset).
#[btf_tracepoint(function = "tcp_send_reset")]
pub fn tcp_send_reset(ctx: BtfTracePointContext) -> i32 {
    let sk = argument(ctx.as_ptr(), 0);
    let skb = argument(ctx.as_ptr(), 1);
    let netns = if sk != 0 { netns_of_sock(sk) } else { netns_of_skb(skb) };
    let state = value!(sk, skc_state, u8);
    let class = class_of(sk, state);
    // No socket and mini-sockets belong to no cgroup.
    let bound = class == sk_class::FULL || class == sk_class::LISTEN;
    if !facts::watched(netns) || (setting!(filter_cgroup) == 1 && !(bound && facts::in_cgroup(sk))) {
        return 0;
    }
    let reason = if setting!(has_reason) == 1 { argument(ctx.as_ptr(), 2) as u32 } else { u32::MAX };
    let (segment, flow) = provoked_by(sk, skb);
    let sent = Sent { sk, skb, netns, reason, state, class, segment, flow };

    // The typed pointer serves the storage helper alone; it has a NULL check of its own for the kernels that want one.
    let typed = ctx.arg::<*mut c_void>(0);
    let kept = if class == sk_class::TIME_WAIT || typed.is_null() { core::ptr::null_mut() } else { SOCKETS.get(typed) };
    // SAFETY: storage of a socket that the caller holds.
    let kept = unsafe { kept.as_mut() };
    sent.report(kept);
    0
}

/// The provoking segment, and the flow from our end: the segment's, reversed, where there is one
/// (a listener has no peer), else the socket's.
#[inline(always)]
fn provoked_by(sk: u64, skb: u64) -> (Segment, Flow) {
    let mut seen = Seen::NOTHING;
    if skb != 0 && segment::read_skb(skb, &mut seen) {
        return (seen.segment, seen.flow.reversed());
    }
    (NO_SEGMENT, if sk == 0 { Flow::EMPTY } else { flow_of(sk) })
}
