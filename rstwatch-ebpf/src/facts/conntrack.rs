//! When the conntrack table of a network namespace was last full.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap};

use crate::facts::clock::now;

/// When the conntrack table of a namespace was last full.
#[map]
static CONNTRACK_FULL: LruHashMap<u32, u64> = LruHashMap::with_max_entries(1024, 0);

/// 1: `CONNTRACK_FULL` has an element. It saves most resets the lookup.
#[map]
static CONNTRACK_EVER_FULL: Array<u32> = Array::with_max_entries(1, 0);

/// Inode of the host's own network namespace, whose conntrack table pods' packets pass too; 0: not known.
#[map]
static HOST_NETNS: Array<u32> = Array::with_max_entries(1, 0);

/// The table of a namespace is full.
#[inline(always)]
pub fn table_is_full(netns: u32) {
    let _ = CONNTRACK_FULL.insert(&netns, &now(), 0);
    if let Some(ever) = CONNTRACK_EVER_FULL.get_ptr_mut(0) {
        // SAFETY: a slot of the map; every writer writes the same value.
        unsafe { *ever = 1 };
    }
}

/// When the conntrack table of a namespace, or of the host's own, was last full; 0: never, or not seen.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn conntrack_full_ns(netns: u32) -> u64 {
    // On most hosts no table ever was.
    if CONNTRACK_EVER_FULL.get(0).copied().unwrap_or(0) == 0 {
        return 0;
    }
    let host = HOST_NETNS.get(0).copied().unwrap_or(0);
    // SAFETY: a number; a torn read is not possible.
    let own = unsafe { CONNTRACK_FULL.get(&netns) }.copied().unwrap_or(0);
    if host == netns {
        return own;
    }
    // SAFETY: as above.
    let hosts = unsafe { CONNTRACK_FULL.get(&host) }.copied().unwrap_or(0);
    if own > hosts { own } else { hosts }
}
