//! The running capture: the kernel's ring on one side, the stages on the other.

mod backoff;
pub mod settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use rustix::thread::{MembarrierCommand, membarrier};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use self::backoff::Backoff;
use self::settings::CaptureSettings;
use crate::identity::kubernetes::{Knowledge, Kubernetes};
use crate::identity::owner::Owners;
use crate::identity::owner::naming::Naming;
use crate::kernel::attach::attach;
use crate::kernel::attached::Attached;
use crate::kernel::clock::{jiffy, monotonic_ns, wall_offset_ns};
use crate::kernel::counters::Counters;
use crate::kernel::counts::{CountsHandle, KernelCounts, LossStage};
use crate::kernel::gaps::{GapMap, GapsHandle, PeerGaps};
use crate::kernel::probe::Probes;
use crate::kernel::scan::PeriodicScan;
use crate::kernel::scope::Scope;
use crate::kernel::settings::Limits;
use crate::kernel::tables::Tables;
use rstwatch_verdict::cause::Direction;
use rstwatch_verdict::decode::decode;
use rstwatch_verdict::evidence::Context;
use rstwatch_verdict::judged::Judged;
use rstwatch_verdict::known_timeouts;
use rstwatch_verdict::pair::HOLD;
use rstwatch_verdict::stages::Stages;

/// Entries taken from the ring before others get a turn.
const BATCH: usize = 256;

/// What is attached and collects into the ring, while nobody reads it yet. It needs privileges and no runtime; what follows
/// is the other way round.
pub struct Attachment {
    attached: Attached,
    scope: Scope,
}

impl Attachment {
    /// Attaches.
    ///
    /// # Errors
    ///
    /// A bad path to watch, no privileges, or a kernel without what is required.
    pub fn new(settings: &CaptureSettings) -> anyhow::Result<Self> {
        known_timeouts::install(&settings.timeouts);
        let scope = Scope::resolve(&settings.netns, settings.cgroup.as_deref())?;
        let limits = Limits {
            ring_bytes: settings.ring_buffer_bytes,
            rate: settings.detail_rate_per_second,
            burst: settings.detail_burst,
        };
        let attached = attach(&scope, &limits)?;
        // BTF took ten times what is left.
        give_back_memory();
        Ok(Self { attached, scope })
    }

    /// What is attached.
    pub fn probes(&self) -> &Probes {
        &self.attached.probes
    }
}

/// A running capture. Dropping it detaches everything.
pub struct Capture {
    ring: AsyncFd<RingBuf<MapData>>,
    backoff: Backoff,
    attached: Probes,
    stages: Stages,
    /// Whose each event is, behind the stages.
    naming: Naming,
    owners: Owners,
    shared: Arc<Shared>,
    /// Ends the looking for survived gaps with this.
    _sampling: Option<PeriodicScan>,
    /// For looks at queues and tables; taken by who makes them.
    tables: Option<Tables>,
    scope: Scope,
    /// Ends the watches of the Kubernetes API with this.
    kubernetes: Option<Kubernetes>,
    /// Owns the programs, until they are detached.
    programs: Option<aya::Ebpf>,
}

/// What scrapes read while events flow.
struct Shared {
    counters: Counters,
    gaps: GapMap,
    undecodable: AtomicU64,
}

impl Capture {
    /// Starts to read, and to ask the Kubernetes API if the settings say so; within the runtime.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to await the ring.
    pub fn start(
        Attachment { attached, scope }: Attachment,
        settings: &CaptureSettings,
        node: &Arc<str>,
    ) -> anyhow::Result<Self> {
        let Attached { programs, events, counters, reasons, probes, gaps, sampler, tables } = attached;
        let sampling = sampler.and_then(|sampler| sampler.start().ok());
        let context = Context { reasons, jiffy: jiffy(), wall_offset_ns: wall_offset_ns(), node: Arc::clone(node) };
        let kubernetes = settings.kubernetes.as_ref().map(Kubernetes::start);
        let pods = kubernetes.as_ref().map(|kubernetes| kubernetes.knowledge().pods());
        let owners = Owners::start(pods).context("owners cannot be looked up")?;
        Ok(Self {
            ring: readable(events)?,
            backoff: Backoff::new(),
            stages: Stages::new(context),
            naming: Naming::by(owners.clone()),
            owners,
            shared: Arc::new(Shared { counters, gaps, undecodable: AtomicU64::new(0) }),
            attached: probes,
            _sampling: sampling,
            tables: Some(tables),
            scope,
            kubernetes,
            programs: Some(programs),
        })
    }

    /// Who names owners.
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// What is attached.
    pub fn probes(&self) -> &Probes {
        &self.attached
    }

    /// What looks at queues and tables need, once.
    pub fn take_tables(&mut self) -> Option<(Tables, Scope)> {
        Some((self.tables.take()?, self.scope.clone()))
    }

