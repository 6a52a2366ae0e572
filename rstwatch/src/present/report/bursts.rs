//! Bursts of resets, and restarts of peers inferred from them.

use std::collections::HashMap;
use std::net::SocketAddr;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::top::Top;
use rstwatch_verdict::cause::{Cause, Direction};
use rstwatch_verdict::event::{Event, Role};
use rstwatch_verdict::judged::Judged;
use rstwatch_verdict::timing::Moment;

/// Resets within this time belong to one burst.
const BURST: SignedDuration = SignedDuration::from_secs(2);
/// A refusal within this time after a burst is attributed to it.
const AFTERMATH: SignedDuration = SignedDuration::from_secs(120);
/// Maximum bursts that are kept.
const MAX_KEPT: usize = 16;
/// Maximum peers that are followed.
const MAX_PEERS: usize = 1_024;
/// Maximum bursts that are reported.
const MAX_REPORTED: usize = 5;
/// Minimum resets of a burst.
const MIN_RESETS: u64 = 3;

/// One burst.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Burst {
    /// When it started.
    pub time: Timestamp,
    /// How many resets, within two seconds.
    pub resets: u64,
    /// The peer of more than half of them, and its resets: a lower bound.
    pub peer: Option<(String, u64)>,
    /// Their causes, the most frequent first.
    pub causes: Vec<(Cause, u64)>,
    /// Owner name of a local process that died during the burst.
    pub died: Option<String>,
}

/// A peer whose process probably died or restarted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Restart {
    /// The remote end.
    pub peer: SocketAddr,
    /// When the burst started.
    pub time: Timestamp,
    /// How many connections it reset within two seconds.
    pub resets: u64,
    /// How many connection attempts it refused within two minutes after that.
    pub refusals: u64,
}

/// All bursts of a watch.
#[derive(Debug)]
pub(super) struct Bursts {
    current: Option<Window>,
    /// All resets that were added.
    resets: u64,
    largest: Vec<Burst>,
    peers: HashMap<SocketAddr, Peer>,
    /// Resets of peers that are not followed.
    unfollowed: u64,
}

/// The burst that is being collected.
#[derive(Debug)]
struct Window {
    start: Timestamp,
    resets: u64,
    peers: Top<String>,
    causes: Top<Cause>,
    died: Option<String>,
}

/// The current and the largest burst of one peer, and its refusals after the largest.
#[derive(Clone, Copy, Debug)]
struct Peer {
    start: Timestamp,
    last: Timestamp,
    resets: u64,
    /// Resets, start and last reset of the largest burst.
    largest: (u64, Timestamp, Timestamp),
    refusals: u64,
}

/// Whether a reset at `time` belongs to the burst that started at `start`.
fn is_same_burst(start: Timestamp, time: Timestamp) -> bool {
    time.duration_since(start) <= BURST
}

impl Bursts {
    /// No bursts yet.
    pub(super) fn new() -> Self {
        Self { current: None, resets: 0, largest: Vec::new(), peers: HashMap::new(), unfollowed: 0 }
    }

    /// Adds an event with the names of its peer and owner. Both ends of one reset count once.
    pub(super) fn add(&mut self, judged: &Judged, peer: &str, owner: &str) {
        let Judged { event, timing, .. } = judged;
        self.follow(judged);
        if timing.repeats_sent || timing.moment == Moment::Connecting {
            return;
        }
        if self.current.as_ref().is_some_and(|window| !is_same_burst(window.start, event.time)) {
            self.close();
        }
        let window = self.current.get_or_insert_with(|| Window::new(event.time));
        window.resets += 1;
        self.resets += 1;
        window.peers.add(peer.to_owned(), || ());
        window.causes.add(event.cause, || ());
        if event.cause == Cause::ProcessDied && event.direction == Direction::Sent {
            window.died.get_or_insert_with(|| owner.to_owned());
        }
    }

    fn close(&mut self) {
        let Some(window) = self.current.take().filter(|window| window.resets >= MIN_RESETS) else { return };
        let at = self.largest.partition_point(|burst| burst.resets >= window.resets);
        self.largest.insert(at, window.burst());
        self.largest.truncate(MAX_KEPT);
    }

