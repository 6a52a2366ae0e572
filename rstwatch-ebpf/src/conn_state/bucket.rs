//! Buckets of slots: one word per slot says which connection has it, and a bucket is as many words as a cache line holds.
//!
//! A word's upper 16 bits are the owner ([`crate::conn_state::share`]). Below them is a living connection's key, or the tag
//! and time of a tombstone.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
pub use rstwatch_common::settings::SLOTS_PER_BUCKET as SLOTS;

/// One word for each of its slots; 0: free.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Bucket([u64; SLOTS as usize]);

/// The buckets of all slots of [`crate::conn_state::table`], in their order; the daemon sets how many. BPF_F_MMAPABLE makes the
/// array start on a page: otherwise each bucket would span two cache lines.
#[map]
static BUCKETS: Array<Bucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// A bucket by its index.
#[inline(always)]
pub fn at(index: u32) -> Option<*mut Bucket> {
    BUCKETS.get_ptr_mut(index)
}

/// A slot below [`SLOTS`]. As an instruction, because a compiler that knows the range removes the mask, and a verifier does not
/// know it.
#[inline(always)]
pub fn bounded(slot: u32) -> u32 {
    const { assert!(SLOTS == 8) };
    let mut slot = slot as u64;
    // SAFETY: a mask.
    unsafe { core::arch::asm!("{0} &= 7", inout(reg) slot, options(pure, nomem, nostack)) };
    slot as u32
}

/// The word of a slot.
#[inline(always)]
pub fn word(bucket: *mut Bucket, slot: u32) -> *mut u64 {
    // SAFETY: within the bucket.
    unsafe { bucket.cast::<u64>().add(slot as usize & (SLOTS as usize - 1)) }
}

/// Reads the word of a slot in one access.
#[inline(always)]
pub fn read(bucket: *mut Bucket, slot: u32) -> u64 {
    // SAFETY: a word of the bucket.
    unsafe { word(bucket, slot).read_volatile() }
}

/// Writes the word of a slot in one access.
#[inline(always)]
pub fn write(bucket: *mut Bucket, slot: u32, value: u64) {
    // SAFETY: a word of the bucket.
    unsafe { word(bucket, slot).write_volatile(value) }
}
