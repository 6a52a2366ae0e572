//! Where what is known of a living socket is kept: in a table under its address, or in socket storage.
//!
//! Most connections are short, and to make and free storage costs the kernel as much as all else that is done for one. So a
//! socket whose beginning is seen takes a place of the table. What has none there is kept in socket storage: sockets that were
//! there before, and those beyond the table's room.

use core::ffi::c_void;
use core::ptr::{self, null_mut};

use aya_ebpf::bindings::BPF_SK_STORAGE_GET_F_CREATE;
use aya_ebpf::helpers::generated::bpf_sk_storage_get;
use rstwatch_common::record::Memory;

use crate::emit::add;
use crate::hash::hash_of_key;
use crate::kernel::{SETTINGS, clear, setting};
use crate::maps::{PLACES, Place, SOCKET_SETS, SOCKET_STORAGE};
use crate::sets::{self, Set, WAYS, word};
use crate::tombstones;

/// Sets, whose words are the keys of the sockets that have the places.
pub const SETS: u32 = 4096;
pub const COUNT: u32 = SETS * WAYS;

/// What is kept of a socket, or NULL. `sk` must be typed by the verifier (an argument, or `bpf_sk_fullsock`).
#[inline(always)]
pub fn get(sk: *mut c_void) -> *mut Memory {
    let kept = of_table(key_of(sk));
    if kept.is_null() { storage(sk, 0) } else { kept }
}

/// The same, made when there is none; NULL only without memory, or for mini-sockets.
#[inline(always)]
pub fn get_or_create(sk: *mut c_void) -> *mut Memory {
    let kept = of_table(key_of(sk));
    if !kept.is_null() {
        return kept;
    }
    // Before Linux 5.11 the table is all there is.
    if setting!(sk_storage) == 0 { take(key_of(sk)) } else { storage(sk, BPF_SK_STORAGE_GET_F_CREATE.into()) }
}

/// A memory of nothing for a socket that begins. Only for whoever has the socket to himself: two must not take a place for
/// one socket at once.
#[inline(always)]
pub fn begin(sk: *mut c_void) -> *mut Memory {
    // SAFETY: a place of the table, or storage of a socket that the caller holds.
    if let Some(kept) = unsafe { get(sk).as_mut() } {
        // It had a connection before, whose end was not seen, or one beyond the table's room.
        clear(kept);
        return kept;
    }
    let kept = take(key_of(sk));
    if kept.is_null() { storage(sk, BPF_SK_STORAGE_GET_F_CREATE.into()) } else { kept }
}

/// The socket is closed: its place is free.
#[inline(always)]
pub fn end(sk: *mut c_void) {
    leave_place(key_of(sk));
}

/// A socket's address, but for a constant: the distance between two pointers is the only number that a verifier lets be made
/// of a typed one.
#[inline(always)]
fn key_of(sk: *mut c_void) -> u64 {
    let mut key = sk as u64;
    // SAFETY: a subtraction. As an instruction, for a compiler would add what it has negated, which no pointer may be.
    unsafe {
        core::arch::asm!("{0} -= {1}", inout(reg) key, in(reg) &raw const SETTINGS, options(pure, nomem, nostack));
    }
    key
}

#[inline(always)]
fn set_of(key: u64) -> u32 {
    hash_of_key(key) & (SETS - 1)
}

/// The first place whose word is `wanted`; [`WAYS`]: none.
#[inline(always)]
fn way_of(set: *mut Set, wanted: u64) -> u32 {
    let mut found = WAYS;
    for way in (0..WAYS).rev() {
        if sets::read(set, way) == wanted {
            found = way;
        }
    }
    found
}

/// What the table holds of a socket, or NULL.
#[inline(always)]
fn of_table(key: u64) -> *mut Memory {
    memory_at(place_of(key))
}

/// Takes a free place for a socket that has none, and empties it; NULL if there is none to be had.
#[inline(always)]
fn take(key: u64) -> *mut Memory {
    let kept = memory_at(take_place(key));
    // SAFETY: a place that is this socket's alone.
    if let Some(kept) = unsafe { kept.as_mut() } {
        clear(kept);
    }
    kept
}

/// Behind the tombstones; NULL for [`COUNT`].
#[inline(always)]
fn memory_at(place: u32) -> *mut Memory {
    const { assert!(core::mem::offset_of!(Place, memory) == 0) };
    PLACES.get_ptr_mut(tombstones::COUNT + place).unwrap_or(null_mut()).cast()
}

/// The place of a socket; [`COUNT`]: it has none.
///
/// A function of numbers that is visible outside, as the next ones: a verifier walks it once, and not for each way to it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn place_of(key: u64) -> u32 {
    let index = set_of(key);
    let Some(set) = SOCKET_SETS.get_ptr_mut(index) else { return COUNT };
    let way = way_of(set, key);
    if way == WAYS { COUNT } else { index * WAYS + way }
}

/// Takes a free place of a socket's set; [`COUNT`]: it is full, or another CPU wants the same place just now.
///
/// Older kernels have no compare-and-exchange for programs, but all can add. Who alone has added reads his own key; of two, at
/// most one does, and who does not takes his back.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_place(key: u64) -> u32 {
    let index = set_of(key);
    let Some(set) = SOCKET_SETS.get_ptr_mut(index) else { return COUNT };
    let way = way_of(set, 0);
    if way == WAYS {
        return COUNT;
    }
    add(word(set, way), key);
    if sets::read(set, way) != key {
        // Until then a socket that has got the place just now is not found there.
        add(word(set, way), key.wrapping_neg());
        return COUNT;
    }
    index * WAYS + way
}

/// Gives a socket's place back, if it has one. (Before Linux 5.11 it may have two, for RSTs that two CPUs met at once.)
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn leave_place(key: u64) -> u32 {
    let Some(set) = SOCKET_SETS.get_ptr_mut(set_of(key)) else { return 0 };
    for way in 0..WAYS {
        if sets::read(set, way) == key {
            // Written, not added: an atomic waits until all that the tombstone wrote is in the cache. A place is lost for good if
            // another CPU found it free before it was taken, stalled for all the time that it was, and adds at this moment.
            // SAFETY: a word of the set, written at once.
            unsafe { word(set, way).write_volatile(0) };
        }
    }
    // A function that is visible outside has to return a number.
    0
}

#[inline(always)]
fn storage(sk: *mut c_void, flags: u64) -> *mut Memory {
    if setting!(sk_storage) == 0 {
        return null_mut();
    }
    let map = ptr::from_ref(&SOCKET_STORAGE).cast_mut().cast();
    // SAFETY: the helper takes NULL and mini-sockets and answers NULL; the verifier has typed `sk`.
    unsafe { bpf_sk_storage_get(map, sk, null_mut(), flags) }.cast()
}
