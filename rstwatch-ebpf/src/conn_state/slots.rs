//! The states of living connections: slots of the table, found by the socket's address.
//!
//! A socket has one of two buckets, so nearly all slots are used before a socket finds none. Then it has no state: it is counted,
//! and verdicts about it have less evidence. A slot is lost to another owner only where [`share`] says so.

use core::ffi::c_void;

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use rstwatch_common::record::{ConnState, state};

use crate::conn_state::bucket::{self, Bucket, word};
use crate::conn_state::hash::hash_of_key;
use crate::conn_state::share::{self, OWNER_AT};
use crate::conn_state::table::{self, NONE, Region};
use crate::kernel::{SETTINGS, number_of, read_at};
use crate::words::{add, add_one, clear};

/// The bits of a bucket's word that hold the key.
const KEY: u64 = (1 << OWNER_AT) - 1;

/// The states of a connection that this side has closed.
const CLOSED_HERE: u32 = 1 << state::FIN_WAIT1 | 1 << state::FIN_WAIT2 | 1 << state::CLOSING | 1 << state::LAST_ACK;

/// Sockets that found no slot, or lost it to another owner's ([`share`]).
#[map]
static UNTRACKED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The state of a socket's connection, or NULL. `sk` must be typed by the verifier (an argument, or `bpf_sk_fullsock`).
#[inline(always)]
pub fn get(sk: *mut c_void) -> *mut ConnState {
    find(key_of(sk))
}

/// The same, created if there is none; NULL if no slot is free. `owner`: [`share::owner_of`], or 0.
#[inline(always)]
pub fn get_or_create(sk: *mut c_void, owner: impl FnOnce() -> u64) -> *mut ConnState {
    get_or_create_open(sk, state::ESTABLISHED, owner)
}

/// The same, but nothing is created where this side has closed: a connection without a slot left its tombstone then, and an empty
/// state would replace it. `socket_state`: the socket's, or its last one.
#[inline(always)]
pub fn get_or_create_open(sk: *mut c_void, socket_state: u8, owner: impl FnOnce() -> u64) -> *mut ConnState {
    let key = key_of(sk);
    let conn = find(key);
    if !conn.is_null() || CLOSED_HERE >> (socket_state & 31) & 1 == 1 {
        return conn;
    }
    insert(key | owner())
}

/// The state of a living connection, by its socket's address as a plain number, or NULL.
#[inline(always)]
pub fn of_number(sk: u64) -> *mut ConnState {
    find(sk.wrapping_sub(base()) & KEY)
}

/// Whether a socket has a state, by [`Typed::number`](crate::kernel::Typed::number).
#[inline(always)]
pub fn has(number: u64) -> bool {
    // A free slot has key 0.
    number & KEY != 0 && slot_of(number & KEY) != NONE
}

/// The address of a socket, by its number.
#[inline(always)]
pub fn address_of(number: u64) -> u64 {
    number.wrapping_add(base())
}

/// What [`number_of`] subtracts.
#[inline(always)]
fn base() -> u64 {
    let base = &raw const SETTINGS;
    // What a helper reads is a plain number to a verifier, which forbids to subtract a pointer from one.
    read_at((&raw const base) as u64).unwrap_or(0)
}

/// An empty state for a connection that begins; NULL, and counted, if no slot is free. The caller must hold the socket alone:
/// two must not take a slot for one socket at once.
#[inline(always)]
pub fn begin(sk: *mut c_void, owner: u64) -> *mut ConnState {
    let key = key_of(sk);
    if slot_of(key) != NONE {
        // The state of an earlier connection whose end was not seen, and that connection's owner.
        free_slot(key);
    }
    let conn = insert(key | owner);
    if conn.is_null() {
        count_untracked();
    }
    conn
}

/// Counts a socket that has no state.
#[inline(always)]
pub fn count_untracked() {
    if let Some(count) = UNTRACKED.get_ptr_mut(0) {
        add_one(count);
    }
}

/// Clears what a program has written if the slot was given to another socket meanwhile: the state is that one's.
#[inline(always)]
pub fn settle(conn: &mut ConnState, sk: *mut c_void) {
    // SAFETY: a word of the slot.
    let word = unsafe { table::identity(conn).read_volatile() };
    if word & KEY != key_of(sk) {
        clear(conn);
    }
}

/// The owner of a living connection, as [`share::owner_of`] said.
#[inline(always)]
pub fn owner(conn: *mut ConnState) -> u64 {
    // SAFETY: a word of the slot.
    unsafe { table::identity(conn).read_volatile() & !KEY }
}

/// Frees the slot of a socket that is closed.
#[inline(always)]
pub fn remove(sk: *mut c_void) {
    free_slot(key_of(sk));
}

/// The key of a socket: never 0, because a socket is not the settings.
#[inline(always)]
fn key_of(sk: *mut c_void) -> u64 {
    number_of(sk) & KEY
}

