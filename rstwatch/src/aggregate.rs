//! Stage 5: bounded totals of every verdict, joined with the kernel's exact counts.
//!
//! The sum over cause of the resets equals the kernel's own count once everything in flight has arrived:
//! what was delivered is counted by its cause, what was not is counted as `unsampled`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cause::{Cause, Direction, Sender};
use crate::record::Event;

mod idle;
mod kernel;
mod rows;
mod sums;
mod workloads;

pub use crate::kernel::counts::{CountsHandle, KernelCounts, LossStage};
pub use idle::{BOUNDS, IdleHistogram};
pub use sums::Sums;
pub use workloads::{DEFAULT_LIMIT, Labels, WorkloadId};

use kernel::KernelSeen;
use rows::Rows;
use workloads::{Ids, Workloads};

/// What one series of resets is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// Which way the RST went.
    pub direction: Direction,
    /// Our verdict.
    pub cause: Cause,
    /// Who emitted it.
    pub sender: Sender,
    /// Whose connection it was.
    pub workload: WorkloadId,
}

/// Totals since the start of the agent. Never shrinks: a counter that went backwards would read as a restart.
///
/// So a workload keeps its series until the agent restarts, and those beyond the limit share one.
#[derive(Clone, Debug)]
pub struct Totals {
    resets: Rows<(Series, u64)>,
    idle: BTreeMap<(Direction, Cause), IdleHistogram>,
    workloads: Workloads,
    events: u64,
    folded: u64,
    kernel: KernelSeen,
}

impl Totals {
    /// Nothing counted; at most `workload_limit` workloads by name.
    fn new(workload_limit: usize) -> Self {
        Self {
            resets: Rows::default(),
            idle: BTreeMap::new(),
            workloads: Workloads::new(workload_limit),
            events: 0,
            folded: 0,
            kernel: KernelSeen::default(),
        }
    }

    /// Counts one verdict.
    fn record(&mut self, event: &Event, index: &mut Index) {
        let Event { direction, cause, sender, .. } = *event;
        let workload = self.workloads.id(event.workload.as_ref(), &mut index.workloads);
        let series = Series { direction, cause, sender, workload };
        match index.series.get(&series).and_then(|place| self.resets.get_mut(*place)) {
            Some((_, count)) => *count += 1,
            None => _ = index.series.insert(series, self.resets.push((series, 1))),
        }
        if let Some(idle_ms) = event.idle_ms {
            self.idle.entry((direction, cause)).or_default().observe(idle_ms);
        }
        self.events += 1;
        self.folded += u64::from(workload == WorkloadId::OTHER);
    }

    /// Takes over what the kernel has counted by now.
    fn absorb(&mut self, counts: &KernelCounts) {
        self.kernel.absorb(counts);
    }

    /// Every series of resets in a fixed order, then those that were not delivered (`unsampled`).
    pub fn resets(&self) -> impl Iterator<Item = (Series, u64)> {
        let unsampled = Direction::ALL.iter().map(|&direction| {
            let series =
                Series { direction, cause: Cause::Unsampled, sender: Sender::Unknown, workload: WorkloadId::UNKNOWN };
            (series, self.kernel.undelivered(direction))
        });
        let mut resets: Vec<_> = self.resets.iter().copied().collect();
        resets.sort_unstable_by_key(|(series, _)| *series);
        resets.into_iter().chain(unsampled)
    }

    /// The names behind a [`Series::workload`].
    pub fn labels(&self, workload: WorkloadId) -> &Labels {
        self.workloads.labels(workload)
    }

    /// The kernel's exact counts by direction and reason.
    pub fn kernel_resets(&self) -> impl Iterator<Item = (Direction, &str, u64)> {
        self.kernel.resets()
    }

    /// Events lost at a stage.
    pub fn lost(&self, stage: LossStage) -> u64 {
        self.kernel.lost(stage)
    }

    /// Idle times at reset.
    pub fn idle(&self) -> impl Iterator<Item = (Direction, Cause, &IdleHistogram)> {
        self.idle.iter().map(|((direction, cause), histogram)| (*direction, *cause, histogram))
    }

    /// Verdicts counted.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Verdicts counted under `_other` because the limit of workloads was reached.
    pub fn folded(&self) -> u64 {
        self.folded
    }
}

/// Where the series and the names are. Only who counts needs it, so copies do without.
#[derive(Debug, Default)]
struct Index {
    series: HashMap<Series, usize>,
    workloads: Ids,
}

/// The totals, shared between the event loop and scrapes.
///
/// A scrape holds the lock only to copy the totals, never while it writes text. A copy shares all series with the totals; the
/// event loop copies a part of them when it counts in it for the first time after that.
#[derive(Debug)]
pub struct Aggregate(Mutex<Live>);

/// What the event loop counts in.
#[derive(Debug)]
struct Live {
    totals: Totals,
    index: Index,
}

impl Aggregate {
    /// Nothing counted; at most `workload_limit` workloads by name.
    pub fn new(workload_limit: usize) -> Self {
        Self(Mutex::new(Live { totals: Totals::new(workload_limit), index: Index::default() }))
    }

    /// Counts one verdict.
    pub fn record(&self, event: &Event) {
        let Live { totals, index } = &mut *self.lock();
        totals.record(event, index);
    }

    /// Takes over what the kernel has counted by now.
    pub fn absorb(&self, counts: &KernelCounts) {
        self.lock().totals.absorb(counts);
    }

    /// Changes the limit of workloads; those already named keep their names.
    pub fn set_workload_limit(&self, limit: usize) {
        self.lock().totals.workloads.set_limit(limit);
    }

    /// A copy with the kernel's numbers of this moment, if they can be read.
    ///
    /// The verdicts are copied before the kernel is asked, so that they never exceed its count.
    pub fn snapshot(&self, kernel: impl FnOnce() -> Option<KernelCounts>) -> Totals {
        let mut totals = self.lock().totals.clone();
        if let Some(counts) = kernel() {
            let mut live = self.lock();
            live.totals.absorb(&counts);
            totals.kernel = live.totals.kernel.clone();
        }
        totals
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        // Counting cannot panic half-way, so a poisoned lock still guards whole totals.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
