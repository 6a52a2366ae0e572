//! `nf_send_reset`, `nf_send_reset6`: netfilter answers a packet with an RST. No tracepoint, no OutRsts.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use rstwatch_common::counts::{Counted, NO_REASON};
use rstwatch_common::record::{MAGIC, flags, kind, sk_class, tcp_flag};

use crate::emit::{Rate, emit};
use crate::facts;
use crate::kernel::{argument, clear, setting};
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
    let Seen { segment, flow } = seen;
    emit(Counted::Firewall, NO_REASON, Rate::Firewall, |record| {
        record.magic = MAGIC;
        record.reason = u32::MAX;
        record.time_ns = facts::now();
        record.sock = 0;
        record.cgroup = 0;
        record.netns = netns;
        record.kind = kind::FIREWALL;
        record.sk_class = sk_class::NONE;
        record.state = 0;
        record.reserved = 0;
        record.flow = flow.reversed();
        record.segment = segment;
        clear(&mut record.memory);
        record.flags = flags::SKB;
        clear(&mut record.tcp);
        clear(&mut record.task);
    });
}
