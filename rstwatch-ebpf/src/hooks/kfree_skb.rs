//! `kfree_skb`: segments that this host's netfilter dropped. A reject drops what it answers, so a dropped segment
//! whose answering RST then reaches a socket here was rejected here. Used where nf_send_reset cannot be hooked.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::facts;
use crate::kernel::{argument, setting};
use crate::maps::{DROPS, Drop};
use crate::segment::{self, Seen};

/// `trace_kfree_skb(skb, location, reason, ..)`, net/core/skbuff.c; `reason` since Linux 5.17.
#[btf_tracepoint(function = "kfree_skb")]
pub fn kfree_skb(ctx: BtfTracePointContext) -> i32 {
    if argument(ctx.as_ptr(), 2) as u32 != setting!(netfilter_drop) {
        return 0;
    }
    let skb = argument(ctx.as_ptr(), 0);
    let netns = facts::netns_of_skb(skb);
    if !facts::watched(netns) {
        return 0;
    }
    let mut seen = Seen::NOTHING;
    if segment::read_skb(skb, &mut seen) {
        let drop = Drop { time_ns: facts::now(), netns, segment: seen.segment };
        let _ = DROPS.insert(&seen.flow, &drop, 0);
    }
    0
}
