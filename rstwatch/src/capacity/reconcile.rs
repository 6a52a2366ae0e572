//! Our count of sent resets against the kernel's, in one network namespace.

use std::time::Duration;

/// The comparison. What both counted before it began is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reconciled {
    /// Our count less the kernel's at the beginning; unknown until two looks agree.
    offset: Option<i64>,
    last: Option<i64>,
    difference: i64,
    /// When it last changed.
    since: Duration,
}

/// A difference that stands still so long is over: an RST without a route back, say, which the kernel shows to the programs
/// and then does not send (net/ipv6/tcp_ipv6.c, tcp_v6_send_response). What goes on growing is not.
const OVER: Duration = Duration::from_secs(300);

impl Reconciled {
    /// Takes the kernel's count, and ours from before and after that was read. Under a flood they are never the same; then
    /// a difference is what cannot have happened in between. Answers one that is over, and from now on left out. `now`: since any
    /// moment.
    pub(super) fn look(&mut self, before: u64, kernel: u64, after: u64, now: Duration) -> Option<i64> {
        let (low, high) = (less(before, kernel), less(after, kernel));
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
        if difference == 0 || now.saturating_sub(self.since) < OVER {
            return None;
        }
        *self = Self { offset: Some(offset.saturating_add(difference)), ..Self::default() };
        Some(difference)
    }

    /// Ours less the kernel's; `None`: not known yet.
    pub(super) fn difference(&self) -> Option<i64> {
        self.offset.map(|_| self.difference)
    }
}

fn less(ours: u64, kernels: u64) -> i64 {
    ours.wrapping_sub(kernels).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_have_happened_in_between_is_a_difference() {
        let mut reconciled = Reconciled::default();
        // Five less 100 is where it begins.
        let looks = [
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
        for ((before, kernel, after), expected) in looks {
            assert_eq!(reconciled.look(before, kernel, after, Duration::ZERO), None);
            assert_eq!(reconciled.difference(), expected, "{before} {kernel} {after}");
        }
    }

    #[test]
    fn a_difference_that_stands_still_is_over() {
        let mut reconciled = Reconciled::default();
        let mut look = |ours, seconds| reconciled.look(ours, 0, ours, Duration::from_secs(seconds));
        assert_eq!([look(0, 0), look(0, 1), look(3, 7), look(3, 306)], [None; 4]);
        assert_eq!([look(3, 307), look(3, 400), look(3, 4000)], [Some(3), None, None]);
        let growing: Vec<_> = (0..100).filter_map(|n| look(4 + n, 5_000 + 299 * n)).collect();
        assert!(growing.is_empty());
        assert_eq!(reconciled.difference(), Some(100));
    }
}
