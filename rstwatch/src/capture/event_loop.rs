//! The event loop: waits for the ring, drains it in batches, and yields events with their owners.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use rustix::thread::{MembarrierCommand, membarrier};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::attachment::Attachment;
use super::backoff::Backoff;
use super::lost_netns;
use super::settings::CaptureSettings;
use crate::identity::kubernetes::{ClusterCache, Kubernetes};
use crate::identity::owner::Owners;
use crate::identity::owner::naming::Naming;
use crate::kernel::attached::Attached;
use crate::kernel::clock::{jiffy, monotonic_ns, wall_offset_ns};
use crate::kernel::counters::Counters;
use crate::kernel::counts::{CountsHandle, KernelCounts, LossStage};
use crate::kernel::gaps::{GapMap, GapsHandle, PeerGaps};
use crate::kernel::probe::Probes;
use crate::kernel::scan::PeriodicScan;
use crate::kernel::scope::Scope;
use crate::kernel::seed::Seeding;
use crate::kernel::tables::Tables;
use rstwatch_verdict::cause::Direction;
use rstwatch_verdict::decode::decode;
use rstwatch_verdict::evidence::Context;
use rstwatch_verdict::judged::Judged;
use rstwatch_verdict::pair::HOLD;
use rstwatch_verdict::pair::silence::{Losses, ReadLosses};
use rstwatch_verdict::stages::Stages;

/// Most ring entries read before their events are passed on and other tasks run again. Few, so that the events are still in
/// the CPU's cache, and the allocator's, when they are counted; enough to share the clock readings.
const BATCH: usize = 32;

/// A running capture. Dropping it detaches everything.
pub struct Capture {
    ring: AsyncFd<RingBuf<MapData>>,
    backoff: Backoff,
    attached: Probes,
    stages: Stages,
    /// Resolves the owner of each event that leaves the stages.
    naming: Naming,
    owners: Owners,
    shared: Arc<Shared>,
    /// Names the owners of sockets older than the agent; dropping it ends that.
    _seeding: Option<Seeding>,
    /// The periodic scan for survived idle gaps; dropping it ends the scan.
    _sampling: Option<PeriodicScan>,
    /// Warns of watched namespaces that are lost; dropping it ends that.
    _lost_netns: Option<PeriodicScan>,
    /// Maps for the scans of queues and tables, until [`take_tables`](Self::take_tables) hands them out.
    tables: Option<Tables>,
    scope: Scope,
    /// The watches of the Kubernetes API; dropping it ends them.
    kubernetes: Option<Kubernetes>,
    /// Owns the attached programs; `None` once they are detached.
    programs: Option<aya::Ebpf>,
}

/// State that metrics scrapes read from other threads.
struct Shared {
    counters: Counters,
    gaps: GapMap,
    undecodable: AtomicU64,
}

impl Capture {
    /// Starts reading the ring and, if configured, watching the Kubernetes API. Call it within the runtime.
    ///
    /// # Errors
    ///
    /// If the ring cannot be registered with the runtime, or the thread that resolves owners cannot be started.
    pub fn start(
        Attachment { attached, scope }: Attachment,
        settings: &CaptureSettings,
        node: &Arc<str>,
    ) -> anyhow::Result<Self> {
        let Attached { programs, events, counters, reasons, probes, gaps, seed, sampler, tables } = attached;
        let seeding = seed.and_then(|seed| {
            let failed =
                |error: &std::io::Error| tracing::warn!("sockets older than rstwatch may lack an owner: {error}");
            seed.start().inspect_err(failed).ok()
        });
        let sampling = sampler.and_then(|sampler| {
            let failed =
                |error: &std::io::Error| tracing::warn!("idle times before late messages are not sampled: {error}");
            sampler.start().inspect_err(failed).ok()
        });
        let context = Context { reasons, jiffy: jiffy(), wall_offset_ns: wall_offset_ns(), node: Arc::clone(node) };
        let kubernetes = settings.kubernetes.as_ref().map(Kubernetes::start);
        let pods = kubernetes.as_ref().map(|kubernetes| kubernetes.cache().pods());
        let owners = Owners::start(pods).context("cannot start the thread that resolves owners")?;
        let shared = Arc::new(Shared { counters, gaps, undecodable: AtomicU64::new(0) });
        Ok(Self {
            ring: readable(events)?,
            backoff: Backoff::new(),
            stages: Stages::new(context).with_losses(read_losses(&shared)),
            naming: Naming::new(owners.clone()),
            owners,
            shared,
            attached: probes,
            _seeding: seeding,
            _sampling: sampling,
            _lost_netns: lost_netns::watch(scope.netns.clone()),
            tables: Some(tables),
            scope,
            kubernetes,
            programs: Some(programs),
        })
    }

    /// The resolver of owners.
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// The hooks and how each is attached.
    pub fn probes(&self) -> &Probes {
        &self.attached
    }

    /// The maps and scope for the scans of queues and tables. Returns them once.
    pub fn take_tables(&mut self) -> Option<(Tables, Scope)> {
        Some((self.tables.take()?, self.scope.clone()))
    }

    /// What the watches of the Kubernetes API have seen; `None` if they are disabled.
    pub fn cluster_cache(&self) -> Option<&ClusterCache> {
        self.kubernetes.as_ref().map(Kubernetes::cache)
    }

