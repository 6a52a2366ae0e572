//! How many details may leave, and when the ring's reader is woken.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use rstwatch_common::settings::WOKEN_NS;

use crate::conn_state::hash::mixed;
use crate::kernel::setting;

/// Theoretical arrival time of the next detail event, per kind (the generic cell rate algorithm); the last slot: when the
/// reader was last woken.
#[map]
static RATES: PerCpuArray<u64> = PerCpuArray::with_max_entries(8, 0);

/// Slot of `RATES` that holds when this CPU last woke the reader.
const WOKEN: u32 = 7;

/// Kinds of detail events, each with a rate of its own, so that a scan of closed ports delays nothing else.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Rate {
    /// Segments that found no connection.
    NoSocket = 0,
    /// Any other sent reset.
    Sent = 1,
    /// Received resets.
    Received = 2,
    /// Firewall rejects.
    Firewall = 3,
    /// Repeated RSTs: evidence, not resets.
    RepeatedRst = 4,
}

/// The ring's flags for a record: whether it wakes the reader.
///
/// A wake-up costs more than everything else here: an interrupt to this CPU itself. So none follows another within
/// [`WOKEN_NS`], because after each record the reader polls by itself for longer than that (the daemon's poll backoff has the
/// proof that no record stays behind). A lone record wakes the reader at once.
#[inline(always)]
pub fn wake_flags(now: u64) -> u64 {
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

/// 1 if one more event of the kind may be sent, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn within(rate: u32, now: u64) -> u32 {
    RATES.get_ptr_mut(rate).map_or(0, |slot| passes(slot, now, setting!(detail_interval_ns)))
}

/// Owners that have a rate of their own, by hash.
const OWNERS: u32 = 256;

/// Each owner has this part of the common rate in addition. All owners together have as much as that rate once more.
const PART: u64 = 16;

/// Arrival times as in [`RATES`], by kind and owner; behind them those of all owners together, by kind.
#[map]
static OWN_RATES: PerCpuArray<u64> = PerCpuArray::with_max_entries((OWNERS + 1) * 8, 0);

/// 1 if an event of this owner, a cgroup or a network namespace, may be sent beyond the common rate, else 0: another owner's
/// flood does not hide its resets.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn within_own(rate: u32, owner: u64, now: u64) -> u32 {
    let hash = (mixed(setting!(hash_seed), owner as u32, (owner >> 32) as u32) >> 32) as u32;
    let interval = setting!(detail_interval_ns);
    let own = OWN_RATES.get_ptr_mut(rate * OWNERS + hash % OWNERS);
    if own.map_or(0, |slot| passes(slot, now, interval * PART)) == 0 {
        return 0;
    }
    OWN_RATES.get_ptr_mut(OWNERS * 8 + rate).map_or(0, |slot| passes(slot, now, interval))
}

/// The generic cell rate algorithm (ITU-T I.371) in nanoseconds.
#[inline(always)]
fn passes(slot: *mut u64, now: u64, interval_ns: u64) -> u32 {
    // SAFETY: a per-CPU slot.
    let arrival = unsafe { *slot };
    let arrival = if arrival > now { arrival } else { now };
    if arrival - now > setting!(detail_burst_ns) {
        return 0;
    }
    // SAFETY: as above.
    unsafe { *slot = arrival + interval_ns };
    1
}
