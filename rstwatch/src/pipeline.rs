//! The stages in a row: ring → decode → evidence → pair → classify → event.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use rstwatch_common::record::{ResetRecord, flags, kind};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::aggregate::{KernelCounts, LossStage};
use crate::assemble;
use crate::cause::Direction;
use crate::classify::classify;
use crate::decode::decode;
use crate::evidence::{self, Context, Evidence, SenderSaw};
use crate::kernel::attach::{Attached, Limits, attach};
use crate::kernel::counts::Counters;
use crate::kernel::scope::Scope;
use crate::pair::{HOLD, Pairing, Ready};
use crate::probe::Probes;
use crate::record::Event;
use crate::settings::CaptureSettings;

/// Entries taken from the ring before others get a turn.
const BATCH: usize = 256;

/// A running capture. Dropping it detaches everything.
pub struct Capture {
    ring: AsyncFd<RingBuf<MapData>>,
    attached: Probes,
    stages: Stages,
    shared: Arc<Shared>,
    /// Owns the programs.
    _programs: aya::Ebpf,
}

/// What scrapes read while events flow.
struct Shared {
    counters: Counters,
    undecodable: AtomicU64,
}

/// Reads the exact counts, from any thread; `None` where the kernel refuses.
pub type CountsHandle = Arc<dyn Fn() -> Option<KernelCounts> + Send + Sync>;

impl Capture {
    /// Attaches and starts to collect.
    ///
    /// # Errors
    ///
    /// A bad path to watch, no privileges, or a kernel without what is required.
    pub fn start(settings: &CaptureSettings, node: Arc<str>) -> anyhow::Result<Self> {
        let scope = Scope::resolve(&settings.netns, settings.cgroup.as_deref())?;
        let limits = Limits {
            ring_bytes: settings.ring_buffer_bytes,
            rate: settings.detail_rate_per_second,
            burst: settings.detail_burst,
        };
        let Attached { programs, events, counters, reasons, probes } = attach(&scope, &limits)?;
        let context = Context { reasons, jiffy: jiffy(), wall_offset_ns: wall_offset_ns(), node };
        Ok(Self {
            ring: readable(events)?,
            stages: Stages { context, pairing: Pairing::default(), ready: VecDeque::new(), phantoms: 0 },
            shared: Arc::new(Shared { counters, undecodable: AtomicU64::new(0) }),
            attached: probes,
            _programs: programs,
        })
    }

    /// What is attached.
    pub fn probes(&self) -> &Probes {
        &self.attached
    }

    /// Exact counts since the start.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to read the maps.
    pub fn kernel_counts(&self) -> anyhow::Result<KernelCounts> {
        self.shared.counts()
    }

