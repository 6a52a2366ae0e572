//! Shares of the map of listeners: no user, cgroup or network namespace can fill more than half of it.
//!
//! Counted by hash. Each listener keeps its own in the map, so that what was added is subtracted.

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;

use crate::conn_state::hash::mixed;
use crate::kernel::{setting, value};
use crate::words::add;

/// Hashes of one kind of owner.
const HASHES: u32 = 64;
/// A user, a cgroup, a network namespace.
const KINDS: u32 = 3;
/// Bits of a share for each of them.
const BITS: u32 = HASHES.trailing_zeros();

/// Listeners by the kind of owner and its hash.
#[map]
static HELD: Array<u64> = Array::with_max_entries(KINDS * HASHES, 0);

/// The share that a listener belongs to: the hashes of its user, cgroup and network namespace.
#[inline(never)]
pub fn of(sk: u64) -> u32 {
    let user = hash(value!(sk, sk_uid, u32) as u64);
    let cgroup = hash(value!(sk, sk_cgroup, u64));
    let netns = hash(value!(sk, skc_net, u64));
    user | cgroup << BITS | netns << (2 * BITS)
}

#[inline(always)]
fn hash(number: u64) -> u32 {
    (mixed(setting!(hash_seed), number as u32, (number >> 32) as u32) >> 32) as u32 & (HASHES - 1)
}

/// Whether one of the three holds this many listeners.
#[inline(never)]
pub fn holds(share: u32, listeners: u64) -> bool {
    (0..KINDS).any(|kind| {
        // SAFETY: a word of the map, read in one access.
        HELD.get_ptr(index(share, kind)).is_some_and(|held| unsafe { held.read_volatile() } >= listeners)
    })
}

/// A listener was put into the map (`change`: 1), or removed (-1).
#[inline(never)]
pub fn count(share: u32, change: i64) {
    for kind in 0..KINDS {
        if let Some(held) = HELD.get_ptr_mut(index(share, kind)) {
            add(held, change as u64);
        }
    }
}

#[inline(always)]
fn index(share: u32, kind: u32) -> u32 {
    kind * HASHES + (share >> (kind * BITS) & (HASHES - 1))
}
