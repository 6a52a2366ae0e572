//! `nf_send_reset`, `nf_send_reset6`: netfilter answers a packet with an RST. No tracepoint, no OutRsts.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use rstwatch_common::record::tcp_flag;

use crate::facts;
use crate::kernel::{argument, setting};
use crate::reject;
use crate::segment::{self, Seen};

/// `nf_send_reset(net, [sk,] oldskb, hook)`, net/ipv4/netfilter/nf_reject_ipv4.c.
#[fentry(function = "nf_send_reset")]
pub fn nf_send_reset(ctx: FEntryContext) -> i32 {
    rejected(&ctx);
    0
}

/// `nf_send_reset6(net, [sk,] oldskb, hook)`, net/ipv6/netfilter/nf_reject_ipv6.c.
#[fentry(function = "nf_send_reset6")]
pub fn nf_send_reset6(ctx: FEntryContext) -> i32 {
    rejected(&ctx);
    0
}

#[inline(always)]
fn rejected(ctx: &FEntryContext) {
    let netns = facts::netns_of_net(argument(ctx.as_ptr(), 0));
    let skb = argument(ctx.as_ptr(), setting!(reject_skb_arg) as u64);
    if !facts::watched(netns) || setting!(filter_cgroup) == 1 {
        return;
    }
    // The function itself gives up on fragments and on RSTs.
    let mut seen = Seen::NOTHING;
    if !segment::read_skb(skb, &mut seen) || seen.segment.flags & tcp_flag::RST != 0 {
        return;
    }
    reject::report(&seen, netns, facts::now(), 0);
}