    /// Adds the name of the remote end, if the Kubernetes API knows it.
    fn named(&self, mut judged: Box<Judged>) -> Box<Judged> {
        if let Some(cluster) = self.cluster_cache() {
            cluster.name_remote(&mut judged.event);
        }
        judged
    }

    /// Exact counts since the start.
    ///
    /// # Errors
    ///
    /// If the maps cannot be read.
    pub fn kernel_counts(&self) -> anyhow::Result<KernelCounts> {
        self.shared.counts()
    }

    /// Survived idle gaps by destination since the start.
    pub fn gaps(&self) -> Vec<PeerGaps> {
        self.shared.gaps.read()
    }

    /// A handle with which other threads read [`gaps`](Self::gaps).
    pub fn gaps_handle(&self) -> GapsHandle {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || shared.gaps.read())
    }

    /// A handle with which other threads read [`kernel_counts`](Self::kernel_counts).
    pub fn counts_handle(&self) -> CountsHandle {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || shared.counts().ok())
    }

    /// Waits for the next event. Cancel safe.
    pub async fn next(&mut self) -> Option<Box<Judged>> {
        loop {
            // Return ready events before reading more: a slow consumer must fill the ring, which counts losses, not our heap.
            if let Some(event) = self.pop() {
                return Some(event);
            }
            if self.drain() > 0 || self.stages.is_ready() {
                continue;
            }
            // Held and pending events have deadlines, and not every record wakes us, so the wait is bounded.
            let timeout = self.wait_timeout();
            tokio::select! {
                guard = self.ring.readable() => guard.ok()?.clear_ready(),
                () = self.naming.changed(), if self.naming.has_waiting() => (),
                () = tokio::time::sleep(timeout) => (),
            }
        }
    }

    /// The next event that is classified and named, if one is ready: reads nothing from the ring.
    pub fn pop(&mut self) -> Option<Box<Judged>> {
        if self.naming.has_waiting()
            && let Some(event) = self.naming.pop(monotonic_ns())
        {
            return Some(self.named(event));
        }
        while let Some(event) = self.stages.pop() {
            if let Some(named) = self.naming.take(event, monotonic_ns) {
                return Some(self.named(named));
            }
        }
        None
    }

    /// The longest wait for the ring: the poll backoff, or the next deadline of a held or pending event.
    fn wait_timeout(&self) -> Duration {
        let hold = self.stages.is_waiting().then_some(HOLD / 2);
        let deadlines = hold.into_iter().chain(self.naming.until_deadline(monotonic_ns()));
        deadlines.fold(self.backoff.interval(), Duration::min)
    }

    /// Detaches the programs and returns all remaining events. Nothing is counted after that, so counts and events agree.
    pub fn finish(&mut self) -> Vec<Box<Judged>> {
        drop(self.programs.take());
        // A program may still be running on another CPU; the barrier waits for it (kernel/sched/membarrier.c,
        // synchronize_rcu()). If the kernel refuses the barrier, one reset may be counted without its event.
        _ = membarrier(MembarrierCommand::Global);
        while self.drain() == BATCH {}
        self.stages.flush(&|| self.shared.phantoms());
        let mut all: Vec<_> = std::iter::from_fn(|| self.pop()).collect();
        let left = self.naming.finish();
        all.extend(left.into_iter().map(|event| self.named(event)));
        all
    }

    /// Passes a batch of ring entries through the stages. Returns the number of entries read.
    fn drain(&mut self) -> usize {
        self.stages.set_wall_offset(wall_offset_ns());
        let phantoms = || self.shared.phantoms();
        // Before the ring is seen empty: what comes later belongs to later holds.
        let now = monotonic_ns();
        let mut taken = 0;
        while taken < BATCH {
            let Some(entry) = self.ring.get_mut().next() else { break };
            taken += 1;
            match decode(&entry) {
                Ok(record) => self.stages.record(&record, &phantoms),
                Err(error) => {
                    tracing::debug!("ring entry skipped: {error}");
                    self.shared.undecodable.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        self.backoff.polled(now, taken);
        // Holds expire only while the ring is empty: otherwise the sender's record may still be in it.
        if taken < BATCH {
            self.stages.expire(now, &phantoms);
        }
        taken
    }
}

impl Shared {
    fn counts(&self) -> anyhow::Result<KernelCounts> {
        let mut counts = self.counters.read()?;
        // The direction of an undecodable record is unknown: count it as sent, the more common one.
        counts.undelivered.push((Direction::Sent, LossStage::Decode, self.undecodable.load(Ordering::Relaxed)));
        Ok(counts)
    }

    /// Phantom receives so far; 0 if the counter cannot be read.
    fn phantoms(&self) -> u64 {
        self.counters.delivered_phantoms().unwrap_or(0)
    }
}

fn read_losses(shared: &Arc<Shared>) -> ReadLosses {
    let shared = Arc::clone(shared);
    Box::new(move || {
        let count = shared.counters.lost()? + shared.undecodable.load(Ordering::Relaxed);
        Some(Losses { count, time_ns: monotonic_ns() })
    })
}

/// Registers the ring with the runtime.
fn readable(events: RingBuf<MapData>) -> anyhow::Result<AsyncFd<RingBuf<MapData>>> {
    // SAFETY: the ring owns its descriptor and keeps it open for as long as the AsyncFd owns the ring.
    let ring = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) };
    ring.map_err(|error| anyhow::Error::from(error.into_parts().1))
        .context("cannot register the ring buffer with the async runtime")
}
