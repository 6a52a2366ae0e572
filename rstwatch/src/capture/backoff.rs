//! When to look into the ring again without being woken.
//!
//! The kernel side leaves out wake-ups within [`WOKEN_NS`] of another one of the same CPU (`rstwatch-ebpf/src/emit/rate.rs`). No record
//! stays behind for that: let R be the first record after a look that left the ring empty. If it was sent with a wake-up, the
//! reader is woken, for it has read everything before. If not, a record W of the same CPU was sent with leave to wake less
//! than `WOKEN_NS` before. The reader has taken W, and from then on looks each millisecond for longer than `WOKEN_NS`, so
//! it finds R within a millisecond. A program that was held up between its clock and its record may come later than that:
//! the looks become rarer, but never end.

use std::time::Duration;

use rstwatch_common::settings::WOKEN_NS;

/// Between looks while records may come without a wake-up.
const SHORTEST: Duration = Duration::from_millis(1);
/// Between looks at last.
const LONGEST: Duration = Duration::from_secs(1);
/// How long a CPU may send without a wake-up after a record was taken, and as much again for a clock that was read before.
const UNWOKEN: Duration = Duration::from_nanos(2 * WOKEN_NS);

/// How long the reader may wait for a wake-up.
#[derive(Debug)]
pub(super) struct Backoff {
    /// When something was last taken.
    taken_ns: u64,
    pause: Duration,
}

impl Backoff {
    /// Nothing was taken yet.
    pub(super) const fn new() -> Self {
        Self { taken_ns: 0, pause: LONGEST }
    }

    /// A look at this time (`CLOCK_MONOTONIC`) took so many records.
    pub(super) fn looked(&mut self, now_ns: u64, taken: usize) {
        if taken > 0 {
            self.taken_ns = now_ns;
        }
        let since = Duration::from_nanos(now_ns.saturating_sub(self.taken_ns));
        self.pause = if since <= UNWOKEN { SHORTEST } else { (self.pause * 2).min(LONGEST) };
    }

    /// Until the next look.
    pub(super) const fn pause(&self) -> Duration {
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks until the pause is the longest; answers the times since the record was taken.
    fn looks_after_a_record() -> Vec<Duration> {
        let start = 5_000_000_000;
        let mut backoff = Backoff::new();
        backoff.looked(start, 1);
        let mut since = Duration::ZERO;
        let mut looks = Vec::new();
        while backoff.pause() < LONGEST {
            since += backoff.pause();
            looks.push(since);
            backoff.looked(start + u64::try_from(since.as_nanos()).unwrap(), 0);
        }
        looks
    }

    #[test]
    fn each_record_without_a_wake_up_is_found_within_a_millisecond() {
        let looks = looks_after_a_record();
        for at in (0..=WOKEN_NS).step_by(100_000).map(Duration::from_nanos) {
            let found = looks.iter().find(|look| **look >= at).unwrap();
            assert!(*found - at <= SHORTEST, "sent {at:?} after, found {found:?} after");
        }
    }

    #[test]
    fn silence_is_looked_at_rarely_and_for_ever() {
        assert!(looks_after_a_record().len() < 40);
        let mut backoff = Backoff::new();
        for second in 10..1000 {
            backoff.looked(second * 1_000_000_000, 0);
            assert_eq!(backoff.pause(), LONGEST);
        }
        backoff.looked(1_000_000_000_000, 3);
        assert_eq!(backoff.pause(), SHORTEST);
    }
}
