//! The kernel's clocks.

use std::time::Duration;

use rustix::time::{ClockId, clock_getres, clock_gettime};

/// Length of a jiffy: the resolution of the coarse clock is one tick (kernel/time/posix-timers.c).
pub fn jiffy() -> Duration {
    let tick = clock_getres(ClockId::MonotonicCoarse);
    Duration::try_from(tick).unwrap_or(Duration::from_millis(4))
}

/// Jiffies in a second.
pub fn hz() -> u32 {
    let ticks = 1_000_000_000 / jiffy().as_nanos().max(1);
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// The time now on `CLOCK_MONOTONIC`, which ring records use, in nanoseconds.
pub fn monotonic_ns() -> u64 {
    u64::try_from(clock_ns(ClockId::Monotonic)).unwrap_or(0)
}

/// CPU time that the calling thread has used.
pub fn thread_time() -> Duration {
    let nanoseconds = u64::try_from(clock_ns(ClockId::ThreadCPUTime)).unwrap_or(0);
    Duration::from_nanos(nanoseconds)
}

/// Add this to monotonic nanoseconds to get the time of day.
pub fn wall_offset_ns() -> i128 {
    clock_ns(ClockId::Realtime) - clock_ns(ClockId::Monotonic)
}

fn clock_ns(clock: ClockId) -> i128 {
    let now = clock_gettime(clock);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jiffy_matches_a_common_kernel_configuration() {
        let hz = 1.0 / jiffy().as_secs_f64();
        assert!([100, 250, 300, 1000].iter().any(|known| (hz - f64::from(*known)).abs() < 1.0), "HZ={hz}");
    }

    #[test]
    fn wall_time_is_monotonic_time_plus_the_offset() {
        let now = jiff::Timestamp::now().as_nanosecond();
        let then = i128::from(monotonic_ns()) + wall_offset_ns();
        assert!((then - now).abs() < 5_000_000_000);
    }
}
