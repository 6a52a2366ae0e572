//! Counts a reset exactly; then sends its detail, if its kind is within its rate and the ring has room.

pub mod counts;
pub mod head;
pub mod rate;

use aya_ebpf::macros::map;
use aya_ebpf::maps::RingBuf;
use rstwatch_common::counts::{Counted, Loss};
use rstwatch_common::record::{HEAD_BYTES, ResetRecord};

use crate::emit::counts::{count, count_loss};
use crate::emit::head::Head;
use crate::emit::rate::{Rate, wake_flags, within, within_own};

/// Details of resets. The daemon sets the size.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Counts a reset; returns whether its detail may be sent. `owner`: the cgroup, or the network namespace where there is none, which
/// has a rate of its own.
#[inline(always)]
pub fn admit(counted: Counted, reason: u32, rate: Rate, owner: impl FnOnce() -> u64, now: u64) -> bool {
    count(counted, reason);
    let admitted = within(rate as u32, now) != 0 || within_own(rate as u32, owner(), now) != 0;
    if !admitted {
        count_loss(counted, Loss::RateLimited);
    }
    admitted
}

/// Sends the record that `fill` writes; returns whether the ring had room. `fill` must write every field that the daemon's `decode`
/// does not clear by the flags of others (`clear_unwritten`).
#[inline(always)]
pub fn send(counted: Counted, now: u64, fill: impl FnOnce(&mut ResetRecord)) -> bool {
    // SAFETY: the entry is ours until submitted; every bit pattern is a valid record.
    send_as::<ResetRecord>(counted, now, |record| fill(unsafe { &mut *record }))
}

/// Sends a short record: a head without blocks. Before a record leaves, the CPU must own each of its cache lines, so this takes a
/// fraction of the time.
#[inline(always)]
pub fn send_head(counted: Counted, now: u64, head: &Head) -> bool {
    // SAFETY: room for a head, which is what is written.
    send_as::<[u64; HEAD_BYTES / 8]>(counted, now, |entry| unsafe { head.write(entry.cast()) })
}

#[inline(always)]
fn send_as<T: 'static>(counted: Counted, now: u64, fill: impl FnOnce(*mut T)) -> bool {
    let Some(mut entry) = EVENTS.reserve::<T>(0) else {
        count_loss(counted, Loss::RingFull);
        return false;
    };
    fill(entry.as_mut_ptr());
    entry.submit(wake_flags(now));
    true
}

/// Sends a record that is evidence only and counts nothing, if its kind is within its rate and the ring has room.
#[inline(always)]
pub fn emit_uncounted(rate: Rate, now: u64, fill: impl FnOnce(&mut ResetRecord)) {
    if within(rate as u32, now) == 0 {
        return;
    }
    if let Some(mut entry) = EVENTS.reserve::<ResetRecord>(0) {
        // SAFETY: the entry is ours until submitted; every bit pattern is a valid record.
        fill(unsafe { &mut *entry.as_mut_ptr() });
        entry.submit(wake_flags(now));
    }
}
