//! Buckets of slots: one word per slot says which connection has it, and a bucket is as many words as a cache line holds.

/// Slots of a bucket.
pub const SLOTS: u32 = 8;

/// One word for each of its slots; 0: free.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Bucket([u64; SLOTS as usize]);

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
pub fn write(bucket: *mut Bucket, slot: u32, owner: u64) {
    // SAFETY: a word of the bucket.
    unsafe { word(bucket, slot).write_volatile(owner) }
}
