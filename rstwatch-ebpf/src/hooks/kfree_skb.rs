//! `kfree_skb`: segments that netfilter dropped, or that a full accept queue did. Used where their functions cannot be
//! hooked. A reject drops what it answers, so a dropped segment whose answering RST then reaches a socket here was
//! rejected here.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use rstwatch_common::flow::IPV4;
use rstwatch_common::settings::infer;

use crate::facts;
use crate::kernel::{argument, setting};
use crate::listeners;
use crate::maps::{DROPS, Drop, INFER, LAST_DROP};
use crate::memory;
use crate::netns;
use crate::segment::{self, Seen};

/// `trace_kfree_skb(skb, location, reason, rx_sk)`, net/core/skbuff.c; `reason` since Linux 5.17, `rx_sk` since 6.12.
#[btf_tracepoint(function = "kfree_skb")]
pub fn kfree_skb(ctx: BtfTracePointContext) -> i32 {
    // A number, which no verifier types.
    let reason = ctx.arg::<u64>(2) as u32;
    if reason != setting!(netfilter_drop) && reason != setting!(listen_overflow) {
        return 0;
    }
    let skb = argument(ctx.as_ptr(), 0);
    let netns = netns::netns_of_skb(skb);
    if !facts::watched(netns) {
        return 0;
    }
    let mut seen = Seen::nothing();
    if !segment::read_skb(skb, &mut seen) {
        return 0;
    }
    let wanted = INFER.get(0).copied().unwrap_or(0);
    let rejects = if seen.flow.family == IPV4 { infer::REJECTS_V4 } else { infer::REJECTS_V6 };
    if reason == setting!(listen_overflow) {
        if wanted & infer::OVERFLOWS != 0 {
            // The handshake's last ACK. Its listener, and with it the owner, is at hand since Linux 6.12 alone.
            listeners::dropped_last_ack(argument(ctx.as_ptr(), 3));
            memory::overflowed(&seen.flow.reversed(), netns::net_of_skb(skb), &seen.segment);
        }
    } else if wanted & rejects != 0 {
        let time_ns = facts::now();
        let drop = Drop { time_ns, netns, segment: seen.segment };
        if let Some(last) = LAST_DROP.get_ptr_mut(0) {
            // SAFETY: a slot of the map; CPUs may write at once, and their clocks differ by less than matters.
            unsafe { *last = time_ns };
        }
        let _ = DROPS.insert(&seen.flow, &drop, 0);
    }
    0
}
