//! Tombstones: the state of connections that are gone, for late segments: who closed them, how, after which silence. Attempts to
//! connect that were given up are among them.
//!
//! The buckets say which flow has which slot, and since when; the oldest of a bucket is evicted. An LRU hash map would cost as
//! much as everything else that is done for a connection, because each of its steps misses the cache.
//!
//! Late segments mostly ask for a connection that was closed after a silence. Such connections are few, and have a region of
//! their own, which short ones cannot fill.

use core::ptr::null_mut;

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use rstwatch_common::flow::Flow;
use rstwatch_common::record::{ConnState, Segment, mark, role, state, tcp_flag};

use crate::conn_state::bucket;
use crate::conn_state::hash::hash;
use crate::conn_state::share;
use crate::conn_state::table::{self, Region};
use crate::facts::clock::{jiffies, now};
use crate::kernel::{Base, value};
use crate::words::{copy, forgotten};

/// Payload of a SYN (TCP Fast Open), which a SYN-ACK need not acknowledge: at most one segment.
const MAX_SYN_DATA: u32 = u16::MAX as u32;

/// Bits of a bucket's word below the owner: half of them hold a part of the flow's hash, the lower half the jiffies when the slot
/// was written, modulo 2^24 (19 hours at 250 a second).
const HALF: u32 = 24;
const TIME: u64 = (1 << HALF) - 1;
const TAG: u64 = TIME << HALF;

/// An empty state, which would not fit on the stack. Never written.
#[map]
static EMPTY: Array<ConnState> = Array::with_max_entries(1, 0);

/// The bucket of a hash, and the part of it that the bucket holds.
#[inline(always)]
fn bucket_of(hash: u64, region: Region) -> (u32, u64) {
    (region.bucket((hash >> 32) as u32), hash << HALF & TAG)
}

/// Keeps a state under its flow, and returns where. (Never NULL, but verifiers do not know.) `owner`: the upper bits of a word.
#[inline(never)]
pub fn insert(conn: &ConnState, flow: &Flow, net: u64, owner: u64, lasting: bool) -> *mut ConnState {
    let (index, tag) = bucket_of(hash(flow, net), if lasting { Region::Lasting } else { Region::Recent });
    let slot = take_tombstone(index, tag | owner);
    let Some(slot) = table::slot(index * bucket::SLOTS + slot) else { return null_mut() };
    // SAFETY: a slot of the table: plain numbers. Two CPUs that write it at once mix two states.
    let slot = unsafe { &mut *slot };
    let identity = &raw mut slot.identity;
    // A lookup meanwhile finds nothing.
    // SAFETY: a word of the slot, as below.
    unsafe { identity.write_volatile(0) };
    copy(&mut slot.conn, conn);
    copy(&mut slot.flow, flow);
    // SAFETY: as above.
    unsafe { identity.write_volatile(net) };
    &raw mut slot.conn
}

/// Keeps a handshake that ended at a full accept queue: what the client sends next finds no connection, as a consequence. The
/// caller fills in the owner, if the listener's is known.
#[inline(never)]
pub fn insert_overflowed(flow: &Flow, net: u64, segment: &Segment) -> *mut ConnState {
    let conn = EMPTY.get(0).map_or(null_mut(), |empty| insert(empty, flow, net, 0, false));
    // SAFETY: a slot may be reused at any time; it holds plain numbers, so at worst a record mixes two.
    if let Some(conn) = unsafe { conn.as_mut() } {
        conn.marks = mark::OVERFLOWED;
        conn.rcv_nxt = segment.seq;
        conn.snd_nxt = segment.ack;
        conn.reset.reason = u32::MAX;
        conn.reset.time_ns = now();
        conn.closed.time_ns = conn.reset.time_ns;
        conn.role = role::SERVER;
    }
    conn
}

/// Takes the slot that the flow has already, else a free one, else the oldest of those that the owner may replace. An older state
/// in it is another flow's, and the slot's flow says so. `word`: without the time.
///
/// A global function of numbers: a verifier walks it once, and not for each call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_tombstone(index: u32, word: u64) -> u32 {
    let Some(bucket) = bucket::at(index) else { return 0 };
    let now = jiffies() as u64 & TIME;
    let replaceable = share::replaceable(index, word);
    let (mut best, mut found) = (0, 0);
    for slot in 0..bucket::SLOTS {
        let other = bucket::read(bucket, slot);
        let age = now.wrapping_sub(other) & TIME;
        let worth = match other {
            0 => TIME + 2,
            _ if (other ^ word) & TAG == 0 => TIME + 3,
            // Multiplied, because a branch on each bit would double the paths that a verifier has to walk.
            _ => (age + 1) * (replaceable >> slot & 1) as u64,
        };
        if worth > best {
            (best, found) = (worth, slot);
        }
    }
    bucket::write(bucket, found, word | now);
    found
}

