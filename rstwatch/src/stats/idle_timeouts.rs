//! The inferred idle timeout of each destination: between the longest idle period that a connection survived, and the
//! shortest that ended one.
//!
//! A destination is the remote address and port of connections that this host opened. Their number is bounded: beyond the
//! limit the destination seen least recently is evicted, and counted.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::kernel::gaps::{GapsHandle, PeerGaps};
use rstwatch_verdict::cause::{Cause, Direction};
use rstwatch_verdict::event::Role;
use rstwatch_verdict::judged::Judged;

mod estimate;
pub mod metrics;

pub use estimate::{Died, IdleTimeout};

/// Maximum destinations, unless configured otherwise.
pub const DEFAULT_LIMIT: usize = 1_024;

/// Deaths kept for one destination: the shortest that no survived idle period refutes.
const KEPT: usize = 16;

/// Idle timeouts that the event loop writes and scrapes read.
pub struct SharedIdleTimeouts {
    timeouts: Mutex<IdleTimeouts>,
    gaps: GapsHandle,
    /// Maximum destinations in a scrape.
    shown: usize,
}

impl SharedIdleTimeouts {
    /// Nothing known; scrapes show at most `shown` destinations.
    pub fn new(limit: usize, shown: usize, gaps: GapsHandle) -> Self {
        Self { timeouts: Mutex::new(IdleTimeouts::new(limit)), gaps, shown }
    }

    /// Records one event.
    pub fn record(&self, judged: &Judged) {
        self.lock().record(judged);
    }

    /// The destinations of a scrape as of this moment; those where connections died come first.
    pub fn shown(&self) -> Vec<IdleTimeout> {
        if self.shown == 0 {
            return Vec::new();
        }
        // The kernel is read before the lock is taken, so that the event loop never waits for it.
        let gaps = (self.gaps)();
        let mut timeouts = self.lock();
        timeouts.absorb(&gaps, Timestamp::now());
        timeouts.first(self.shown)
    }

    fn lock(&self) -> MutexGuard<'_, IdleTimeouts> {
        // An interrupted change leaves a destination out of order at worst.
        self.timeouts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Idle timeouts of all destinations.
#[derive(Clone, Debug)]
pub struct IdleTimeouts {
    limit: usize,
    known: HashMap<SocketAddr, Destination>,
    /// Destinations by the tick of their last use; the first is evicted first.
    order: BTreeMap<u64, SocketAddr>,
    tick: u64,
    evicted: u64,
    /// Counts of the last reading by peer and network namespace: readings are totals, and only their growth is new.
    read: HashMap<(SocketAddr, u32), (u64, u64)>,
}

#[derive(Clone, Debug)]
struct Destination {
    tick: u64,
    last_seen: Timestamp,
    survived: Option<Duration>,
    survivals: u64,
    /// Sorted by length; none of them is refuted.
    deaths: Vec<Death>,
    resets: u64,
    closes: u64,
    refuted: u64,
    longest_use: Option<Duration>,
}

/// One length of idle period that ended connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Death {
    after: Duration,
    exact: bool,
    /// A device on the path sent the reset.
    device: bool,
    /// Seen as a reset. Resets are measured one by one; for closes only the shortest idle period is known.
    reset: bool,
    count: u64,
}

/// Largest difference between two measurements of one idle period.
fn slack(idle: Duration) -> Duration {
    (idle / 50).max(Duration::from_millis(50))
}

/// Whether a connection that survived `survived` shows that another one did not end after `died` by a timeout, but by
/// something else, such as a restart.
fn refutes(survived: Option<Duration>, died: Duration) -> bool {
    survived.is_some_and(|survived| survived > died.saturating_add(slack(died)))
}

