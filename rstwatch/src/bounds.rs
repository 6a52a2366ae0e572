//! The idle timeout of each destination, bracketed: the longest silence that a connection survived, and the shortest that
//! it died of.
//!
//! A destination is the remote address and port of connections that this host opened. Bounded: beyond the limit the one
//! that was not seen for longest is forgotten, and counted.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::kernel::gaps::PeerGaps;
use rstwatch_verdict::cause::{Cause, Direction};
use rstwatch_verdict::event::{Event, Role};

mod bracket;

pub use bracket::{Bracket, Died};

/// Destinations that are remembered unless told otherwise.
pub const DEFAULT_LIMIT: usize = 1_024;

/// Deaths that are kept of one destination: the shortest that no survived gap refutes.
const KEPT: usize = 16;

/// Reads what the kernel side knows of silences, by destination, from any thread.
pub type GapsHandle = Arc<dyn Fn() -> Vec<PeerGaps> + Send + Sync>;

/// Bounds that the event loop writes and scrapes read, and where the kernel side's gaps come from.
pub struct SharedBounds {
    bounds: Mutex<Bounds>,
    gaps: GapsHandle,
    /// How many destinations scrapes show.
    shown: usize,
}

impl SharedBounds {
    /// Nothing known; scrapes show at most `shown` destinations.
    pub fn new(limit: usize, shown: usize, gaps: GapsHandle) -> Self {
        Self { bounds: Mutex::new(Bounds::new(limit)), gaps, shown }
    }

    /// One event.
    pub fn record(&self, event: &Event) {
        self.lock().record(event);
    }

    /// What scrapes show: destinations where connections died before others, as of this moment.
    pub fn shown(&self) -> Vec<Bracket> {
        if self.shown == 0 {
            return Vec::new();
        }
        // The kernel is asked before the lock is taken: the event loop must not wait for it.
        let gaps = (self.gaps)();
        let mut bounds = self.lock();
        bounds.absorb(&gaps, Timestamp::now());
        bounds.first(self.shown)
    }

    fn lock(&self) -> MutexGuard<'_, Bounds> {
        // A half-made change is a destination out of order, no more.
        self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every destination.
#[derive(Clone, Debug)]
pub struct Bounds {
    limit: usize,
    known: HashMap<SocketAddr, Destination>,
    /// Destinations in the order in which they were last seen.
    order: BTreeMap<u64, SocketAddr>,
    tick: u64,
    forgotten: u64,
    /// Counts of the last reading, to tell what is new: readings are totals. By peer and network namespace.
    read: HashMap<(SocketAddr, u32), (u64, u64)>,
}

#[derive(Clone, Debug)]
struct Destination {
    tick: u64,
    last_seen: Timestamp,
    survived: Option<Duration>,
    survivals: u64,
    /// By length; none of them is refuted.
    deaths: Vec<Death>,
    resets: u64,
    closes: u64,
    refuted: u64,
    longest_use: Option<Duration>,
}

/// One silence that was fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Death {
    after: Duration,
    exact: bool,
    /// By a device on the path.
    device: bool,
    /// Seen by its reset, each by itself; of closes only the shortest silence is known, however many they were.
    reset: bool,
    count: u64,
}

/// How far two measures of one silence may lie apart.
fn slack(silence: Duration) -> Duration {
    (silence / 50).max(Duration::from_millis(50))
}

/// Whether a connection that survived `survived` shows that no timeout ended another after `died`: something else did, as
/// a restart.
fn refutes(survived: Option<Duration>, died: Duration) -> bool {
    survived.is_some_and(|survived| survived > died.saturating_add(slack(died)))
}

impl Bounds {
    /// Nothing known; at most `limit` destinations.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            known: HashMap::new(),
            order: BTreeMap::new(),
            tick: 0,
            forgotten: 0,
            read: HashMap::new(),
        }
    }

    /// A connection of ours that died of its silence; other events say nothing about timeouts.
    pub fn record(&mut self, event: &Event) {
        let ours = event.direction == Direction::Received && event.role == Role::Client;
        let device = event.cause == Cause::MiddleboxIdle;
        let (true, Some(timer)) = (ours && (device || event.cause == Cause::IdleReaped), event.aside.timer) else {
            return;
        };
        let used = event.idle_ms.map(Duration::from_millis);
        let destination = self.seen(event.remote, event.time);
        destination.resets += 1;
        destination.longest_use = destination.longest_use.max(used);
        destination.died(Death { after: timer.after, exact: timer.exact, device, reset: true, count: 1 });
    }

    /// What the kernel side knows by now. Only what is new since the last reading touches a destination.
    pub fn absorb(&mut self, gaps: &[PeerGaps], now: Timestamp) {
        let before = std::mem::take(&mut self.read);
        for gap in gaps {
            let counts = (gap.survived_count, gap.closed_count);
            let known = before.get(&(gap.peer, gap.netns)).copied().unwrap_or_default();
            self.read.insert((gap.peer, gap.netns), counts);
            let (survived, closed) = (fresh(counts.0, known.0), fresh(counts.1, known.1));
            if let Some(longest) = gap.survived.filter(|_| survived > 0) {
                self.seen(gap.peer, now).survived(longest, survived);
            }
            if let Some(shortest) = gap.closed.filter(|_| closed > 0) {
                let destination = self.seen(gap.peer, now);
                destination.closes += closed;
                destination.died(Death { after: shortest, exact: true, device: false, reset: false, count: closed });
            }
        }
    }

    /// Destinations that had to make room.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Every destination; those where connections died first, the commonest before others.
    pub fn brackets(&self) -> Vec<Bracket> {
        self.first(usize::MAX)
    }

    /// The first of them. The words are made for these alone: the event loop may be waiting.
    fn first(&self, count: usize) -> Vec<Bracket> {
        let rank = |peer: &SocketAddr, it: &Destination| {
            (it.deaths.is_empty(), std::cmp::Reverse((it.resets, it.closes, it.survivals)), *peer)
        };
        let mut all: Vec<_> = self.known.iter().map(|(peer, it)| (rank(peer, it), it)).collect();
        if count < all.len() {
            all.select_nth_unstable_by_key(count, |(rank, _)| *rank);
            all.truncate(count);
        }
        all.sort_unstable_by_key(|(rank, _)| *rank);
        all.into_iter().map(|((_, _, peer), it)| Bracket::of(peer, it)).collect()
    }

    /// The destination, most recent now; made if need be.
    fn seen(&mut self, peer: SocketAddr, now: Timestamp) -> &mut Destination {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        self.tick += 1;
        if let Some(known) = self.known.get(&peer) {
            self.order.remove(&known.tick);
        } else if self.known.len() >= self.limit
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.known.remove(&oldest);
            self.forgotten += 1;
        }
        self.order.insert(self.tick, peer);
        let destination = self.known.entry(peer).or_insert_with(|| Destination::new(now));
        destination.tick = self.tick;
        destination.last_seen = destination.last_seen.max(now);
        destination
    }
}

/// How many are new; a total that shrank began anew.
fn fresh(total: u64, before: u64) -> u64 {
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
        // The longest say least.
        self.deaths.truncate(KEPT);
    }
}

#[cfg(test)]
mod tests;
