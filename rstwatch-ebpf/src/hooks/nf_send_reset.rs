//! `nf_send_reset`, `nf_send_reset6`: netfilter rejects a packet with an RST. No tracepoint fires, and OutRsts does not count
//! it.
//!
//! Most kernels have them in modules, where only a kprobe can attach. Where they are built in, fentry attaches too.

use core::ffi::c_void;

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{fentry, kprobe};
use aya_ebpf::programs::{FEntryContext, ProbeContext};
use rstwatch_common::record::tcp_flag;

use crate::facts::clock::now;
use crate::facts::netns::{netns_of_net, number_of_net, watched};
use crate::facts::segment::{self, Seen};
use crate::kernel::{argument, register, setting};
use crate::reports::rejected;

/// `nf_send_reset(net, [sk,] oldskb, hook)`, net/ipv4/netfilter/nf_reject_ipv4.c; `sk` since Linux 5.15.
#[fentry(function = "nf_send_reset")]
pub fn nf_send_reset(ctx: FEntryContext) -> i32 {
    answered(ctx.as_ptr(), argument)
}

/// `nf_send_reset6(net, [sk,] oldskb, hook)`, net/ipv6/netfilter/nf_reject_ipv6.c; `sk` since Linux 5.15.
#[fentry(function = "nf_send_reset6")]
pub fn nf_send_reset6(ctx: FEntryContext) -> i32 {
    answered(ctx.as_ptr(), argument)
}

/// [`nf_send_reset`] as a kprobe.
#[kprobe]
pub fn k_nf_reset(ctx: ProbeContext) -> u32 {
    answered(ctx.as_ptr(), register) as u32
}

/// [`nf_send_reset6`] as a kprobe.
#[kprobe]
pub fn k_nf_reset6(ctx: ProbeContext) -> u32 {
    answered(ctx.as_ptr(), register) as u32
}

#[inline(always)]
fn answered(ctx: *mut c_void, argument: fn(*mut c_void, u64) -> u64) -> i32 {
    let net = argument(ctx, 0);
    let netns = netns_of_net(net);
    if !watched(netns, || number_of_net(net)) || setting!(filter_cgroup) == 1 {
        return 0;
    }
    // The function itself ignores fragments and RSTs.
    let mut seen = Seen::empty();
    if segment::read_skb(rejected_packet(argument(ctx, 1), argument(ctx, 2)), &mut seen)
        && seen.segment.flags & tcp_flag::RST == 0
    {
        seen.reverse_flow();
        rejected::report(&seen, netns, now(), 0);
    }
    0
}

/// The packet is the third argument, or the second if the third is the hook's number: a kernel address has its highest bit
/// set, a hook's number does not.
#[inline(always)]
fn rejected_packet(second: u64, third: u64) -> u64 {
    if (third as i64) < 0 { third } else { second }
}
