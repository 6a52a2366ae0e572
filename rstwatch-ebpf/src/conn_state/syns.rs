//! Initial sequence numbers of SYNs that came to listeners, by the flow of their sender.

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use rstwatch_common::flow::Flow;

use crate::conn_state::hash::hash;

const SLOTS: u32 = 1 << 16;

/// Half of the sender's flow's hash, and the number.
#[map]
static SYNS: Array<u64> = Array::with_max_entries(SLOTS, 0);

/// A flow's slot, and the half of the word that distinguishes it from other flows.
#[inline(always)]
fn slot_of(flow: &Flow) -> (u32, u64) {
    let hash = hash(flow, 0);
    ((hash >> 32) as u32 & (SLOTS - 1), hash << 32)
}

/// Keeps the number of a SYN. A later flow with the same slot replaces it.
#[inline(always)]
pub fn insert(flow: &Flow, initial: u32) {
    let (index, tag) = slot_of(flow);
    if let Some(slot) = SYNS.get_ptr_mut(index) {
        // SAFETY: one word, written in one access.
        unsafe { slot.write_volatile(tag | initial as u64) };
    }
}

/// Whether a SYN with this number came.
#[inline(always)]
pub fn contains(flow: &Flow, initial: u32) -> bool {
    let (index, tag) = slot_of(flow);
    // SAFETY: one word, read in one access.
    SYNS.get_ptr(index).is_some_and(|slot| unsafe { slot.read_volatile() } == tag | initial as u64)
}
