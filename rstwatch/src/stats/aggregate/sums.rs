//! The sums of all resets in one line, logged when the agent ends.

use std::fmt;

use super::Totals;
use rstwatch_verdict::cause::{Cause, Direction};

/// Resets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    /// Over all causes, including those without detail.
    causes: u64,
    /// Without detail.
    unsampled: u64,
    /// The kernel side's count.
    kernel: u64,
}

/// Resets of both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums {
    sent: Sum,
    received: Sum,
}

impl Sums {
    /// Sums up totals.
    pub fn of(totals: &Totals) -> Self {
        let [sent, received] = [Direction::Sent, Direction::Received].map(|direction| {
            let mut sum = Sum::default();
            for (series, count) in totals.resets().filter(|(series, _)| series.direction == direction) {
                sum.causes += count;
                sum.unsampled += if series.cause == Cause::Unsampled { count } else { 0 };
            }
            let kernel = totals.kernel_resets().filter(|(counted, ..)| *counted == direction);
            sum.kernel = kernel.map(|(.., count)| count).sum();
            sum
        });
        Self { sent, received }
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, received } = self;
        let unsampled = sent.unsampled + received.unsampled;
        write!(
            f,
            "{} sent and {} received resets reported, {unsampled} of them without detail; ",
            sent.causes, received.causes
        )?;
        write!(f, "the kernel side counted {} and {}", sent.kernel, received.kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::aggregate::{Aggregate, KernelCounts, LossStage};
    use rstwatch_verdict::testing::sample;

    #[test]
    fn reported_resets_are_listed_beside_the_kernels_count() {
        let aggregate = Aggregate::new(10);
        aggregate.record(&sample::idle_reaped());
        let direction = sample::idle_reaped().direction;
        aggregate.absorb(&KernelCounts {
            resets: vec![(direction, "x".into(), 3)],
            undelivered: vec![(direction, LossStage::RingFull, 2)],
            untracked: 0,
        });
        let sum = Sum { causes: 3, unsampled: 2, kernel: 3 };
        let expected = match direction {
            Direction::Sent => Sums { sent: sum, received: Sum::default() },
            Direction::Received => Sums { sent: Sum::default(), received: sum },
        };
        assert_eq!(Sums::of(&aggregate.snapshot(|| None)), expected);
        assert!(expected.to_string().contains("2 of them without detail"), "{expected}");
    }
}
