//! Shares of the map of listeners: once it is three quarters full, no user, cgroup or network namespace that has half of it gets
//! more.
//!
//! Owners are counted by hash. The map keeps each listener's hashes, so that its end decrements the same counters.

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

/// Listeners by the kind of owner and its hash; in the last slot, all.
#[map]
static HELD: Array<u64> = Array::with_max_entries(ALL + 1, 0);

/// The slot of [`HELD`] that counts all listeners.
const ALL: u32 = KINDS * HASHES;

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

/// Whether a listener of this share must leave the room that remains in a map of `max` to others.
#[inline(never)]
pub fn is_used_up(share: u32, max: u64) -> bool {
    held(ALL) >= max / 4 * 3 && (0..KINDS).any(|kind| held(index(share, kind)) >= max / 2)
}

#[inline(always)]
fn held(index: u32) -> u64 {
    // SAFETY: a word of the map, read in one access.
    HELD.get_ptr(index).map_or(0, |held| unsafe { held.read_volatile() })
}

/// A listener was put into the map (`change`: 1), or removed (-1).
#[inline(never)]
pub fn count(share: u32, change: i64) {
    for kind in 0..=KINDS {
        let index = if kind == KINDS { ALL } else { index(share, kind) };
        if let Some(held) = HELD.get_ptr_mut(index) {
            add(held, change as u64);
        }
    }
}

#[inline(always)]
fn index(share: u32, kind: u32) -> u32 {
    kind * HASHES + (share >> (kind * BITS) & (HASHES - 1))
}
