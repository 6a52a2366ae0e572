//! The exact counts.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{PerCpuArray, PerCpuHashMap};
use rstwatch_common::counts::{COUNTS_LEN, Counted, LOSSES_LEN, Loss, count_slot, loss_slot};

use crate::words::add_one;

/// Resets by kind and reason: `rstwatch_common::counts`.
#[map]
static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTS_LEN, 0);

/// Resets counted, but not delivered.
#[map]
static LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(LOSSES_LEN, 0);

/// Resets that the stack of a network namespace sent, for comparison with its `OutRsts`.
#[map]
static SENT_BY_NETNS: PerCpuHashMap<u32, u64> = PerCpuHashMap::with_max_entries(8192, 0);

/// Counts a reset.
#[inline(always)]
pub fn count(counted: Counted, reason: u32) {
    bump(&COUNTS, count_slot(counted, reason));
}

/// Counts a reset whose detail is not delivered.
#[inline(always)]
pub fn count_loss(counted: Counted, loss: Loss) {
    bump(&LOSSES, loss_slot(counted, loss));
}

/// Counts a reset that the stack of a namespace sent. Beyond the map's limit it is not compared with the kernel's count.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn count_sent_in(netns: u32) -> u32 {
    if let Some(counter) = SENT_BY_NETNS.get_ptr_mut(&netns) {
        add_one(counter);
        return 0;
    }
    // Another program may insert first: then its element counts.
    let _ = SENT_BY_NETNS.insert(&netns, &0, BPF_NOEXIST as u64);
    if let Some(counter) = SENT_BY_NETNS.get_ptr_mut(&netns) {
        add_one(counter);
    }
    0
}

#[inline(always)]
fn bump(counters: &PerCpuArray<u64>, slot: u32) {
    if let Some(counter) = counters.get_ptr_mut(slot) {
        add_one(counter);
    }
}
