//! Our count of sent resets against the kernel's, in one network namespace.

/// The comparison. What both counted before it began is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reconciled {
    /// Our count less the kernel's at the beginning; unknown until two looks agree.
    offset: Option<i64>,
    last: Option<i64>,
    difference: i64,
    /// Looks since it changed.
    stands: u32,
}

/// A difference that stands still so long is over: an RST without a route back, say, which the kernel shows to the programs
/// and then does not send (net/ipv6/tcp_ipv6.c, tcp_v6_send_response). What goes on growing is not.
const OVER: u32 = 300;

impl Reconciled {
    /// Takes the kernel's count, and ours from before and after that was read. Under a flood they are never the same; then
    /// a difference is what cannot have happened in between. Answers one that is over, and from now on left out.
    pub(super) fn look(&mut self, before: u64, kernel: u64, after: u64) -> Option<i64> {
        let (low, high) = (less(before, kernel), less(after, kernel));
        let Some(offset) = self.offset else {
            let now = (low == high).then_some(low);
            self.offset = now.filter(|_| now == self.last);
            self.last = now;
            return None;
        };
        let difference = 0.clamp(low.saturating_sub(offset), high.saturating_sub(offset));
        self.stands = if difference == self.difference { self.stands + 1 } else { 0 };
        self.difference = difference;
        if difference == 0 || self.stands < OVER {
            return None;
        }
        *self = Self { offset: Some(offset + difference), ..Self::default() };
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
            assert_eq!(reconciled.look(before, kernel, after), None);
            assert_eq!(reconciled.difference(), expected, "{before} {kernel} {after}");
        }
    }

    #[test]
    fn a_difference_that_stands_still_is_over() {
        let mut reconciled = Reconciled::default();
        (0..2).for_each(|_| assert_eq!(reconciled.look(0, 0, 0), None));
        let over: Vec<_> = (0..=OVER).filter_map(|_| reconciled.look(3, 0, 3)).collect();
        assert_eq!((over.as_slice(), reconciled.difference()), (&[3][..], Some(0)));
        for growing in 4..4 + u64::from(2 * OVER) {
            assert_eq!(reconciled.look(growing, 0, growing), None);
        }
        assert_eq!(reconciled.difference(), Some(600));
    }
}
