//! How often to poll the ring in the absence of wake-ups.
//!
//! After a wake-up, a CPU submits records without another one for [`WOKEN_NS`] (`rstwatch-ebpf/src/emit/rate.rs`). No record is
//! left unread because of that. Let R be the first record submitted after a poll that emptied the ring:
//!
//! - If R was allowed a wake-up, the kernel wakes the reader, because it had read everything before R.
//! - Otherwise a record W of the same CPU was allowed one less than `WOKEN_NS` before R. The reader has read W, and since then
//!   polls every millisecond for longer than `WOKEN_NS`, so it finds R within a millisecond.
//!
//! A program that is delayed between reading the clock and submitting its record may miss that period. The polls then become
//! rarer, but never stop.

use std::time::Duration;

use rstwatch_common::settings::WOKEN_NS;

/// Poll interval while records may arrive without a wake-up.
const MIN_INTERVAL: Duration = Duration::from_millis(1);
/// Poll interval when idle.
const MAX_INTERVAL: Duration = Duration::from_secs(1);
/// How long to poll at [`MIN_INTERVAL`] after reading a record. Twice [`WOKEN_NS`], because programs read the clock before they
/// submit.
const FAST_POLLING: Duration = Duration::from_nanos(2 * WOKEN_NS);

/// Computes the interval at which the reader polls the ring.
#[derive(Debug)]
pub(super) struct Backoff {
    /// When a record was last read.
    last_read_ns: u64,
    interval: Duration,
}

impl Backoff {
    /// Starts at the longest interval.
    pub(super) const fn new() -> Self {
        Self { last_read_ns: 0, interval: MAX_INTERVAL }
    }

    /// Records the time of a poll (`CLOCK_MONOTONIC`) and how many records it read.
    pub(super) fn polled(&mut self, now_ns: u64, records: usize) {
        if records > 0 {
            self.last_read_ns = now_ns;
        }
        let idle = Duration::from_nanos(now_ns.saturating_sub(self.last_read_ns));
        self.interval = if idle <= FAST_POLLING { MIN_INTERVAL } else { (self.interval * 2).min(MAX_INTERVAL) };
    }

    /// Time until the next poll.
    pub(super) const fn interval(&self) -> Duration {
        self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a record, then polls an empty ring until the interval is at its maximum. Returns the times of the polls, relative
    /// to the record.
    fn polls_after_a_record() -> Vec<Duration> {
        let start = 5_000_000_000;
        let mut backoff = Backoff::new();
        backoff.polled(start, 1);
        let mut elapsed = Duration::ZERO;
        let mut polls = Vec::new();
        while backoff.interval() < MAX_INTERVAL {
            elapsed += backoff.interval();
            polls.push(elapsed);
            backoff.polled(start + u64::try_from(elapsed.as_nanos()).unwrap(), 0);
        }
        polls
    }

    #[test]
    fn a_record_without_a_wake_up_is_read_within_a_millisecond() {
        let polls = polls_after_a_record();
        for at in (0..=WOKEN_NS).step_by(100_000).map(Duration::from_nanos) {
            let found = polls.iter().find(|poll| **poll >= at).unwrap();
            assert!(*found - at <= MIN_INTERVAL, "submitted after {at:?}, found after {found:?}");
        }
    }

    #[test]
    fn an_idle_ring_is_polled_every_second() {
        assert!(polls_after_a_record().len() < 40);
        let mut backoff = Backoff::new();
        for second in 10..1000 {
            backoff.polled(second * 1_000_000_000, 0);
            assert_eq!(backoff.interval(), MAX_INTERVAL);
        }
        backoff.polled(1_000_000_000_000, 3);
        assert_eq!(backoff.interval(), MIN_INTERVAL);
    }
}
