//! Clearing, copying and counting by whole words.
//!
//! The words are volatile: otherwise the compiler emits a call that works byte by byte, which is slow and too many steps for
//! older verifiers.

use core::mem::MaybeUninit;

/// Fills a block of a record or a connection's state with zeros.
#[inline(always)]
pub fn clear<T>(block: &mut T) {
    wipe(core::ptr::from_mut(block));
}

/// A `T` of zeros.
#[inline(always)]
pub fn zeroed<T: Copy>() -> T {
    let mut block = MaybeUninit::<T>::uninit();
    wipe(block.as_mut_ptr());
    let at = block.as_mut_ptr();
    // Hides from the compiler that the block is all zero, so that the copy to its destination does not become such a call
    // either. An instruction without effect: without any, two source lines would share one place of the program, which the
    // kernel refuses.
    // SAFETY: as said.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) at => _, options(nostack)) };
    // SAFETY: written; plain numbers.
    unsafe { block.assume_init() }
}

#[inline(always)]
fn wipe<T>(block: *mut T) {
    const { assert!(size_of::<T>() % align_of::<T>() == 0 && align_of::<T>() >= 4) };
    for index in 0..size_of::<T>() / align_of::<T>() {
        // SAFETY: within the block, whose every bit pattern is valid.
        unsafe {
            if align_of::<T>() == 8 {
                block.cast::<u64>().add(index).write_volatile(0);
            } else {
                block.cast::<u32>().add(index).write_volatile(0);
            }
        }
    }
}

/// Copies a block.
#[inline(always)]
pub fn copy<T: Copy>(to: &mut T, from: &T) {
    const { assert!(size_of::<T>() % align_of::<T>() == 0 && align_of::<T>() >= 4) };
    let (to, from) = (core::ptr::from_mut(to), core::ptr::from_ref(from));
    for index in 0..size_of::<T>() / align_of::<T>() {
        // SAFETY: within the blocks, whose every bit pattern is valid.
        unsafe {
            if align_of::<T>() == 8 {
                to.cast::<u64>().add(index).write_volatile(from.cast::<u64>().add(index).read_volatile());
            } else {
                to.cast::<u32>().add(index).write_volatile(from.cast::<u32>().add(index).read_volatile());
            }
        }
    }
}

/// The same number, of which a verifier knows nothing afterwards: it then walks what follows once, whichever path led here. It
/// does not look into a global function, and the compiler not into the instruction.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forgotten(mut number: u64) -> u64 {
    // SAFETY: an instruction without effect.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) number, options(nomem, nostack)) };
    number
}

/// Counts one. Several programs count in one counter, and one may interrupt another between a load and a store.
#[inline(always)]
pub fn add_one(counter: *mut u64) {
    add(counter, 1);
}

/// Adds to a word that others change at the same time. (The target has no read-modify-write in `core::sync::atomic`.)
#[inline(always)]
pub fn add(word: *mut u64, number: u64) {
    // SAFETY: an aligned word of a map.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) word, in(reg) number, options(nostack)) };
}
