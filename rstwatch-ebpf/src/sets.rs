//! Sets of places: a word for each place says whose it is, and as many words as fit into a cache line make a set.

/// Places of a set.
pub const WAYS: u32 = 8;

/// For each of its places a word; 0: nobody's.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Set([u64; WAYS as usize]);

/// The word of a set that stands for a place.
#[inline(always)]
pub fn word(set: *mut Set, way: u32) -> *mut u64 {
    // SAFETY: within the set.
    unsafe { set.cast::<u64>().add(way as usize & (WAYS as usize - 1)) }
}

/// The same, read at once.
#[inline(always)]
pub fn read(set: *mut Set, way: u32) -> u64 {
    // SAFETY: a word of the set.
    unsafe { word(set, way).read_volatile() }
}
