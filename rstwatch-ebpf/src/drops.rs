//! Segments that this host's netfilter dropped, and the rejects that follow from them.
//!
//! Used where `nf_send_reset` cannot be hooked. A reject drops the segment that it answers, so if the answering RST then reaches a
//! socket here, the segment was rejected here.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap};
use rstwatch_common::flow::Flow;
use rstwatch_common::record::{Rst, Segment, present, tcp_flag};

use crate::facts::clock::now;
use crate::facts::segment::Seen;

/// How far from the drop the reject's RST may arrive: it crosses this host only, while a retransmission of the dropped
/// segment, which the peer itself may answer, takes an RTO.
const REJECT_WINDOW_NS: u64 = 50_000_000;

/// Dropped segments, by the flow of their sender.
#[map]
static DROPS: LruHashMap<Flow, Drop> = LruHashMap::with_max_entries(4096, 0);

/// When a segment was last put into `DROPS`. It saves most resets the lookup.
#[map]
static LAST_DROP: Array<u64> = Array::with_max_entries(1, 0);

/// A dropped segment.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Drop {
    pub time_ns: u64,
    pub netns: u32,
    pub segment: Segment,
    /// Padding, written so that no verifier reads uninitialised stack.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Drop>() == size_of::<u64>() + 2 * size_of::<u32>() + size_of::<Segment>());

/// Keeps a segment that netfilter dropped in `netns`.
#[inline(always)]
pub fn insert(seen: &Seen, netns: u32) {
    let time_ns = now();
    let drop = Drop { time_ns, netns, segment: seen.segment, reserved: 0 };
    if let Some(last) = LAST_DROP.get_ptr_mut(0) {
        // SAFETY: a slot of the map; CPUs may write at once, and their clocks differ by less than matters.
        unsafe { *last = time_ns };
    }
    let _ = DROPS.insert(&seen.flow, &drop, 0);
}

/// The dropped segment of `flow` that an RST answers: its shape and numbers say so (net/ipv4/netfilter/nf_reject_ipv4.c,
/// nf_reject_ip_tcphdr_put).
#[inline(always)]
pub fn answered_by(rst: &Rst, flow: &Flow) -> Option<&'static Drop> {
    // If even the last drop was too early, all were.
    let last = LAST_DROP.get(0).copied().unwrap_or(0);
    if last == 0 || last.saturating_add(REJECT_WINDOW_NS) < rst.time_ns {
        return None;
    }
    // SAFETY: an LRU element may be reused at any time; it holds plain numbers.
    let drop = unsafe { DROPS.get(flow) }?;
    // Over loopback the RST arrives before the rejected segment is freed.
    let near = rst.time_ns.abs_diff(drop.time_ns) <= REJECT_WINDOW_NS;
    let rst = &rst.segment;
    if rst.present & present::SEGMENT == 0 || !near {
        return None;
    }
    let dropped = &drop.segment;
    let bare = rst.flags & tcp_flag::ACK == 0;
    let answers = if dropped.flags & tcp_flag::ACK != 0 {
        bare && rst.seq == dropped.ack
    } else {
        let opens = (dropped.flags & (tcp_flag::SYN | tcp_flag::FIN)).count_ones();
        !bare && rst.ack == dropped.seq.wrapping_add(dropped.payload).wrapping_add(opens)
    };
    answers.then_some(drop)
}
