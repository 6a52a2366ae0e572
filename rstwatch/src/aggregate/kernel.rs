//! The kernel side's exact counts, made monotonic.

use std::collections::BTreeMap;
use std::sync::Arc;

use rstwatch_verdict::cause::Direction;

/// Counts of the kernel side since the agent started.
#[derive(Clone, Debug, Default)]
pub struct KernelCounts {
    /// Resets by direction and name of the kernel's reason.
    pub resets: Vec<(Direction, Arc<str>, u64)>,
    /// Resets whose event was lost, by direction and the stage that lost it.
    pub undelivered: Vec<(Direction, LossStage, u64)>,
}

/// Reads the exact counts, from any thread; `None` if the kernel refuses.
pub type CountsHandle = Arc<dyn Fn() -> Option<KernelCounts> + Send + Sync>;

/// Where an event was lost on its way to the classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LossStage {
    /// The kernel skipped the program, because it was already running on that CPU.
    Missed,
    /// The ring buffer was full.
    RingFull,
    /// Events of its kind exceeded the configured rate.
    RateLimited,
    /// The record could not be decoded.
    Decode,
}

impl LossStage {
    /// Every stage, in the order of the flow.
    pub const ALL: [Self; 4] = [Self::Missed, Self::RateLimited, Self::RingFull, Self::Decode];

    /// The value of the label `stage`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::RingFull => "ring_full",
            Self::RateLimited => "rate_limited",
            Self::Decode => "decode",
        }
    }
}

/// The largest counts ever read.
///
/// Per-CPU slots are read one after the other, and probes may be reloaded: a reading below an earlier one is stale.
#[derive(Clone, Debug, Default)]
pub(super) struct KernelSeen {
    resets: BTreeMap<(Direction, Arc<str>), u64>,
    undelivered: BTreeMap<(Direction, LossStage), u64>,
}

impl KernelSeen {
    pub(super) fn absorb(&mut self, counts: &KernelCounts) {
        let resets = counts.resets.iter().map(|(direction, reason, n)| ((*direction, reason.clone()), *n));
        raise(&mut self.resets, resets);
        let lost = counts.undelivered.iter().map(|(direction, stage, n)| ((*direction, *stage), *n));
        raise(&mut self.undelivered, lost);
    }

    pub(super) fn resets(&self) -> impl Iterator<Item = (Direction, &str, u64)> {
        self.resets.iter().map(|((direction, reason), n)| (*direction, &**reason, *n))
    }

    pub(super) fn undelivered(&self, direction: Direction) -> u64 {
        self.undelivered.iter().filter(|((counted, _), _)| *counted == direction).map(|(_, n)| n).sum()
    }

    pub(super) fn lost(&self, stage: LossStage) -> u64 {
        self.undelivered.iter().filter(|((_, at), _)| *at == stage).map(|(_, n)| n).sum()
    }
}

/// Raises each total to the sum of its readings. Several readings may share a key.
fn raise<K: Ord>(totals: &mut BTreeMap<K, u64>, readings: impl Iterator<Item = (K, u64)>) {
    let mut sums = BTreeMap::<K, u64>::new();
    for (key, n) in readings {
        *sums.entry(key).or_default() += n;
    }
    for (key, sum) in sums {
        let total = totals.entry(key).or_default();
        *total = sum.max(*total);
    }
}
