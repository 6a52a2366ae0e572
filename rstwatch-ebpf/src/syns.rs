//! Initial sequence numbers of SYNs that came to listeners, by the flow of their sender.

use rstwatch_common::flow::Flow;

use crate::hash::hash;
use crate::maps::SYNS;

pub const PLACES: u32 = 1 << 16;

/// Where a flow's number is, and the half of the word that tells it from another flow's.
#[inline(always)]
fn place_of(flow: &Flow) -> (u32, u64) {
    let hash = hash(flow, 0);
    ((hash >> 32) as u32 & (PLACES - 1), hash << 32)
}

/// Keeps the number of a SYN. A later flow that falls on the same place takes it.
#[inline(always)]
pub fn keep(flow: &Flow, initial: u32) {
    let (index, tag) = place_of(flow);
    if let Some(place) = SYNS.get_ptr_mut(index) {
        // SAFETY: one word, written at once.
        unsafe { place.write_volatile(tag | initial as u64) };
    }
}

/// Whether a SYN with this number came.
#[inline(always)]
pub fn came(flow: &Flow, initial: u32) -> bool {
    let (index, tag) = place_of(flow);
    // SAFETY: one word, read at once.
    SYNS.get_ptr(index).is_some_and(|place| unsafe { place.read_volatile() } == tag | initial as u64)
}
