//! Stage 5: bounded totals of all verdicts, joined with the kernel's exact counts.
//!
//! Summed over cause, the resets equal the kernel's count once all events in flight have arrived: a delivered event is
//! counted by its cause, a lost one as `unsampled`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use rstwatch_verdict::cause::{Cause, Direction, Sender};
use rstwatch_verdict::event::Event;

mod idle;
mod kernel;
pub mod metrics;
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

/// The key of one series of resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// Direction of the RST.
    pub direction: Direction,
    /// Its verdict.
    pub cause: Cause,
    /// Its sender.
    pub sender: Sender,
    /// Owner of the connection.
    pub workload: WorkloadId,
}

/// Totals since the agent started. No counter ever decreases, because Prometheus would take that for a restart.
///
/// Therefore a workload keeps its series until the agent restarts, and workloads beyond the limit share one.
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
    /// Nothing counted; at most `workload_limit` workloads get series of their own.
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
        match index.series.get(&series).and_then(|at| self.resets.get_mut(*at)) {
            Some((_, count)) => *count += 1,
            None => _ = index.series.insert(series, self.resets.push((series, 1))),
        }
        if let Some(idle_ms) = event.idle_ms {
            self.idle.entry((direction, cause)).or_default().observe(idle_ms);
        }
        self.events += 1;
        self.folded += u64::from(workload == WorkloadId::OTHER);
    }

    /// Takes the kernel's counts of this moment.
    fn absorb(&mut self, counts: &KernelCounts) {
        self.kernel.absorb(counts);
    }

    /// All series of resets in a fixed order, then the resets whose event was not delivered (`unsampled`).
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

    /// The labels of a [`Series::workload`].
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

    /// Idle times at reset, by direction and cause.
    pub fn idle(&self) -> impl Iterator<Item = (Direction, Cause, &IdleHistogram)> {
        self.idle.iter().map(|((direction, cause), histogram)| (*direction, *cause, histogram))
    }

    /// Number of verdicts counted.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Sockets that found no room in the table of connections.
    pub fn untracked(&self) -> u64 {
        self.kernel.untracked()
    }

    /// Number of verdicts counted as `_other`, because the limit of workloads was reached.
    pub fn folded(&self) -> u64 {
        self.folded
    }
}

/// Positions of series and workloads. Only counting needs them, so copies of the totals have none.
#[derive(Debug, Default)]
struct Index {
    series: HashMap<Series, usize>,
    workloads: Ids,
}

/// The totals, shared between the event loop and scrapes.
///
/// A scrape holds the lock only to copy the totals, never while it writes text. A copy shares its memory with the totals: the
/// event loop duplicates a part when it first counts in that part after the copy was made.
#[derive(Debug)]
pub struct Aggregate(Mutex<Live>);

/// State of the event loop.
#[derive(Debug)]
struct Live {
    totals: Totals,
    index: Index,
}

impl Aggregate {
    /// Nothing counted; at most `workload_limit` workloads get series of their own.
    pub fn new(workload_limit: usize) -> Self {
        Self(Mutex::new(Live { totals: Totals::new(workload_limit), index: Index::default() }))
    }

    /// Counts one verdict.
    pub fn record(&self, event: &Event) {
        let Live { totals, index } = &mut *self.lock();
        totals.record(event, index);
    }

    /// Takes the kernel's counts of this moment.
    pub fn absorb(&self, counts: &KernelCounts) {
        self.lock().totals.absorb(counts);
    }

    /// Changes the limit of workloads. Workloads with series of their own keep them.
    pub fn set_workload_limit(&self, limit: usize) {
        self.lock().totals.workloads.set_limit(limit);
    }

    /// A copy with the kernel's counts of this moment, if they can be read.
    ///
    /// The verdicts are copied before the kernel's counts are read, so that they never exceed those.
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
        // Counting does not panic half-way, so the totals behind a poisoned lock are consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
