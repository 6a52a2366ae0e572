//! The two clocks: nanoseconds for events, jiffies for TCP's time stamps.

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_ns};

/// Monotonic nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: takes no argument.
    unsafe { bpf_ktime_get_ns() }
}

/// The clock of most of TCP's time stamps.
#[inline(always)]
pub fn jiffies() -> u32 {
    // SAFETY: takes no argument.
    unsafe { bpf_jiffies64() as u32 }
}
