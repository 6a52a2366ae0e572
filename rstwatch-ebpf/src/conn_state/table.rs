//! The slots themselves, one array for tombstones and living connections.
//!
//! In one map because a verifier walks all that follows once for each map that a pointer can point into.

use core::ptr;

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use rstwatch_common::flow::Flow;
use rstwatch_common::record::ConnState;

/// Slots of tombstones; those of living connections follow.
pub const TOMBSTONES: u32 = 1 << 16;
/// Slots of living connections.
pub const LIVING: u32 = 1 << 15;

/// First the tombstones ([`crate::conn_state::tombstones`]), then the living connections ([`crate::conn_state::slots`]).
#[map]
static SLOTS: Array<Slot> = Array::with_max_entries(TOMBSTONES + LIVING, 0);

/// A slot for a connection's state.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Slot {
    /// First, so that a slot and its state have one address.
    pub conn: ConnState,
    /// A tombstone's network namespace, by its number; 0: the slot is empty, or is being written.
    pub net: u64,
    /// A tombstone's connection, from the end that lived here.
    pub flow: Flow,
}

/// The slot of a tombstone.
#[inline(always)]
pub fn tombstone(index: u32) -> Option<*mut Slot> {
    SLOTS.get_ptr_mut(index)
}

/// The state of a living connection; NULL for [`LIVING`] and above.
#[inline(always)]
pub fn living(index: u32) -> *mut ConnState {
    const { assert!(core::mem::offset_of!(Slot, conn) == 0) };
    SLOTS.get_ptr_mut(TOMBSTONES + index).unwrap_or(ptr::null_mut()).cast()
}
