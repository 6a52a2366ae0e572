//! Tombstones: the state of connections that are gone, for late segments: who closed them, how, after which silence. Attempts to
//! connect that were given up are among them.
//!
//! The buckets say which flow has which slot, and since when; the oldest of a bucket is evicted. An LRU hash map would cost as
//! much as everything else that is done for a connection, because each of its steps misses the cache.

use core::ptr::null_mut;

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use rstwatch_common::flow::Flow;
use rstwatch_common::record::{ConnState, Segment, mark, role, state, tcp_flag};

use crate::conn_state::bucket::{self, Bucket};
use crate::conn_state::hash::hash;
use crate::conn_state::table::{self, TOMBSTONES};
use crate::facts::clock::{jiffies, now};
use crate::kernel::{Base, value};
use crate::words::copy;

const BUCKETS: u32 = TOMBSTONES / bucket::SLOTS;

/// Payload of a SYN (TCP Fast Open), which a SYN-ACK need not acknowledge: at most one segment.
const MAX_SYN_DATA: u32 = u16::MAX as u32;

/// Each word is half of the flow's hash, and the jiffies (low word) when the slot was written. BPF_F_MMAPABLE makes the array
/// start on a page: otherwise each bucket would span two cache lines.
#[map]
static TOMBSTONE_BUCKETS: Array<Bucket> = Array::with_max_entries(BUCKETS, BPF_F_MMAPABLE);

/// An empty state, which would not fit on the stack. Never written.
#[map]
static EMPTY: Array<ConnState> = Array::with_max_entries(1, 0);

/// A flow's bucket, and the half of its hash that the bucket holds.
#[inline(always)]
fn bucket_of(flow: &Flow, net: u64) -> (u32, u32) {
    let hash = hash(flow, net);
    ((hash >> 32) as u32 & (BUCKETS - 1), hash as u32)
}

/// Keeps a state under its flow, and returns where. (Never NULL, but verifiers do not know.)
#[inline(never)]
pub fn insert(conn: &ConnState, flow: &Flow, net: u64) -> *mut ConnState {
    let (index, tag) = bucket_of(flow, net);
    let slot = take_tombstone(index, tag);
    let Some(slot) = table::tombstone(index * bucket::SLOTS + slot) else { return null_mut() };
    // SAFETY: a slot of the table: plain numbers. Two CPUs that write it at once mix two states.
    let slot = unsafe { &mut *slot };
    let net_of = &raw mut slot.net;
    // A lookup meanwhile finds nothing.
    // SAFETY: a word of the slot, as below.
    unsafe { net_of.write_volatile(0) };
    copy(&mut slot.conn, conn);
    copy(&mut slot.flow, flow);
    // SAFETY: as above.
    unsafe { net_of.write_volatile(net) };
    &raw mut slot.conn
}

/// Keeps a handshake that ended at a full accept queue: what the client sends next finds no connection, as a consequence. The
/// caller fills in the owner, if the listener's is known.
#[inline(never)]
pub fn insert_overflowed(flow: &Flow, net: u64, segment: &Segment) -> *mut ConnState {
    let conn = EMPTY.get(0).map_or(null_mut(), |empty| insert(empty, flow, net));
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

/// Takes the slot that the flow has already, else a free one, else the oldest. An older state in it is another flow's, and the
/// slot's flow says so.
///
/// A global function of numbers: a verifier walks it once, and not for each call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_tombstone(index: u32, tag: u32) -> u32 {
    let Some(bucket) = TOMBSTONE_BUCKETS.get_ptr_mut(index) else { return 0 };
    let now = jiffies();
    let (mut best, mut found) = (0, 0);
    for slot in 0..bucket::SLOTS {
        let word = bucket::read(bucket, slot);
        let worth = match word {
            0 => u64::MAX - 1,
            _ if (word >> 32) as u32 == tag => u64::MAX,
            _ => now.wrapping_sub(word as u32) as u64 + 1,
        };
        if worth > best {
            (best, found) = (worth, slot);
        }
    }
    bucket::write(bucket, found, (tag as u64) << 32 | now as u64);
    found
}

/// The tombstone of a flow, or NULL.
#[inline(never)]
pub fn find(flow: &Flow, net: u64) -> *mut ConnState {
    let (index, tag) = bucket_of(flow, net);
    let slot = tombstone_of(index, tag);
    if slot == bucket::SLOTS {
        return null_mut();
    }
    let Some(slot) = table::tombstone(index * bucket::SLOTS + slot) else { return null_mut() };
    // SAFETY: as above.
    let slot = unsafe { &mut *slot };
    if slot.net == net && same(&slot.flow, flow) { &raw mut slot.conn } else { null_mut() }
}

/// The tombstone of the connection that a segment belonged to.
#[inline(always)]
pub fn find_for(segment: &Segment, flow: &Flow, net: u64) -> Option<&'static mut ConnState> {
    // SAFETY: a slot may be reused at any time; it holds plain numbers, so at worst a record mixes two.
    let conn = unsafe { find(flow, net).as_mut() }?;
    belongs(segment, conn).then_some(conn)
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
    let conn = find(flow, net);
    // SAFETY: as in `find_for`.
    let same = unsafe { conn.as_ref() }
        .is_some_and(|conn| conn.rcv_nxt == value!(sk, rcv_nxt, u32) && conn.snd_nxt == value!(sk, snd_nxt, u32));
    if same { conn } else { null_mut() }
}

/// The first slot that has the tag; [`bucket::SLOTS`]: none. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tombstone_of(index: u32, tag: u32) -> u32 {
    let Some(bucket) = TOMBSTONE_BUCKETS.get_ptr_mut(index) else { return bucket::SLOTS };
    let mut found = bucket::SLOTS;
    for slot in (0..bucket::SLOTS).rev() {
        if (bucket::read(bucket, slot) >> 32) as u32 == tag {
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