impl IdleTimeouts {
    /// Nothing known; at most `limit` destinations.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            known: HashMap::new(),
            order: BTreeMap::new(),
            tick: 0,
            evicted: 0,
            read: HashMap::new(),
        }
    }

    /// Records an event. Only connections that this host opened and that ended idle are evidence of a timeout.
    pub fn record(&mut self, Judged { event, timing, .. }: &Judged) {
        let ours = event.direction == Direction::Received && event.role == Role::Client;
        let device = event.cause == Cause::MiddleboxIdle;
        let (true, Some(timer)) = (ours && (device || event.cause == Cause::IdleReaped), timing.timer) else {
            return;
        };
        let used = event.idle_ms.map(Duration::from_millis);
        let destination = self.touch(event.remote, event.time);
        destination.resets += 1;
        destination.longest_use = destination.longest_use.max(used);
        destination.died(Death { after: timer.after, exact: timer.exact, device, reset: true, count: 1 });
    }

    /// Adds what the kernel side has measured so far. Destinations whose counts have not grown since the last reading stay unchanged.
    pub fn absorb(&mut self, gaps: &[PeerGaps], now: Timestamp) {
        let before = std::mem::take(&mut self.read);
        for gap in gaps {
            let counts = (gap.survived_count, gap.closed_count);
            let known = before.get(&(gap.peer, gap.netns)).copied().unwrap_or_default();
            self.read.insert((gap.peer, gap.netns), counts);
            let (survived, closed) = (growth(counts.0, known.0), growth(counts.1, known.1));
            if let Some(longest) = gap.survived.filter(|_| survived > 0) {
                self.touch(gap.peer, now).survived(longest, survived);
            }
            if let Some(shortest) = gap.closed.filter(|_| closed > 0) {
                let destination = self.touch(gap.peer, now);
                destination.closes += closed;
                destination.died(Death { after: shortest, exact: true, device: false, reset: false, count: closed });
            }
        }
    }

    /// Destinations that were evicted.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// All destinations: first those where connections died, then by decreasing number of resets, closes and survivals.
    pub fn all(&self) -> Vec<IdleTimeout> {
        self.first(usize::MAX)
    }

    /// The first of [`all`](Self::all). Texts are made for these alone, because the event loop may wait for the lock.
    fn first(&self, count: usize) -> Vec<IdleTimeout> {
        let rank = |peer: &SocketAddr, it: &Destination| {
            (it.deaths.is_empty(), std::cmp::Reverse((it.resets, it.closes, it.survivals)), *peer)
        };
        let mut all: Vec<_> = self.known.iter().map(|(peer, it)| (rank(peer, it), it)).collect();
        if count < all.len() {
            all.select_nth_unstable_by_key(count, |(rank, _)| *rank);
            all.truncate(count);
        }
        all.sort_unstable_by_key(|(rank, _)| *rank);
        all.into_iter().map(|((_, _, peer), it)| IdleTimeout::of(peer, it)).collect()
    }

    /// Marks a destination as the most recent one, and inserts it if it is new.
    fn touch(&mut self, peer: SocketAddr, now: Timestamp) -> &mut Destination {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        self.tick += 1;
        if let Some(known) = self.known.get(&peer) {
            self.order.remove(&known.tick);
        } else if self.known.len() >= self.limit
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.known.remove(&oldest);
            self.evicted += 1;
        }
        self.order.insert(self.tick, peer);
        let destination = self.known.entry(peer).or_insert_with(|| Destination::new(now));
        destination.tick = self.tick;
        destination.last_seen = destination.last_seen.max(now);
        destination
    }
}

/// Growth of a total; one that shrank was reset to 0.
fn growth(total: u64, before: u64) -> u64 {
    total.checked_sub(before).unwrap_or(total)
}

impl Destination {
    fn new(now: Timestamp) -> Self {
        Self {
            tick: 0,
            last_seen: now,
            survived: None,
            survivals: 0,
            deaths: Vec::new(),
            resets: 0,
            closes: 0,
            refuted: 0,
            longest_use: None,
        }
    }

    fn survived(&mut self, longest: Duration, count: u64) {
        self.survivals += count;
        self.survived = self.survived.max(Some(longest));
        let survived = self.survived;
        let refuted = self.deaths.iter().filter(|death| refutes(survived, death.after));
        self.refuted += refuted.map(|death| death.count).sum::<u64>();
        self.deaths.retain(|death| !refutes(survived, death.after));
    }

    fn died(&mut self, death: Death) {
        if refutes(self.survived, death.after) {
            self.refuted += death.count;
            return;
        }
        let same = |known: &&mut Death| Death { count: death.count, ..**known } == death;
        if let Some(known) = self.deaths.iter_mut().find(same) {
            known.count += death.count;
            return;
        }
        let at = self.deaths.partition_point(|known| known.after <= death.after);
        self.deaths.insert(at, death);
        // The longest deaths say the least about the timeout.
        self.deaths.truncate(KEPT);
    }
}

#[cfg(test)]
mod tests;
