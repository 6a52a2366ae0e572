//! `tcp_v4_send_reset`, `tcp_v6_send_reset`: the stack answers a segment with an RST, or declines to.
//!
//! Before Linux 6.10 the tracepoint does not fire for responses without a socket or from TIME_WAIT: this hook reports them. On
//! all kernels an RST for a connection that is gone ends here, unanswered: a repeated one is evidence of forgery.

use core::ffi::c_void;
use core::ptr::null_mut;

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{fentry, kprobe};
use aya_ebpf::programs::{FEntryContext, ProbeContext};
use rstwatch_common::record::{sk_class, state, tcp_flag};

use crate::facts::netns::{net_of_skb, net_of_sock, netns_of_skb, netns_of_sock, watched};
use crate::facts::segment::{self, Seen};
use crate::facts::socket::class_of;
use crate::kernel::{argument, register, setting, value};
use crate::reports::repeated_rst;
use crate::reports::sent::Sent;

/// `RTN_LOCAL`, include/uapi/linux/rtnetlink.h.
const RTN_LOCAL: u16 = 2;
/// `RTF_LOCAL`, include/uapi/linux/ipv6_route.h.
const RTF_LOCAL: u32 = 0x8000_0000;

/// `tcp_v4_send_reset(sk, skb[, reason])`, net/ipv4/tcp_ipv4.c; `reason` since Linux 6.10.
#[fentry(function = "tcp_v4_send_reset")]
pub fn tcp_v4_send_reset(ctx: FEntryContext) -> i32 {
    entered(ctx.as_ptr(), argument, is_local_v4)
}

/// `tcp_v6_send_reset(sk, skb[, reason])`, net/ipv6/tcp_ipv6.c; `reason` since Linux 6.10.
#[fentry(function = "tcp_v6_send_reset")]
pub fn tcp_v6_send_reset(ctx: FEntryContext) -> i32 {
    entered(ctx.as_ptr(), argument, is_local_v6)
}

/// The same by a kprobe, where fentry is refused.
#[kprobe]
pub fn k_v4_send_reset(ctx: ProbeContext) -> u32 {
    entered(ctx.as_ptr(), register, is_local_v4) as u32
}

/// The same by a kprobe, where fentry is refused or IPv6 is a module.
#[kprobe]
pub fn k_v6_send_reset(ctx: ProbeContext) -> u32 {
    entered(ctx.as_ptr(), register, is_local_v6) as u32
}

#[inline(always)]
fn entered(ctx: *mut c_void, argument: fn(*mut c_void, u64) -> u64, is_local: fn(u64) -> bool) -> i32 {
    let (sk, skb) = (argument(ctx, 0), argument(ctx, 1));
    let (netns, net) =
        if sk != 0 { (netns_of_sock(sk), net_of_sock(sk)) } else { (netns_of_skb(skb), net_of_skb(skb)) };
    // Segments without a socket and mini-sockets belong to no cgroup.
    if !watched(netns, || net) || setting!(filter_cgroup) == 1 {
        return 0;
    }
    let mut seen = Seen::empty();
    if !segment::read_skb(skb, &mut seen) {
        return 0;
    }
    // The stack never answers an RST with an RST.
    if seen.segment.flags & tcp_flag::RST != 0 {
        seen.reverse_flow();
        repeated_rst::report(&seen, netns, net);
        return 0;
    }
    if setting!(has_reason) == 0 {
        without_tracepoint(sk, skb, (netns, net), seen, is_local);
    }
    0
}

/// Reports the responses for which the tracepoint does not fire; the conditions are the function's own.
#[inline(always)]
fn without_tracepoint(sk: u64, skb: u64, (netns, net): (u32, u64), mut seen: Seen, is_local: fn(u64) -> bool) {
    let state = if sk == 0 { 0 } else { value!(sk, skc_state, u8) };
    let unseen = if sk == 0 { is_local(skb) } else { state == state::TIME_WAIT };
    if !unseen {
        return;
    }
    let class = if sk == 0 { sk_class::NONE } else { class_of(sk, state) };
    seen.reverse_flow();
    // Neither case has a full socket to read.
    let none: Option<u64> = None;
    Sent { address: sk, sk: none, skb, netns, net, reason: u32::MAX, state, class, seen }.report(null_mut);
}

/// Whether a packet's route is local. The lowest bit marks a reference that is not counted (SKB_DST_NOREF).
#[inline(always)]
fn is_local_v4(skb: u64) -> bool {
    value!(value!(skb, skb_dst, u64) & !1, rt_type, u16) == RTN_LOCAL
}

#[inline(always)]
fn is_local_v6(skb: u64) -> bool {
    value!(value!(skb, skb_dst, u64) & !1, rt6i_flags, u32) & RTF_LOCAL != 0
}
