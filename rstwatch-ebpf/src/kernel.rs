//! Reading the kernel's structures by offsets that the daemon resolved from BTF.
//!
//! The list of fields: `rstwatch-common/src/layout.rs`; their resolution: `rstwatch/src/kernel/layout.rs`.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel as bpf_probe_read_kernel_raw;
use rstwatch_common::layout::{ABSENT, Layout};
use rstwatch_common::settings::Settings;

/// Overwritten by the daemon before the load; frozen, so the verifier knows the values.
#[unsafe(no_mangle)]
pub static LAYOUT: Layout = Layout::ABSENT;

/// Overwritten by the daemon before the load.
#[unsafe(no_mangle)]
pub static SETTINGS: Settings = Settings::UNSET;

/// A value of [`SETTINGS`]. Volatile: the compiler must not fold in what the daemon overwrites.
macro_rules! setting {
    ($field:ident $([$index:literal])?) => {
        // SAFETY: the address of a live static's field.
        unsafe { core::ptr::read_volatile(&raw const $crate::kernel::SETTINGS.$field $([$index])?) }
    };
}
pub(crate) use setting;

/// The field of the structure at `$base` as an `Option<$ty>`.
macro_rules! field {
    ($base:expr, $field:ident, $ty:ty) => {
        $crate::kernel::read::<$ty>($base, $crate::kernel::offset!($field))
    };
}
pub(crate) use field;

/// The field of the structure at `$base`; all zero where the kernel lacks it or the read faults.
///
/// Without a branch at run time: each one doubles the paths that a verifier has to walk.
macro_rules! value {
    ($base:expr, $field:ident, $ty:ty) => {
        $crate::kernel::read_or_zero::<$ty>($base, $crate::kernel::offset!($field))
    };
}
pub(crate) use value;

/// The offset of a field.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: the address of a live static's field.
        unsafe { core::ptr::read_volatile(&raw const $crate::kernel::LAYOUT.$field) }
    };
}
pub(crate) use offset;

/// Reads a `T` at `base + offset`; `None` where the field is absent or the read faults.
#[inline(always)]
pub fn read<T: Copy>(base: u64, offset: u16) -> Option<T> {
    if offset == ABSENT || base == 0 {
        return None;
    }
    read_at(base + offset as u64)
}

/// Reads a `T` at `base + offset`; zeros where the field is absent or the read faults.
#[inline(always)]
pub fn read_or_zero<T: Copy>(base: u64, offset: u16) -> T {
    let mut value = MaybeUninit::<T>::zeroed();
    if offset != ABSENT {
        let address = base.wrapping_add(offset as u64) as *const _;
        // SAFETY: the helper writes the whole buffer: zeros where the address faults (kernel/trace/bpf_trace.c).
        unsafe { bpf_probe_read_kernel_raw(value.as_mut_ptr().cast(), size_of::<T>() as u32, address) };
    }
    // SAFETY: written by the helper, or zero; only plain numbers are read.
    unsafe { value.assume_init() }
}

/// Reads a `T` at an address; `None` where the read faults.
#[inline(always)]
pub fn read_at<T: Copy>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and reports a fault.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// Argument `n` of a tracepoint or function as a plain number.
///
/// Read through the helper so that the verifier does not type it: some kernels (6.3 to 6.12) take an argument for
/// never NULL that can be NULL, and would delete the check.
#[inline(always)]
pub fn argument(ctx: *mut core::ffi::c_void, n: u64) -> u64 {
    read_at(ctx as u64 + n * 8).unwrap_or(0)
}

/// Argument `n` (of the first three) of the function that a kprobe stopped.
#[inline(always)]
pub fn register(ctx: *mut core::ffi::c_void, n: u64) -> u64 {
    let at = match n {
        0 => setting!(argument_at[0]),
        1 => setting!(argument_at[1]),
        _ => setting!(argument_at[2]),
    };
    read_at(ctx as u64 + at as u64).unwrap_or(0)
}

/// Reads a `T` at an address into a buffer, which spares the stack a copy; answers whether it could be read.
#[inline(always)]
pub fn read_into<T>(address: u64, buffer: &mut T) -> bool {
    let buffer = core::ptr::from_mut(buffer).cast();
    // SAFETY: the helper writes at most the buffer's size, and checks the address.
    unsafe { bpf_probe_read_kernel_raw(buffer, size_of::<T>() as u32, address as *const _) == 0 }
}

/// Makes a block of the record or of a memory zero.
///
/// By words, and volatile, for else the compiler makes it a call that clears byte by byte: slow, and too many steps for
/// older verifiers.
#[inline(always)]
pub fn clear<T>(block: &mut T) {
    const { assert!(size_of::<T>() % 8 == 0 && align_of::<T>() == 8) };
    let words = core::ptr::from_mut(block).cast::<u64>();
    for index in 0..size_of::<T>() / 8 {
        // SAFETY: within the block, whose every bit pattern is valid.
        unsafe { words.add(index).write_volatile(0) };
    }
}
