//! Where the state of a living connection is kept: in a slot found by the socket's address, or in socket storage.
//!
//! Most connections are short, and allocating and freeing storage costs the kernel as much as everything else that is done
//! for one. So a socket whose start is seen takes a slot of the table. Storage holds the rest: sockets older than the agent,
//! and those beyond the table's capacity.

use core::ffi::c_void;

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use rstwatch_common::record::ConnState;

use crate::conn_state::bucket::{self, Bucket, word};
use crate::conn_state::hash::hash_of_key;
use crate::conn_state::storage;
use crate::conn_state::table::{self, LIVING};
use crate::kernel::{SETTINGS, read_at, setting};
use crate::words::{add, clear};

const BUCKETS: u32 = LIVING / bucket::SLOTS;

/// The words are the keys of the sockets that have the slots. BPF_F_MMAPABLE makes the array start on a page: otherwise each
/// bucket would span two cache lines.
#[map]
static SOCKET_BUCKETS: Array<Bucket> = Array::with_max_entries(BUCKETS, BPF_F_MMAPABLE);

/// The state of a socket's connection, or NULL. `sk` must be typed by the verifier (an argument, or `bpf_sk_fullsock`).
#[inline(always)]
pub fn get(sk: *mut c_void) -> *mut ConnState {
    let conn = find(key_of(sk));
    if conn.is_null() { storage::get(sk) } else { conn }
}

/// The same, created if there is none; NULL only without memory, or for mini-sockets.
#[inline(always)]
pub fn get_or_create(sk: *mut c_void) -> *mut ConnState {
    let conn = find(key_of(sk));
    if !conn.is_null() {
        return conn;
    }
    // Before Linux 5.11 there is only the table.
    if setting!(sk_storage) == 0 { insert(key_of(sk)) } else { storage::get_or_create(sk) }
}

/// The state that the table holds for a living connection, by its socket's address as a plain number; NULL also for one in
/// storage, which takes a typed pointer.
#[inline(always)]
pub fn of_number(sk: u64) -> *mut ConnState {
    let base = &raw const SETTINGS;
    // What a helper reads is a plain number to a verifier, which forbids to subtract a pointer from one.
    let base: u64 = read_at((&raw const base) as u64).unwrap_or(0);
    find(sk.wrapping_sub(base))
}

/// An empty state for a connection that begins. The caller must hold the socket alone: two must not take a slot for one
/// socket at once.
#[inline(always)]
pub fn begin(sk: *mut c_void) -> *mut ConnState {
    // SAFETY: a slot of the table, or storage of a socket that the caller holds.
    if let Some(conn) = unsafe { get(sk).as_mut() } {
        // The state of an earlier connection whose end was not seen, or of one beyond the table's capacity.
        clear(conn);
        return conn;
    }
    let conn = insert(key_of(sk));
    if conn.is_null() { storage::get_or_create(sk) } else { conn }
}

/// Frees the slot of a socket that is closed.
#[inline(always)]
pub fn remove(sk: *mut c_void) {
    free_slot(key_of(sk));
}

/// A socket's address minus a constant. The difference of two pointers is the only number that a verifier allows to be
/// computed from a typed one.
#[inline(always)]
fn key_of(sk: *mut c_void) -> u64 {
    let mut key = sk as u64;
    // SAFETY: a subtraction. As an instruction, because a compiler would add the negated pointer, which verifiers reject.
    unsafe {
        core::arch::asm!("{0} -= {1}", inout(reg) key, in(reg) &raw const SETTINGS, options(pure, nomem, nostack));
    }
    key
}

#[inline(always)]
fn bucket_of(key: u64) -> u32 {
    hash_of_key(key) & (BUCKETS - 1)
}

/// The first slot whose word is `wanted`; [`bucket::SLOTS`]: none.
#[inline(always)]
fn position(bucket: *mut Bucket, wanted: u64) -> u32 {
    let mut found = bucket::SLOTS;
    for slot in (0..bucket::SLOTS).rev() {
        if bucket::read(bucket, slot) == wanted {
            found = slot;
        }
    }
    found
}

/// The state that the table holds for a key, or NULL.
#[inline(always)]
fn find(key: u64) -> *mut ConnState {
    table::living(slot_of(key))
}

/// Takes a free slot for a key that has none, and clears it; NULL if none is free.
#[inline(always)]
fn insert(key: u64) -> *mut ConnState {
    let conn = table::living(take_slot(key));
    // SAFETY: a slot that is this socket's alone.
    if let Some(conn) = unsafe { conn.as_mut() } {
        clear(conn);
    }
    conn
}

/// The slot of a key; [`LIVING`]: it has none.
///
/// A global function of numbers, like the next ones: a verifier walks it once, and not for each call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn slot_of(key: u64) -> u32 {
    let index = bucket_of(key);
    let Some(bucket) = SOCKET_BUCKETS.get_ptr_mut(index) else { return LIVING };
    let slot = position(bucket, key);
    if slot == bucket::SLOTS { LIVING } else { index * bucket::SLOTS + slot }
}

/// Takes a free slot of a key's bucket; [`LIVING`]: the bucket is full, or another CPU takes the same slot at this moment.
///
/// Older kernels have no compare-and-exchange for programs (before Linux 5.12), but all can add. A CPU that was alone reads
/// its own key after adding it; of two at most one does, and the other subtracts its key again.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_slot(key: u64) -> u32 {
    let index = bucket_of(key);
    let Some(bucket) = SOCKET_BUCKETS.get_ptr_mut(index) else { return LIVING };
    let slot = position(bucket, 0);
    if slot == bucket::SLOTS {
        return LIVING;
    }
    add(word(bucket, slot), key);
    if bucket::read(bucket, slot) != key {
        // Until this is done, a socket that has just taken the slot is not found there.
        add(word(bucket, slot), key.wrapping_neg());
        return LIVING;
    }
    index * bucket::SLOTS + slot
}

/// Frees a key's slot, if it has one. (Before Linux 5.11 it may have two, if two CPUs met RSTs for it at once.)
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn free_slot(key: u64) -> u32 {
    let Some(bucket) = SOCKET_BUCKETS.get_ptr_mut(bucket_of(key)) else { return 0 };
    for slot in 0..bucket::SLOTS {
        if bucket::read(bucket, slot) == key {
            // A plain store: an atomic would wait until all the tombstone's lines are in the cache. The slot is lost for good if
            // another CPU found it free before it was taken, stalled for as long as it was taken, and adds at this moment.
            bucket::write(bucket, slot, 0);
        }
    }
    // A global function must return a number.
    0
}
