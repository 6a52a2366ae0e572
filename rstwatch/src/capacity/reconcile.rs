//! Our count of sent resets against the kernel's, in one network namespace.

/// The comparison. What both counted before it began is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reconciled {
    /// Our count less the kernel's at the beginning; unknown until two looks agree.
    offset: Option<i64>,
    last: Option<i64>,
    difference: i64,
}

impl Reconciled {
    /// Takes the kernel's count, and ours from before and after that was read. Under a flood they are never the same; then
    /// a difference is what cannot have happened in between.
    pub(super) fn look(&mut self, before: u64, kernel: u64, after: u64) {
        let (low, high) = (less(before, kernel), less(after, kernel));
        let Some(offset) = self.offset else {
            let now = (low == high).then_some(low);
            self.offset = now.filter(|_| now == self.last);
            self.last = now;
            return;
        };
        self.difference = 0.clamp(low.saturating_sub(offset), high.saturating_sub(offset));
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
            reconciled.look(before, kernel, after);
            assert_eq!(reconciled.difference(), expected, "{before} {kernel} {after}");
        }
    }
}
