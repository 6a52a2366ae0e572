//! Shares of the table: connections in masses cannot take all the room.
//!
//! A hash selects the bucket, so each bucket is a random sample of the whole. In a full bucket a living connection takes the slot
//! of a user, a cgroup or a network namespace that holds at least two more than its own, so each that asks for slots gets an
//! equal share at least. A tombstone takes the oldest slot, but one of its own where its owner holds half. No counter can drift,
//! and nothing is done while there is a free slot.

use crate::conn_state::bucket;
use crate::conn_state::hash::mixed;
use crate::kernel::{Base, Typed, offset, setting, value};
use crate::words::forgotten;

/// Where the owner begins in a bucket's word.
pub const OWNER_AT: u32 = 48;

/// The owner's parts in that word: a hash of the user, of the cgroup, and of the network namespace.
const PARTS: [u64; 3] = [0x001f << OWNER_AT, 0x03e0 << OWNER_AT, 0xfc00 << OWNER_AT];

/// Slots of a bucket that one owner may hold against others.
const HALF: u32 = bucket::SLOTS / 2;

/// The owner of a socket, in the upper bits of a word; 0 where it is not known.
#[inline(never)]
pub fn owner_of(sk: Typed) -> u64 {
    let user = part(value!(sk, sk_uid, u32) as u64, PARTS[0]);
    let cgroup = sk.follow(offset!(sk_cgroup)).map_or(0, |cgroup| part(cgroup.number(), PARTS[1]));
    let netns = sk.follow(offset!(skc_net)).map_or(0, |net| part(net.number(), PARTS[2]));
    forgotten(user | cgroup | netns)
}

/// The bits of a number's hash that belong to a part.
#[inline(always)]
fn part(number: u64, part: u64) -> u64 {
    // The part's bits are at the top, where a product is mixed best.
    mixed(setting!(hash_seed), number as u32, (number >> 32) as u32).rotate_left(32) & part
}

/// The slots of a full bucket from which the owner in `word` may take one, as bits: its own where it holds half, else all. Never
/// none.
///
/// Arithmetic without branches, here and below: each branch would double the paths that a verifier has to walk. Global functions
/// of numbers: a verifier walks them once, and the stack holds one of them at a time.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn replaceable(index: u32, word: u64) -> u32 {
    let mut slots = (1 << bucket::SLOTS) - 1;
    for part in PARTS {
        let own = shared(index, word, part);
        let narrowed = slots & own * at_least(own, HALF);
        slots = narrowed | slots * is_zero(narrowed as u64);
    }
    slots
}

/// The slots of each user, cgroup or namespace that holds at least two more of a full bucket than that of `word`, as bits. Where
/// there is none, no owner has to make room. With one more only, the two would take the slot from each other for ever; owners that
/// are large in different parts still may.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn hoarded(index: u32, word: u64) -> u32 {
    let Some(bucket) = bucket::at(index) else { return 0 };
    let mut hoarded = 0;
    for part in PARTS {
        let own = shared(index, word, part).count_ones();
        for slot in 0..bucket::SLOTS {
            let theirs = shared(index, bucket::read(bucket, slot), part);
            hoarded |= theirs * at_least(theirs, own + 2);
        }
    }
    hoarded
}

/// The last of some slots, given as bits; beyond [`bucket::SLOTS`]: none. The first ones of a bucket are those that have been
/// there longest: listeners, pooled connections.
#[inline(always)]
pub fn last(slots: u32) -> u32 {
    (u32::BITS - 1).wrapping_sub(slots.leading_zeros())
}

/// The slots of a bucket whose owner shares a part with that of `word`, as bits.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn shared(index: u32, word: u64, part: u64) -> u32 {
    let Some(bucket) = bucket::at(index) else { return 0 };
    let mut slots = 0;
    for slot in 0..bucket::SLOTS {
        slots |= is_zero((bucket::read(bucket, slot) ^ word) & part) << slot;
    }
    slots
}

/// 1 if at least `count` bits are set, else 0.
#[inline(always)]
fn at_least(slots: u32, count: u32) -> u32 {
    is_negative((count as u64).wrapping_sub(1).wrapping_sub(slots.count_ones() as u64))
}

/// 1 if the number is 0, else 0.
#[inline(always)]
pub fn is_zero(number: u64) -> u32 {
    1 ^ is_negative(number | number.wrapping_neg())
}

/// 1 if the highest bit is set, else 0. As an instruction, because a compiler would make a branch of the shift.
#[inline(always)]
fn is_negative(mut number: u64) -> u32 {
    // SAFETY: a shift.
    unsafe { core::arch::asm!("{0} >>= 63", inout(reg) number, options(pure, nomem, nostack)) };
    number as u32
}
