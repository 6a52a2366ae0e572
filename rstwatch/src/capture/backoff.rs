//! When to poll the ring without a wake-up.
//!
//! The kernel side skips wake-ups within [`WOKEN_NS`] after another one of the same CPU (`rstwatch-ebpf/src/emit/rate.rs`). No
//! record is left unread because of that. Let R be the first record after a poll that emptied the ring. If R came with a
//! wake-up, the reader wakes, because it had read everything before R. Otherwise a record W of the same CPU had permission to
//! send a wake-up less than `WOKEN_NS` earlier. The reader has read W, and polls every millisecond for longer than `WOKEN_NS`
//! after that, so it finds R within a millisecond. A program that is delayed between reading the clock and submitting its
//! record may submit later than that: the polls become rarer, but never stop.

use std::time::Duration;

use rstwatch_common::settings::WOKEN_NS;

/// Poll interval while records may arrive without a wake-up.
const MIN_INTERVAL: Duration = Duration::from_millis(1);
/// Poll interval when idle.
const MAX_INTERVAL: Duration = Duration::from_secs(1);
/// How long after a read record others may arrive without a wake-up. Twice [`WOKEN_NS`], because programs read the clock
/// before they submit.
const UNWOKEN: Duration = Duration::from_nanos(2 * WOKEN_NS);

/// The interval at which the reader polls the ring.
#[derive(Debug)]
pub(super) struct Backoff {
    /// When a record was last read.
    last_read_ns: u64,
    interval: Duration,
}

impl Backoff {
    /// Before any record was read.
    pub(super) const fn new() -> Self {
        Self { last_read_ns: 0, interval: MAX_INTERVAL }
    }

    /// Notes a poll at this time (`CLOCK_MONOTONIC`) and how many records it read.
    pub(super) fn polled(&mut self, now_ns: u64, records: usize) {
        if records > 0 {
            self.last_read_ns = now_ns;
        }
        let idle = Duration::from_nanos(now_ns.saturating_sub(self.last_read_ns));
        self.interval = if idle <= UNWOKEN { MIN_INTERVAL } else { (self.interval * 2).min(MAX_INTERVAL) };
    }

    /// Time until the next poll.
    pub(super) const fn interval(&self) -> Duration {
        self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Polls until the interval is the longest. Returns the time of each poll since the record was read.
    fn polls_after_a_record() -> Vec<Duration> {
        let start = 5_000_000_000;
        let mut backoff = Backoff::new();
        backoff.polled(start, 1);
        let mut since = Duration::ZERO;
        let mut polls = Vec::new();
        while backoff.interval() < MAX_INTERVAL {
            since += backoff.interval();
            polls.push(since);
            backoff.polled(start + u64::try_from(since.as_nanos()).unwrap(), 0);
        }
        polls
    }

    #[test]
    fn a_record_without_a_wake_up_is_read_within_a_millisecond() {
        let polls = polls_after_a_record();
        for at in (0..=WOKEN_NS).step_by(100_000).map(Duration::from_nanos) {
            let found = polls.iter().find(|poll| **poll >= at).unwrap();
            assert!(*found - at <= MIN_INTERVAL, "sent {at:?} after, found {found:?} after");
        }
    }

    #[test]
    fn an_idle_ring_is_polled_rarely_but_always() {
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
