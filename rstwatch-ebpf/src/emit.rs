//! Count first, exactly; then the detail, if its kind is within its rate and the ring has room.

use aya_ebpf::bindings::{BPF_NOEXIST, BPF_RB_NO_WAKEUP};
use aya_ebpf::maps::PerCpuArray;
use rstwatch_common::counts::{Counted, Loss, count_slot, loss_slot};
use rstwatch_common::record::ResetRecord;
use rstwatch_common::settings::WOKEN_NS;

use crate::kernel::setting;
use crate::maps::{COUNTS, EVENTS, LOSSES, RATES, SENT_BY_NETNS};

/// Slot of `RATES` that holds when this CPU last woke the reader.
const WOKEN: u32 = 7;

/// Kinds of detail events, each with a rate of its own, so that a scan of closed ports drowns nothing else.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Rate {
    /// Segments that met no connection.
    NoSocket = 0,
    /// Any other sent reset.
    Sent = 1,
    /// Received resets.
    Received = 2,
    /// Firewall rejects.
    Firewall = 3,
    /// Evidence that is no reset.
    Stray = 4,
}

/// Counts a reset that has no detail.
#[inline(always)]
pub fn count(counted: Counted, reason: u32) {
    bump(&COUNTS, count_slot(counted, reason));
}

/// Counts a reset that the stack of a namespace sent. Beyond the map's limit it is not compared with the kernel's count.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn count_in(netns: u32) -> u32 {
    if let Some(counter) = SENT_BY_NETNS.get_ptr_mut(&netns) {
        add_one(counter);
        return 0;
    }
    // Another program may be first: then its element is the one that counts.
    let _ = SENT_BY_NETNS.insert(&netns, &0, BPF_NOEXIST as u64);
    if let Some(counter) = SENT_BY_NETNS.get_ptr_mut(&netns) {
        add_one(counter);
    }
    0
}

/// Counts a reset and sends the record that `fill` writes; answers whether the detail left. `fill` must write every field that
/// rstwatch/src/decode.rs, clear_unwritten, does not tell by the others.
#[inline(always)]
pub fn emit(counted: Counted, reason: u32, rate: Rate, now: u64, fill: impl FnOnce(&mut ResetRecord)) -> bool {
    count(counted, reason);
    if within(rate as u32, now) == 0 {
        bump(&LOSSES, loss_slot(counted, Loss::RateLimited));
        return false;
    }
    let Some(mut entry) = EVENTS.reserve::<ResetRecord>(0) else {
        bump(&LOSSES, loss_slot(counted, Loss::RingFull));
        return false;
    };
    // SAFETY: the entry is ours until submitted; every bit pattern is a valid record.
    fill(unsafe { &mut *entry.as_mut_ptr() });
    entry.submit(wake(now));
    true
}

/// Sends a record that counts nothing, if its kind is within its rate and the ring has room.
#[inline(always)]
pub fn tell(rate: Rate, now: u64, fill: impl FnOnce(&mut ResetRecord)) {
    if within(rate as u32, now) == 0 {
        return;
    }
    if let Some(mut entry) = EVENTS.reserve::<ResetRecord>(0) {
        // SAFETY: the entry is ours until submitted; every bit pattern is a valid record.
        fill(unsafe { &mut *entry.as_mut_ptr() });
        entry.submit(wake(now));
    }
}

#[inline(always)]
fn bump(counters: &PerCpuArray<u64>, slot: u32) {
    if let Some(counter) = counters.get_ptr_mut(slot) {
        add_one(counter);
    }
}

/// Several programs count here, and one may interrupt another between a load and a store. The target has no
/// read-modify-write in `core::sync::atomic`.
#[inline(always)]
pub fn add_one(counter: *mut u64) {
    add(counter, 1);
}

/// Adds to a word that others change at the same time.
#[inline(always)]
pub fn add(word: *mut u64, number: u64) {
    // SAFETY: an aligned word of a map.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) word, in(reg) number, options(nostack)) };
}

/// Whether the reader is to be woken, as flags of the ring.
///
/// A wake-up costs more than all else here: an interrupt to this CPU itself. So one that follows another within [`WOKEN_NS`] is
/// left out, for the reader looks again by itself for longer than that after each record it takes
/// (rstwatch/src/pipeline/patience.rs has the proof that none stays behind). A lone record is told at once.
#[inline(always)]
fn wake(now: u64) -> u64 {
    let Some(slot) = RATES.get_ptr_mut(WOKEN) else { return 0 };
    // SAFETY: a per-CPU slot.
    if now.wrapping_sub(unsafe { *slot }) < WOKEN_NS {
        return BPF_RB_NO_WAKEUP as u64;
    }
    // SAFETY: as above.
    unsafe { *slot = now };
    // The kernel wakes the reader if it has read everything before this record (kernel/bpf/ringbuf.c, bpf_ringbuf_commit).
    0
}

/// The generic cell rate algorithm (ITU-T I.371) in nanoseconds. Answers whether there is one more to be had.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn within(rate: u32, now: u64) -> u32 {
    let Some(slot) = RATES.get_ptr_mut(rate) else { return 0 };
    // SAFETY: a per-CPU slot.
    let arrival = unsafe { *slot };
    let arrival = if arrival > now { arrival } else { now };
    if arrival - now > setting!(detail_burst_ns) {
        return 0;
    }
    let next = arrival + setting!(detail_interval_ns);
    // SAFETY: as above.
    unsafe { *slot = next };
    1
}
