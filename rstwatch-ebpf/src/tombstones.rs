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
use crate::maps::{TOMBSTONE_SETS, TOMBSTONES};

/// Places of a set.
const WAYS: usize = 8;
pub const SETS: u32 = 8192;
pub const PLACES: u32 = SETS * WAYS as u32;

/// For each of its places a word: half of the flow's hash, and the jiffies (low word) when it was written; 0: empty.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Set([u64; WAYS]);

/// What is remembered.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Tombstone {
    /// The number of its network namespace; 0: the place is empty, or is being written.
    net: u64,
    /// The connection from the end that lived there.
    flow: Flow,
    memory: Memory,
}

/// Where a flow's set is, and the half of the hash that stands there.
#[inline(always)]
fn set_of(flow: &Flow, net: u64) -> (u32, u32) {
    let hash = hash(flow, net);
    ((hash >> 32) as u32 & (SETS - 1), hash as u32)
}

/// The word of a set that stands for a place.
#[inline(always)]
fn word(set: *mut Set, way: u32) -> *mut u64 {
    // SAFETY: within the set.
    unsafe { set.cast::<u64>().add(way as usize & (WAYS - 1)) }
}

/// Keeps a memory under its flow, and tells where. (NULL never, but verifiers do not know.)
#[inline(never)]
pub fn bury(memory: &Memory, flow: &Flow, net: u64) -> *mut Memory {
    let (index, tag) = set_of(flow, net);
    let Some(set) = TOMBSTONE_SETS.get_ptr_mut(index) else { return core::ptr::null_mut() };
    let written = jiffies();
    let way = place_for(set, tag, written);
    let Some(place) = TOMBSTONES.get_ptr_mut(index * WAYS as u32 + way) else { return core::ptr::null_mut() };
    // SAFETY: a place of the table: plain numbers. Two CPUs that write it at once mix two memories.
    let place = unsafe { &mut *place };
    let net_of = &raw mut place.net;
    // Who looks meanwhile finds nothing.
    // SAFETY: a word of the place, as below.
    unsafe { net_of.write_volatile(0) };
    // SAFETY: a word of the set, written at once.
    unsafe { word(set, way).write_volatile((tag as u64) << 32 | written as u64) };
    copy(&mut place.memory, memory);
    copy(&mut place.flow, flow);
    // SAFETY: as above.
    unsafe { net_of.write_volatile(net) };
    &raw mut place.memory
}

/// The flow's own place if it has one, else the oldest. An empty one is as old as jiffies 0, so it comes last for some minutes
/// each 49 days; one more branch here would double the time that a verifier takes for `tcp_send_reset`.
#[inline(always)]
fn place_for(set: *mut Set, tag: u32, now: u32) -> u32 {
    let (mut best, mut found) = (0, 0);
    for way in 0..WAYS as u32 {
        // SAFETY: a word of the set, read at once.
        let word = unsafe { word(set, way).read_volatile() };
        let age = now.wrapping_sub(word as u32) as u64;
        let worth = if (word >> 32) as u32 == tag { u64::MAX } else { age + 1 };
        if worth > best {
            (best, found) = (worth, way);
        }
    }
    found
}

/// What was buried under a flow, or NULL.
#[inline(never)]
pub fn find(flow: &Flow, net: u64) -> *mut Memory {
    let (index, tag) = set_of(flow, net);
    let Some(set) = TOMBSTONE_SETS.get_ptr_mut(index) else { return core::ptr::null_mut() };
    let mut found = WAYS as u32;
    // The first that has the tag, as to bury does.
    for way in (0..WAYS as u32).rev() {
        // SAFETY: as above.
        if (unsafe { word(set, way).read_volatile() } >> 32) as u32 == tag {
            found = way;
        }
    }
    if found == WAYS as u32 {
        return core::ptr::null_mut();
    }
    let Some(place) = TOMBSTONES.get_ptr_mut(index * WAYS as u32 + found) else { return core::ptr::null_mut() };
    // SAFETY: as above.
    let place = unsafe { &mut *place };
    if place.net == net && same(&place.flow, flow) { &raw mut place.memory } else { core::ptr::null_mut() }
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