/// The tombstone of a flow that fits, or NULL.
#[inline(always)]
fn find(flow: &Flow, net: u64, fits: impl Fn(&ConnState) -> bool) -> *mut ConnState {
    let hash = hash(flow, net);
    let mut found = find_in(hash, flow, net, false);
    // SAFETY: a slot may be reused at any time; it holds plain numbers, so at worst a record mixes two.
    if !unsafe { table::state(found).as_ref() }.is_some_and(&fits) {
        found = find_in(hash, flow, net, true);
        // SAFETY: as above.
        if !unsafe { table::state(found).as_ref() }.is_some_and(fits) {
            found = table::NONE;
        }
    }
    table::state(forgotten(found as u64) as u32)
}

/// The slot of a flow's tombstone in one region; [`table::NONE`]: there is none.
#[inline(never)]
fn find_in(hash: u64, flow: &Flow, net: u64, lasting: bool) -> u32 {
    let (index, tag) = bucket_of(hash, if lasting { Region::Lasting } else { Region::Recent });
    let in_bucket = tombstone_of(index, tag);
    let index = index * bucket::SLOTS + in_bucket;
    let Some(slot) = table::slot(index).filter(|_| in_bucket != bucket::SLOTS) else { return table::NONE };
    // SAFETY: as above.
    let slot = unsafe { &*slot };
    if slot.identity == net && same(&slot.flow, flow) { index } else { table::NONE }
}

/// The tombstone of the connection that a segment belonged to.
#[inline(always)]
pub fn find_for(segment: &Segment, flow: &Flow, net: u64) -> Option<&'static mut ConnState> {
    // SAFETY: as in `find`.
    unsafe { find(flow, net, |gone| belongs(segment, gone)).as_mut() }
}

/// The tombstone of the connection that an RST ended at the flow's end, or NULL.
#[inline(always)]
pub fn find_reset(flow: &Flow, net: u64) -> *mut ConnState {
    find(flow, net, |gone| gone.rst.time_ns != 0)
}

/// Ports are reused, so a segment's numbers must be near those of the connection that is gone. Of an attempt to connect only
/// the SYN is known, which only a SYN-ACK acknowledges.
#[inline(always)]
fn belongs(segment: &Segment, gone: &ConnState) -> bool {
    let (opens, acknowledges) = (segment.flags & tcp_flag::SYN != 0, segment.flags & tcp_flag::ACK != 0);
    if gone.old_state == state::SYN_SENT {
        return opens && acknowledges && gone.snd_nxt.wrapping_sub(segment.ack) <= MAX_SYN_DATA;
    }
    !opens && near(segment.seq, gone.rcv_nxt) && (!acknowledges || near(segment.ack, gone.snd_nxt))
}

/// The tombstone of a connection that was closed just before, in the same call, or NULL. Some of the kernel's functions set
/// CLOSE first and send the RST then.
#[inline(always)]
pub fn find_just_closed(sk: impl Base, flow: &Flow, net: u64) -> *mut ConnState {
    find(flow, net, |gone| gone.rcv_nxt == value!(sk, rcv_nxt, u32) && gone.snd_nxt == value!(sk, snd_nxt, u32))
}

/// The first slot that has the tag; [`bucket::SLOTS`]: none. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tombstone_of(index: u32, tag: u64) -> u32 {
    let Some(bucket) = bucket::at(index) else { return bucket::SLOTS };
    let mut found = bucket::SLOTS;
    for slot in (0..bucket::SLOTS).rev() {
        if (bucket::read(bucket, slot) ^ tag) & TAG == 0 {
            found = slot;
        }
    }
    found
}

/// Whether two sequence numbers are of one connection: within 16 MiB, more than most windows.
#[inline(always)]
fn near(left: u32, right: u32) -> bool {
    left.wrapping_sub(right).wrapping_add(1 << 24) < 1 << 25
}

/// Whether two flows are the same. Compares by words: a compiler compares byte arrays by a call.
#[inline(always)]
pub fn same(left: &Flow, right: &Flow) -> bool {
    let (left, right) = (core::ptr::from_ref(left).cast::<u32>(), core::ptr::from_ref(right).cast::<u32>());
    let mut differs = 0;
    for index in 0..size_of::<Flow>() / 4 {
        // SAFETY: words of the flows, which are aligned to them.
        differs |= unsafe { left.add(index).read_volatile() ^ right.add(index).read_volatile() };
    }
    differs == 0
}
