//! The slots themselves, one array for tombstones and living connections. The daemon sets its size, and nothing grows.
//!
//! In one map because a verifier walks all that follows once for each map that a pointer can point into.

use core::ptr;

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use rstwatch_common::flow::Flow;
use rstwatch_common::record::{ConnState, SLOT_BYTES};

use crate::conn_state::bucket;
use crate::kernel::setting;

/// Slots by region: recent tombstones, lasting tombstones, living connections.
#[map]
static SLOTS: Array<Slot> = Array::with_max_entries(1, 0);

/// A slot for a connection's state.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Slot {
    /// First, so that a slot and its state have one address.
    pub conn: ConnState,
    /// A tombstone's network namespace, by its number, or a living connection's word in its bucket; 0: the slot is empty, or is
    /// being written.
    pub identity: u64,
    /// A tombstone's connection, from the end that lived here.
    pub flow: Flow,
}

const _: () = assert!(size_of::<Slot>() == SLOT_BYTES);

/// No slot: an index beyond the array.
pub const NONE: u32 = u32::MAX;

/// The part of the table for one purpose.
#[derive(Clone, Copy)]
pub enum Region {
    /// Tombstones of connections that ended in use.
    Recent,
    /// Tombstones of connections that ended after a silence, or were old. Others cannot evict them.
    Lasting,
    /// Living connections.
    Living,
}

impl Region {
    /// The bucket of a hash: its index among all of the table's.
    #[inline(always)]
    pub fn bucket(self, hash: u32) -> u32 {
        let buckets = setting!(connections) / bucket::SLOTS;
        match self {
            Self::Recent => hash & (buckets - 1),
            Self::Lasting => buckets + (hash & (buckets / 2 - 1)),
            Self::Living => buckets + buckets / 2 + (hash & (buckets - 1)),
        }
    }
}

/// A slot by its index; `None` for [`NONE`].
#[inline(always)]
pub fn slot(index: u32) -> Option<*mut Slot> {
    SLOTS.get_ptr_mut(index)
}

/// The state in a slot; NULL for [`NONE`].
#[inline(always)]
pub fn state(index: u32) -> *mut ConnState {
    const { assert!(core::mem::offset_of!(Slot, conn) == 0) };
    slot(index).unwrap_or(ptr::null_mut()).cast()
}

/// The identity of the slot that has this state.
#[inline(always)]
pub fn identity(conn: *mut ConnState) -> *mut u64 {
    // SAFETY: the slot begins with its state.
    unsafe { &raw mut (*conn.cast::<Slot>()).identity }
}