/// The state that the table holds for a key, or NULL.
#[inline(always)]
fn find(key: u64) -> *mut ConnState {
    table::state(slot_of(key))
}

/// Takes a slot for a key that has none, and clears it; NULL if none can be had.
#[inline(always)]
fn insert(word: u64) -> *mut ConnState {
    let conn = table::state(take_slot(word));
    // SAFETY: a slot that is this socket's alone.
    if let Some(state) = unsafe { conn.as_mut() } {
        // SAFETY: a word of the slot.
        unsafe { table::identity(conn).write_volatile(word) };
        clear(state);
    }
    conn
}

/// The buckets in which a key may have its slot.
#[inline(always)]
fn buckets_of(key: u64) -> [u32; 2] {
    let hash = hash_of_key(key);
    [Region::Living.bucket((hash >> 32) as u32), Region::Living.bucket(hash as u32)]
}

/// The slot of a key; [`NONE`]: it has none.
///
/// A global function of numbers, like the next ones: a verifier walks it once, and not for each call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn slot_of(key: u64) -> u32 {
    let [first, second] = buckets_of(key);
    let found = slot_in(first, key);
    if found == NONE { slot_in(second, key) } else { found }
}

/// The slot of a key in one bucket; [`NONE`]: it has none there.
#[inline(always)]
fn slot_in(index: u32, key: u64) -> u32 {
    let Some(bucket) = bucket::at(index) else { return NONE };
    let slot = position(bucket, key);
    if slot == bucket::SLOTS { NONE } else { index * bucket::SLOTS + slot }
}

/// The first slot with this key; [`bucket::SLOTS`]: none. Key 0: a free one.
#[inline(always)]
fn position(bucket: *mut Bucket, key: u64) -> u32 {
    let mut found = bucket::SLOTS;
    for slot in (0..bucket::SLOTS).rev() {
        if bucket::read(bucket, slot) & KEY == key {
            found = slot;
        }
    }
    found
}

/// Used slots from which on a bucket is compared with the key's other one. Simulated with random keys: one connection in 25,000
/// finds no slot where three quarters are used, one in 200 where seven eighths are.
const CROWDED: u32 = 5;

/// Takes a slot for a word's key: a free one, or one of an owner that holds more of the bucket; [`NONE`]: there is none, or
/// another CPU takes the same slot at this moment.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_slot(word: u64) -> u32 {
    let [first, second] = buckets_of(word & KEY);
    let mut index = first;
    let mut used = used_in(first);
    if used >= CROWDED {
        let other = used_in(second);
        if other < used {
            (index, used) = (second, other);
        }
    }
    let Some(bucket) = bucket::at(index) else { return NONE };
    let slot = if used < bucket::SLOTS {
        position(bucket, 0)
    } else {
        // Nobody makes room for a socket without a known owner: it may be the largest owner's.
        let known = 1 ^ share::is_zero(word >> OWNER_AT);
        let hoarded = known * share::hoarded(index, word);
        let own = hoarded & share::replaceable(index, word);
        share::last(own | hoarded * share::is_zero(own as u64))
    };
    if slot >= bucket::SLOTS {
        return NONE;
    }
    let slot = bucket::bounded(slot);
    let old = bucket::read(bucket, slot);
    if !replace(bucket, slot, old, word) {
        return NONE;
    }
    if old != 0 {
        count_untracked();
    }
    index * bucket::SLOTS + slot
}

/// How many slots of a bucket are used.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn used_in(index: u32) -> u32 {
    let Some(bucket) = bucket::at(index) else { return bucket::SLOTS };
    (0..bucket::SLOTS).map(|slot| 1 ^ share::is_zero(bucket::read(bucket, slot))).sum()
}

/// Replaces a slot's word; returns false if another CPU does the same at this moment.
///
/// Older kernels have no compare-and-exchange for programs (before Linux 5.12), but all can add. A CPU that was alone reads its
/// own word after adding the difference; of two at most one does, and the other subtracts it again.
#[inline(always)]
fn replace(bucket: *mut Bucket, slot: u32, old: u64, new: u64) -> bool {
    let difference = new.wrapping_sub(old);
    add(word(bucket, slot), difference);
    if bucket::read(bucket, slot) == new {
        return true;
    }
    // Until this is done, a socket that has just taken the slot is not found there.
    add(word(bucket, slot), difference.wrapping_neg());
    false
}

/// Frees a key's slot, if it has one. (It may have two, if two CPUs met RSTs for it at once.)
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn free_slot(key: u64) -> u32 {
    for index in buckets_of(key) {
        let Some(bucket) = bucket::at(index) else { continue };
        for slot in 0..bucket::SLOTS {
            if bucket::read(bucket, slot) & KEY == key {
                // A plain store: an atomic would wait until all the tombstone's lines are in the cache. The slot is lost for good
                // if another CPU found it free before it was taken, stalled for as long as it was taken, and adds at this moment.
                bucket::write(bucket, slot, 0);
            }
        }
    }
    // A global function must return a number.
    0
}
