//! `kfree_skb`: segments that netfilter or a full accept queue dropped. Used where the functions that drop them cannot be
//! hooked.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::BtfTracePointContext;
use rstwatch_common::flow::IPV4;
use rstwatch_common::settings::infer;

use crate::conn_state::tombstones;
use crate::drops;
use crate::facts::netns::{net_of_skb, netns_of_skb, watched};
use crate::facts::segment::{self, Seen};
use crate::kernel::{argument, setting};
use crate::listeners;

/// What to infer from drops, because another hook is missing: bits of [`infer`].
#[map]
static INFER: Array<u64> = Array::with_max_entries(1, 0);

/// `trace_kfree_skb(skb, location, reason, rx_sk)`, net/core/skbuff.c; `reason` since Linux 5.17, `rx_sk` since 6.11.
#[btf_tracepoint(function = "kfree_skb")]
pub fn kfree_skb(ctx: BtfTracePointContext) -> i32 {
    // Read as a number, so no verifier types it.
    let reason = ctx.arg::<u64>(2) as u32;
    if reason != setting!(netfilter_drop) && reason != setting!(listen_overflow) {
        return 0;
    }
    let skb = argument(ctx.as_ptr(), 0);
    let netns = netns_of_skb(skb);
    if !watched(netns, || net_of_skb(skb)) {
        return 0;
    }
    let mut seen = Seen::empty();
    if !segment::read_skb(skb, &mut seen) {
        return 0;
    }
    let wanted = INFER.get(0).copied().unwrap_or(0);
    let rejects = if seen.flow.family == IPV4 { infer::REJECTS_V4 } else { infer::REJECTS_V6 };
    if reason == setting!(listen_overflow) {
        if wanted & infer::OVERFLOWS != 0 {
            // The handshake's last ACK. The tracepoint passes the listener, and with it the owner, only since Linux 6.11.
            listeners::dropped_last_ack(argument(ctx.as_ptr(), 3));
            tombstones::insert_overflowed(&seen.flow.reversed(), net_of_skb(skb), &seen.segment);
        }
    } else if wanted & rejects != 0 {
        drops::insert(&seen, netns);
    }
    0
}
