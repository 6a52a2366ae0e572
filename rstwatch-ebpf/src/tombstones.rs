//! Connections that are gone: who closed them, how, after which silence.
//!
//! Two arrays. The places hold what is remembered; the sets, of as many places as words fit into a cache line, say which hold
//! what, and since when. The oldest of its set gives way. A hash map that forgets the oldest of all would cost as much as all
//! the rest that is done for a connection, since each of its steps is a miss of the cache.

use rstwatch_common::flow::Flow;
use rstwatch_common::record::Memory;

use crate::facts::jiffies;
use crate::hash::hash;
use crate::kernel::copy;
use crate::maps::{PLACES, TOMBSTONE_SETS};
use crate::sets::{self, WAYS, word};

/// Sets, whose words are half of the flow's hash, and the jiffies (low word) when the place was written.
pub const SETS: u32 = 8192;
pub const COUNT: u32 = SETS * WAYS;

/// Where a flow's set is, and the half of the hash that stands there.
#[inline(always)]
fn set_of(flow: &Flow, net: u64) -> (u32, u32) {
    let hash = hash(flow, net);
    ((hash >> 32) as u32 & (SETS - 1), hash as u32)
}

/// Keeps a memory under its flow, and tells where. (NULL never, but verifiers do not know.)
#[inline(never)]
pub fn bury(memory: &Memory, flow: &Flow, net: u64) -> *mut Memory {
    let (index, tag) = set_of(flow, net);
    let way = take_tombstone(index, tag);
    let Some(place) = PLACES.get_ptr_mut(index * WAYS + way) else { return core::ptr::null_mut() };
    // SAFETY: a place of the table: plain numbers. Two CPUs that write it at once mix two memories.
    let place = unsafe { &mut *place };
    let net_of = &raw mut place.net;
    // Who looks meanwhile finds nothing.
    // SAFETY: a word of the place, as below.
    unsafe { net_of.write_volatile(0) };
    copy(&mut place.memory, memory);
    copy(&mut place.flow, flow);
    // SAFETY: as above.
    unsafe { net_of.write_volatile(net) };
    &raw mut place.memory
}

/// Gives a flow its own place if it has one, else one that is empty, else the oldest. What is still there is another flow's,
/// and says so.
///
/// A function of numbers that is visible outside: a verifier walks it once, and not for each way to it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_tombstone(index: u32, tag: u32) -> u32 {
    let Some(set) = TOMBSTONE_SETS.get_ptr_mut(index) else { return 0 };
    let now = jiffies();
    let (mut best, mut found) = (0, 0);
    for way in 0..WAYS {
        let there = sets::read(set, way);
        let worth = match there {
            0 => u64::MAX - 1,
            _ if (there >> 32) as u32 == tag => u64::MAX,
            _ => now.wrapping_sub(there as u32) as u64 + 1,
        };
        if worth > best {
            (best, found) = (worth, way);
        }
    }
    // SAFETY: a word of the set, written at once.
    unsafe { word(set, found).write_volatile((tag as u64) << 32 | now as u64) };
    found
}

/// What was buried under a flow, or NULL.
#[inline(never)]
pub fn find(flow: &Flow, net: u64) -> *mut Memory {
    let (index, tag) = set_of(flow, net);
    let way = tombstone_of(index, tag);
    if way == WAYS {
        return core::ptr::null_mut();
    }
    let Some(place) = PLACES.get_ptr_mut(index * WAYS + way) else { return core::ptr::null_mut() };
    // SAFETY: as above.
    let place = unsafe { &mut *place };
    if place.net == net && same(&place.flow, flow) { &raw mut place.memory } else { core::ptr::null_mut() }
}

/// The first place that has the tag; [`WAYS`]: none. Visible outside, as above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tombstone_of(index: u32, tag: u32) -> u32 {
    let Some(set) = TOMBSTONE_SETS.get_ptr_mut(index) else { return WAYS };
    let mut found = WAYS;
    for way in (0..WAYS).rev() {
        if (sets::read(set, way) >> 32) as u32 == tag {
            found = way;
        }
    }
    found
}

/// By words: a compiler compares byte arrays by a call.
#[inline(always)]
fn same(left: &Flow, right: &Flow) -> bool {
    let (left, right) = (core::ptr::from_ref(left).cast::<u32>(), core::ptr::from_ref(right).cast::<u32>());
    let mut differs = 0;
    for index in 0..size_of::<Flow>() / 4 {
        // SAFETY: words of the flows, which are aligned to them.
        differs |= unsafe { left.add(index).read_volatile() ^ right.add(index).read_volatile() };
    }
    differs == 0
}
