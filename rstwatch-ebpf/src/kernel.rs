//! Reading the kernel's structures by offsets that the daemon resolved from BTF.
//!
//! The list of fields: `rstwatch-common/src/layout.rs`; their resolution: `rstwatch/src/kernel/layout.rs`.

use core::ffi::c_void;
use core::mem::{MaybeUninit, transmute_copy};
use core::ptr::NonNull;

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel as bpf_probe_read_kernel_raw, bpf_skc_to_tcp_sock};
use rstwatch_common::layout::{ABSENT, Layout};
use rstwatch_common::settings::Settings;

/// The daemon overwrites it before the load; it is frozen, so the verifier knows the values.
#[unsafe(no_mangle)]
pub static LAYOUT: Layout = Layout::ABSENT;

/// The daemon overwrites it before the load.
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
        $crate::kernel::Base::field::<$ty>($base, $crate::kernel::offset!($field))
    };
}
pub(crate) use field;

/// The field of the structure at `$base`; all zero where the kernel lacks it or the read faults.
///
/// It has no branch at run time: each branch doubles the paths that a verifier has to walk.
macro_rules! value {
    ($base:expr, $field:ident, $ty:ty) => {
        $crate::kernel::Base::value::<$ty>($base, $crate::kernel::offset!($field))
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

/// The structure whose fields are read.
pub trait Base: Copy {
    /// Its address as a plain number.
    fn address(self) -> u64;

    /// A field; `None` where this kernel lacks it or the read faults.
    fn field<T: Copy>(self, offset: u16) -> Option<T>;

    /// A field; zeros where this kernel lacks it or the read faults.
    fn value<T: Copy>(self, offset: u16) -> T;

    /// The structure that a field points at, to be read in the same way; `None` where this kernel lacks the field.
    fn follow(self, offset: u16) -> Option<Self>;
}

/// A plain number: each field costs a call of the helper.
impl Base for u64 {
    #[inline(always)]
    fn address(self) -> u64 {
        self
    }

    #[inline(always)]
    fn field<T: Copy>(self, offset: u16) -> Option<T> {
        read(self, offset)
    }

    #[inline(always)]
    fn value<T: Copy>(self, offset: u16) -> T {
        read_or_zero(self, offset)
    }

    #[inline(always)]
    fn follow(self, offset: u16) -> Option<Self> {
        read(self, offset)
    }
}

/// A pointer that the verifier has typed and knows not to be NULL, or that it lets fault to zero: a field costs one load.
///
/// The verifier requires a read to stay within one member: a number, a pointer, or several elements of an array of numbers.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Typed(NonNull<c_void>);

impl Typed {
    /// The pointer, unless it is NULL.
    #[inline(always)]
    pub fn new(pointer: *mut c_void) -> Option<Self> {
        NonNull::new(pointer).map(Self)
    }

    /// A socket of TCP, a listener's too; `None` for NULL, mini-sockets and other protocols.
    ///
    /// The helper checks for NULL itself, whatever a verifier assumes about the argument, and its result is always checked.
    #[inline(always)]
    pub fn tcp_sock(sk: *mut c_void) -> Option<Self> {
        // SAFETY: the verifier has typed `sk`.
        Self::new(unsafe { bpf_skc_to_tcp_sock(sk) }.cast())
    }

    /// Its address minus a constant, as a number ([`number_of`]).
    #[inline(always)]
    pub fn number(self) -> u64 {
        number_of(self.0.as_ptr())
    }

    #[inline(always)]
    fn load<T: Copy>(self, offset: u16) -> T {
        // SAFETY: the verifier has checked pointer and offset. Whole words: otherwise bytes would be loaded one by one.
        unsafe {
            let at = self.0.as_ptr().byte_add(offset as usize);
            match size_of::<T>() {
                1 => transmute_copy(&at.cast::<u8>().read_volatile()),
                2 => transmute_copy(&at.cast::<u16>().read_volatile()),
                4 => transmute_copy(&at.cast::<u32>().read_volatile()),
                8 => transmute_copy(&at.cast::<u64>().read_volatile()),
                _ => {
                    const { assert!(matches!(size_of::<T>(), 1 | 2 | 4 | 8 | 16)) };
                    let words = at.cast::<u64>();
                    transmute_copy(&[words.read_volatile(), words.add(1).read_volatile()])
                }
            }
        }
    }
}

impl Base for Typed {
    #[inline(always)]
    fn address(self) -> u64 {
        self.0.as_ptr() as u64
    }

    #[inline(always)]
    fn field<T: Copy>(self, offset: u16) -> Option<T> {
        if offset == ABSENT { None } else { Some(self.load(offset)) }
    }

    #[inline(always)]
    fn value<T: Copy>(self, offset: u16) -> T {
        match self.field(offset) {
            Some(value) => value,
            None => nothing(),
        }
    }

    #[inline(always)]
    fn follow(self, offset: u16) -> Option<Self> {
        self.field(offset)
    }
}

/// A pointer's address minus a constant. The difference of two pointers is the only number that a verifier allows to be computed
/// from a typed one.
#[inline(always)]
pub fn number_of(pointer: *mut c_void) -> u64 {
    let mut number = pointer as u64;
    // SAFETY: a subtraction. As an instruction, because a compiler would add the negated pointer, which verifiers reject.
    unsafe {
        core::arch::asm!("{0} -= {1}", inout(reg) number, in(reg) &raw const SETTINGS, options(pure, nomem, nostack));
    }
    number
}

/// Zeros, from a word that the compiler does not know to be zero: otherwise it emits a call that clears byte by byte.
#[inline(always)]
fn nothing<T: Copy>() -> T {
    const { assert!(size_of::<T>() <= 16) };
    let zero: u64;
    // SAFETY: an instruction that sets a register; then plain numbers, no longer than the source.
    unsafe {
        core::arch::asm!("{0} = 0", out(reg) zero, options(nomem, nostack, pure));
        transmute_copy(&[zero, zero])
    }
}

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
    if offset == ABSENT {
        return nothing();
    }
    let mut value = MaybeUninit::<T>::uninit();
    let address = base.wrapping_add(offset as u64) as *const _;
    // SAFETY: the helper writes the whole buffer: zeros where the address faults (kernel/trace/bpf_trace.c).
    unsafe { bpf_probe_read_kernel_raw(value.as_mut_ptr().cast(), size_of::<T>() as u32, address) };
    // SAFETY: written by the helper; only plain numbers are read.
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
/// The helper reads it, so the verifier does not type it: since Linux 6.5 it assumes that an argument is never NULL unless it is
/// declared nullable, and deletes the check (kernel/bpf/verifier.c, reg_not_null).
#[inline(always)]
pub fn argument(ctx: *mut core::ffi::c_void, n: u64) -> u64 {
    read_at(ctx as u64 + n * 8).unwrap_or(0)
}

/// Argument `n` (of the first three) of the function that a kprobe is attached to.
#[inline(always)]
pub fn register(ctx: *mut core::ffi::c_void, n: u64) -> u64 {
    let at = match n {
        0 => setting!(argument_at[0]),
        1 => setting!(argument_at[1]),
        _ => setting!(argument_at[2]),
    };
    read_at(ctx as u64 + at as u64).unwrap_or(0)
}

/// Reads a `T` at an address into a buffer, which saves a copy on the stack; returns whether the read succeeded.
#[inline(always)]
pub fn read_into<T>(address: u64, buffer: &mut T) -> bool {
    fill(address, core::ptr::from_mut(buffer))
}

/// The same for an uninitialised buffer; zeros where the read faults.
#[inline(always)]
pub fn fill<T>(address: u64, buffer: *mut T) -> bool {
    let buffer = buffer.cast();
    // SAFETY: the helper writes at most the buffer's size, and checks the address.
    unsafe { bpf_probe_read_kernel_raw(buffer, size_of::<T>() as u32, address as *const _) == 0 }
}