    /// The same, for other threads.
    pub fn counts_handle(&self) -> CountsHandle {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || shared.counts().ok())
    }

    /// The next event. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            self.drain();
            if let Some(event) = self.stages.ready.pop_front() {
                return Some(event);
            }
            let readable = self.ring.readable();
            if self.stages.pairing.is_waiting() {
                // A receive that waits for its sender must leave in time, event or not.
                if let Ok(guard) = tokio::time::timeout(HOLD / 2, readable).await {
                    guard.ok()?.clear_ready();
                }
            } else {
                readable.await.ok()?.clear_ready();
            }
        }
    }

    /// Everything that is still under way, at the end.
    pub fn finish(&mut self) -> Vec<Event> {
        while self.drain() == BATCH {}
        for ready in self.stages.pairing.flush() {
            self.stages.received(ready, &self.shared);
        }
        self.stages.ready.drain(..).collect()
    }

    /// Takes a batch from the ring through all stages; answers its size.
    fn drain(&mut self) -> usize {
        self.stages.context.wall_offset_ns = wall_offset_ns();
        let mut taken = 0;
        while taken < BATCH {
            let Some(entry) = self.ring.get_mut().next() else { break };
            taken += 1;
            match decode(&entry) {
                Ok(record) => self.stages.record(&record, &self.shared),
                Err(error) => {
                    tracing::debug!("ring entry skipped: {error}");
                    self.shared.undecodable.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        // Only with an empty ring is it sure that no sender's record is on its way.
        if taken < BATCH {
            for ready in self.stages.pairing.expired(monotonic_ns()) {
                self.stages.received(ready, &self.shared);
            }
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
}

fn readable(events: RingBuf<MapData>) -> anyhow::Result<AsyncFd<RingBuf<MapData>>> {
    // SAFETY: the ring owns its descriptor and keeps it open for as long as the AsyncFd owns the ring.
    let ring = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) };
    ring.map_err(|error| anyhow::Error::from(error.into_parts().1)).context("the ring buffer cannot be awaited")
}

/// The stages after the ring, without I/O.
struct Stages {
    context: Context,
    pairing: Pairing,
    ready: VecDeque<Event>,
    /// Phantom receives dropped so far.
    phantoms: u64,
}

impl Stages {
    fn record(&mut self, record: &ResetRecord, shared: &Shared) {
        if record.kind == kind::RECEIVED {
            for ready in self.pairing.received(*record) {
                self.received(ready, shared);
            }
            return;
        }
        let evidence = evidence::of_record(record, &self.context);
        let verdict = classify(&evidence);
        let seen = SenderSaw { cause: verdict.cause, sender: verdict.sender, because: verdict.because.clone() };
        self.ready.push_back(assemble::event(record, &evidence, verdict, &self.context));
        if record.flags & flags::PHANTOM != 0 {
            self.phantoms += 1;
        }
        if let Some(explained) = self.pairing.sent(record, seen) {
            self.received(explained, shared);
        }
    }

    fn received(&mut self, ready: Ready, shared: &Shared) {
        if ready.sender_saw.is_none() && self.is_lost_phantom(&ready.record, shared) {
            return;
        }
        let mut evidence = evidence::of_record(&ready.record, &self.context);
        if let Evidence::Received(received) = &mut evidence {
            received.sender_saw = ready.sender_saw;
        }
        let verdict = classify(&evidence);
        self.ready.push_back(assemble::event(&ready.record, &evidence, verdict, &self.context));
    }

    /// A receive without RST header, where the kernel counted more phantoms than their senders' records came: the record
    /// that would have told was lost.
    fn is_lost_phantom(&mut self, record: &ResetRecord, shared: &Shared) -> bool {
        let lost = evidence::is_phantom(record) && shared.counters.phantoms().is_ok_and(|count| count > self.phantoms);
        if lost {
            self.phantoms += 1;
        }
        lost
    }
}

/// Length of a jiffy: the resolution of the coarse clock is one tick (kernel/time/posix-timers.c).
fn jiffy() -> Duration {
    let tick = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse);
    Duration::try_from(tick).unwrap_or(Duration::from_millis(4))
}

fn monotonic_ns() -> u64 {
    u64::try_from(clock_ns(rustix::time::ClockId::Monotonic)).unwrap_or(0)
}

fn wall_offset_ns() -> i128 {
    clock_ns(rustix::time::ClockId::Realtime) - clock_ns(rustix::time::ClockId::Monotonic)
}

fn clock_ns(clock: rustix::time::ClockId) -> i128 {
    let now = rustix::time::clock_gettime(clock);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}

/// What this kernel and these privileges allow, for `rstwatch check`.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Release of the running kernel.
    pub kernel: String,
    /// Each probe.
    pub probes: Probes,
    /// Privileges by name, and whether they are held.
    pub privileges: Vec<(String, bool)>,
    /// What else matters.
    pub notes: Vec<String>,
}

/// Tries everything, and leaves nothing attached.
pub fn survey() -> Survey {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let privileges = crate::privileges::held();
    let limits = Limits { ring_bytes: 1 << 16, rate: 1, burst: 1 };
    let (probes, notes) = crate::kernel::attach::survey(&Scope::default(), &limits);
    Survey { kernel, probes, privileges, notes }
}
