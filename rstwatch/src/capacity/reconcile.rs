//! Compares the agent's count of sent resets with the kernel's, in one network namespace.

use std::time::Duration;

/// The comparison. Counts from before it began are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reconciliation {
    /// The agent's count minus the kernel's at the beginning; unknown until two scans agree.
    offset: Option<i64>,
    last: Option<i64>,
    difference: i64,
    /// When it last changed.
    since: Duration,
}

/// A difference that stays constant for this long is written off. An RST without a route back causes one: the kernel shows it
/// to the programs and then does not send it (net/ipv6/tcp_ipv6.c, tcp_v6_send_response). A growing difference is kept.
const WRITE_OFF_AFTER: Duration = Duration::from_secs(300);

impl Reconciliation {
    /// Takes the kernel's count, and the agent's from before and after reading that. Under a flood these two always differ, so
    /// only what cannot have happened in between counts as a difference. Returns a difference that is written off. `now`: time
    /// since any fixed moment.
    pub(super) fn compare(&mut self, before: u64, kernel: u64, after: u64, now: Duration) -> Option<i64> {
        let (low, high) = (minus(before, kernel), minus(after, kernel));
        let Some(offset) = self.offset else {
            let now = (low == high).then_some(low);
            self.offset = now.filter(|_| now == self.last);
            self.last = now;
            return None;
        };
        let difference = 0.max(low.saturating_sub(offset)).min(high.saturating_sub(offset));
        if difference != self.difference {
            (self.difference, self.since) = (difference, now);
        }
        if difference == 0 || now.saturating_sub(self.since) < WRITE_OFF_AFTER {
            return None;
        }
        *self = Self { offset: Some(offset.saturating_add(difference)), ..Self::default() };
        Some(difference)
    }

    /// The agent's count minus the kernel's; `None`: not known yet.
    pub(super) fn difference(&self) -> Option<i64> {
        self.offset.map(|_| self.difference)
    }
}

fn minus(agent: u64, kernel: u64) -> i64 {
    agent.wrapping_sub(kernel).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_have_happened_in_between_is_a_difference() {
        let mut reconciliation = Reconciliation::default();
        // The offset is 5 - 100.
        let scans = [
            ((5, 100, 5), None),
            ((6, 101, 7), None),
            ((7, 102, 7), None),
            ((7, 102, 7), Some(0)),
            ((9, 104, 9), Some(0)),
            ((10, 109, 20), Some(0)),
            ((20, 117, 21), Some(-1)),
            ((20, 117, 20), Some(-2)),
            ((25, 119, 25), Some(1)),
            ((25, 120, 25), Some(0)),
        ];
        for ((before, kernel, after), expected) in scans {
            assert_eq!(reconciliation.compare(before, kernel, after, Duration::ZERO), None);
            assert_eq!(reconciliation.difference(), expected, "{before} {kernel} {after}");
        }
    }

    #[test]
    fn a_constant_difference_is_written_off() {
        let mut reconciliation = Reconciliation::default();
        let mut compare = |ours, seconds| reconciliation.compare(ours, 0, ours, Duration::from_secs(seconds));
        assert_eq!([compare(0, 0), compare(0, 1), compare(3, 7), compare(3, 306)], [None; 4]);
        assert_eq!([compare(3, 307), compare(3, 400), compare(3, 4000)], [Some(3), None, None]);
        let growing: Vec<_> = (0..100).filter_map(|n| compare(4 + n, 5_000 + 299 * n)).collect();
        assert!(growing.is_empty());
        assert_eq!(reconciliation.difference(), Some(100));
    }
}
