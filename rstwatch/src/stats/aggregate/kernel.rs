//! The kernel side's exact counts, made monotonic.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kernel::counts::{KernelCounts, LossStage};
use rstwatch_verdict::cause::Direction;

/// The largest counts ever read.
///
/// Per-CPU slots are read one after the other, and probes may be reloaded: a reading below an earlier one is stale.
#[derive(Clone, Debug, Default)]
pub(super) struct KernelSeen {
    resets: BTreeMap<(Direction, Arc<str>), u64>,
    undelivered: BTreeMap<(Direction, LossStage), u64>,
    untracked: u64,
}

impl KernelSeen {
    pub(super) fn absorb(&mut self, counts: &KernelCounts) {
        let resets = counts.resets.iter().map(|(direction, reason, n)| ((*direction, reason.clone()), *n));
        raise(&mut self.resets, resets);
        let lost = counts.undelivered.iter().map(|(direction, stage, n)| ((*direction, *stage), *n));
        raise(&mut self.undelivered, lost);
        self.untracked = self.untracked.max(counts.untracked);
    }

    pub(super) fn resets(&self) -> impl Iterator<Item = (Direction, &str, u64)> {
        self.resets.iter().map(|((direction, reason), n)| (*direction, &**reason, *n))
    }

    pub(super) fn undelivered(&self, direction: Direction) -> u64 {
        self.undelivered.iter().filter(|((counted, _), _)| *counted == direction).map(|(_, n)| n).sum()
    }

    pub(super) fn untracked(&self) -> u64 {
        self.untracked
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