    /// Bursts that exceed the average rate by far, or in which a local process died, in order of time.
    pub(super) fn finish(&mut self, watched: std::time::Duration) -> Vec<Burst> {
        self.close();
        let windows = watched.as_secs_f64() / BURST.as_secs_f64() - 1.0;
        let stands_out = |burst: &&Burst| {
            #[expect(clippy::cast_precision_loss, reason = "an average")]
            let (here, elsewhere) = (burst.resets as f64, (self.resets - burst.resets) as f64 / windows.max(1.0));
            // At a low rate, a few resets more are chance.
            burst.died.is_some() || here >= elsewhere * 3.0 + 2.0
        };
        let mut bursts: Vec<_> = self.largest.iter().filter(stands_out).cloned().collect();
        bursts.sort_by_key(|burst| burst.time);
        bursts.truncate(MAX_REPORTED);
        bursts
    }

    /// Follows a peer: resets of several connections to it within one burst, and refusals after that.
    fn follow(&mut self, Judged { event, timing, .. }: &Judged) {
        let is_client = event.direction == Direction::Received && event.role != Role::Server;
        // If the peer is on this host, its own event already shows the cause.
        if !is_client || timing.repeats_sent {
            return;
        }
        let refused = event.cause == Cause::Refused;
        match self.peers.get_mut(&event.remote) {
            Some(peer) if refused => peer.refused(event.time),
            Some(peer) if timing.moment != Moment::Connecting => peer.reset(event.time),
            None if !refused && timing.moment != Moment::Connecting => self.insert(event),
            _ => (),
        }
    }

    fn insert(&mut self, event: &Event) {
        if self.peers.len() >= MAX_PEERS {
            // Evict peers with a single reset that is not recent.
            self.peers.retain(|_, peer| peer.largest.0 > 1 || is_same_burst(peer.last, event.time));
        }
        if self.peers.len() >= MAX_PEERS {
            self.unfollowed += 1;
        } else {
            self.peers.insert(event.remote, Peer::new(event.time));
        }
    }

    /// Peers with a burst of resets followed by refusals, which suggests that their process died or restarted.
    pub(super) fn restarts(&self) -> Vec<Restart> {
        let restart = |(address, peer): (&SocketAddr, &Peer)| {
            let (resets, time, _) = peer.largest;
            let has_restarted = resets > 1 && peer.refusals > 0;
            has_restarted.then_some(Restart { peer: *address, time, resets, refusals: peer.refusals })
        };
        let mut restarts: Vec<_> = self.peers.iter().filter_map(restart).collect();
        restarts.sort_by_key(|restart| (std::cmp::Reverse(restart.resets), restart.peer));
        restarts
    }

    /// Resets of peers that could not be followed because there were too many.
    pub(super) fn unfollowed(&self) -> u64 {
        self.unfollowed
    }
}

impl Window {
    fn new(start: Timestamp) -> Self {
        Self { start, resets: 0, peers: Top::new(16), causes: Top::new(Cause::ALL.len()), died: None }
    }

    fn burst(self) -> Burst {
        let first = self.peers.ranked().into_iter().next();
        Burst {
            time: self.start,
            resets: self.resets,
            peer: first.map(|(it, ())| (it.key, it.count)).filter(|(_, count)| count * 2 > self.resets),
            causes: self.causes.ranked().into_iter().map(|(it, ())| (it.key, it.count)).collect(),
            died: self.died,
        }
    }
}

impl Peer {
    fn new(time: Timestamp) -> Self {
        Self { start: time, last: time, resets: 1, largest: (1, time, time), refusals: 0 }
    }

    fn reset(&mut self, time: Timestamp) {
        if is_same_burst(self.start, time) {
            self.resets += 1;
        } else {
            (self.start, self.resets) = (time, 1);
        }
        self.last = self.last.max(time);
        if self.resets > self.largest.0 {
            // Refusals after an earlier burst do not belong to a new one.
            let same = self.largest.1 == self.start;
            self.refusals = if same { self.refusals } else { 0 };
            self.largest = (self.resets, self.start, time);
        }
    }

    fn refused(&mut self, time: Timestamp) {
        let (resets, start, end) = self.largest;
        if resets > 1 && time >= start && time.duration_since(end) <= AFTERMATH {
            self.refusals += 1;
        }
    }
}