    /// What the Kubernetes API told, if it is asked.
    pub fn knowledge(&self) -> Option<&Knowledge> {
        self.kubernetes.as_ref().map(Kubernetes::knowledge)
    }

    /// An event with what the Kubernetes API told.
    fn named(&self, mut judged: Judged) -> Judged {
        if let Some(knowledge) = self.knowledge() {
            knowledge.name_remote(&mut judged.event);
        }
        judged
    }

    /// Exact counts since the start.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to read the maps.
    pub fn kernel_counts(&self) -> anyhow::Result<KernelCounts> {
        self.shared.counts()
    }

    /// Idle gaps by destination, since the start.
    pub fn gaps(&self) -> Vec<PeerGaps> {
        self.shared.gaps.read()
    }

    /// The same, for other threads.
    pub fn gaps_handle(&self) -> GapsHandle {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || shared.gaps.read())
    }

    /// The same, for other threads.
    pub fn counts_handle(&self) -> CountsHandle {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || shared.counts().ok())
    }

    /// The next event. Cancel safe.
    pub async fn next(&mut self) -> Option<Judged> {
        loop {
            // What is ready goes first: a slow consumer must fill the ring, which counts its losses, not our memory.
            if let Some(event) = self.pop() {
                return Some(event);
            }
            if self.drain() > 0 || self.stages.is_ready() {
                continue;
            }
            // What waits for its sender or its owner must leave in time, event or not, and not each record wakes us.
            let limit = self.limit();
            tokio::select! {
                guard = self.ring.readable() => guard.ok()?.clear_ready(),
                () = self.naming.news(), if self.naming.is_waiting() => (),
                () = tokio::time::sleep(limit) => (),
            }
        }
    }

    /// An event that is ready and named.
    fn pop(&mut self) -> Option<Judged> {
        if self.naming.is_waiting()
            && let Some(event) = self.naming.pop(monotonic_ns())
        {
            return Some(self.named(event));
        }
        while let Some(event) = self.stages.pop() {
            if let Some(named) = self.naming.take(event, monotonic_ns()) {
                return Some(self.named(named));
            }
        }
        None
    }

    /// How long the ring may be waited for.
    fn limit(&self) -> Duration {
        let sender = self.stages.is_waiting().then_some(HOLD / 2);
        let others = sender.into_iter().chain(self.naming.until(monotonic_ns()));
        others.fold(self.backoff.pause(), Duration::min)
    }

    /// Detaches, and takes everything that is still under way. Nothing is counted from then on, so that what was counted and
    /// what was seen agree.
    pub fn finish(&mut self) -> Vec<Judged> {
        drop(self.programs.take());
        // A program may still run on another CPU: this waits until none does (kernel/sched/membarrier.c, synchronize_rcu()).
        // Where the kernel refuses, a reset of this very moment may be counted and not seen.
        _ = membarrier(MembarrierCommand::Global);
        while self.drain() == BATCH {}
        self.stages.flush(&|| self.shared.phantoms());
        let mut all: Vec<_> = std::iter::from_fn(|| self.pop()).collect();
        let left = self.naming.finish();
        all.extend(left.into_iter().map(|event| self.named(event)));
        all
    }

    /// Takes a batch from the ring through all stages; answers its size.
    fn drain(&mut self) -> usize {
        self.stages.set_wall_offset(wall_offset_ns());
        let phantoms = || self.shared.phantoms();
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
        let now = monotonic_ns();
        self.backoff.looked(now, taken);
        // Only with an empty ring is it sure that no sender's record is on its way.
        if taken < BATCH {
            self.stages.expire(now, &phantoms);
        }
        taken
    }
}

impl Shared {
    fn counts(&self) -> anyhow::Result<KernelCounts> {
        let mut counts = self.counters.read()?;
        // A record whose direction cannot be read: counted as sent, the commoner one.
        counts.undelivered.push((Direction::Sent, LossStage::Decode, self.undecodable.load(Ordering::Relaxed)));
        Ok(counts)
    }

    /// Phantom receives so far; none where the kernel refuses to say.
    fn phantoms(&self) -> u64 {
        self.counters.delivered_phantoms().unwrap_or(0)
    }
}

fn readable(events: RingBuf<MapData>) -> anyhow::Result<AsyncFd<RingBuf<MapData>>> {
    // SAFETY: the ring owns its descriptor and keeps it open for as long as the AsyncFd owns the ring.
    let ring = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) };
    ring.map_err(|error| anyhow::Error::from(error.into_parts().1)).context("the ring buffer cannot be awaited")
}

/// Gives memory back to the kernel that was needed for a moment only, as for the kernel's BTF at the start: the allocator
/// would keep it for ever.
fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: glibc's malloc_trim(3) may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
