//! Resets that come together, and what they coincide with.

use std::collections::HashMap;
use std::net::SocketAddr;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::top::Top;
use rstwatch_verdict::cause::{Cause, Direction};
use rstwatch_verdict::event::{Event, Role};
use rstwatch_verdict::judged::Judged;
use rstwatch_verdict::timing::Moment;

/// Resets within this time are together.
const TOGETHER: SignedDuration = SignedDuration::from_secs(2);
/// A refusal counts as coming after a burst for so long.
const AFTER: SignedDuration = SignedDuration::from_secs(120);
/// Bursts that are remembered.
const KEPT: usize = 16;
/// Peers that are followed.
const PEERS: usize = 1_024;
/// Bursts that are shown.
const SHOWN: usize = 5;
/// Fewer are no burst.
const LEAST: u64 = 3;

/// One burst.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Burst {
    /// When it began.
    pub time: Timestamp,
    /// How many resets, within two seconds.
    pub resets: u64,
    /// The peer that most of them were of, and how many at least.
    pub peer: Option<(String, u64)>,
    /// Their causes, the commonest first.
    pub causes: Vec<(Cause, u64)>,
    /// The local process that died then, if one did, as its owner is named.
    pub died: Option<String>,
}

/// A peer whose process probably died or restarted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Restart {
    /// The remote end.
    pub peer: SocketAddr,
    /// When.
    pub time: Timestamp,
    /// How many connections it reset within two seconds.
    pub resets: u64,
    /// How many attempts it refused within two minutes after.
    pub refusals: u64,
}

/// All bursts of a watch.
#[derive(Debug)]
pub(super) struct Bursts {
    now: Option<Window>,
    /// All that were taken.
    resets: u64,
    best: Vec<Burst>,
    peers: HashMap<SocketAddr, Peer>,
    /// Peers that were not followed.
    unfollowed: u64,
}

/// Resets that are together so far.
#[derive(Debug)]
struct Window {
    start: Timestamp,
    resets: u64,
    peers: Top<String>,
    causes: Top<Cause>,
    died: Option<String>,
}

/// Resets of one peer that came together: now, and the most of them.
#[derive(Clone, Copy, Debug)]
struct Peer {
    start: Timestamp,
    last: Timestamp,
    resets: u64,
    best: (u64, Timestamp, Timestamp),
    refusals: u64,
}

fn together(start: Timestamp, time: Timestamp) -> bool {
    time.duration_since(start) <= TOGETHER
}

impl Bursts {
    /// Nothing seen.
    pub(super) fn new() -> Self {
        Self { now: None, resets: 0, best: Vec::new(), peers: HashMap::new(), unfollowed: 0 }
    }

    /// One event, with its peer's and its owner's names. Both ends of one reset count once.
    pub(super) fn take(&mut self, judged: &Judged, peer: &str, owner: &str) {
        let Judged { event, timing, .. } = judged;
        self.follow(judged);
        if timing.repeats_sent || timing.moment == Moment::Connecting {
            return;
        }
        if self.now.as_ref().is_some_and(|window| !together(window.start, event.time)) {
            self.close();
        }
        let window = self.now.get_or_insert_with(|| Window::new(event.time));
        window.resets += 1;
        self.resets += 1;
        window.peers.add(peer.to_owned(), || ());
        window.causes.add(event.cause, || ());
        if event.cause == Cause::ProcessDied && event.direction == Direction::Sent {
            window.died.get_or_insert_with(|| owner.to_owned());
        }
    }

    fn close(&mut self) {
        let Some(window) = self.now.take().filter(|window| window.resets >= LEAST) else { return };
        let at = self.best.partition_point(|burst| burst.resets >= window.resets);
        self.best.insert(at, window.burst());
        self.best.truncate(KEPT);
    }

    /// Bursts that stand out from the others, or in which a process died.
    pub(super) fn finish(&mut self, watched: std::time::Duration) -> Vec<Burst> {
        self.close();
        let spans = watched.as_secs_f64() / TOGETHER.as_secs_f64() - 1.0;
        let stands_out = |burst: &&Burst| {
            #[expect(clippy::cast_precision_loss, reason = "an average")]
            let (here, elsewhere) = (burst.resets as f64, (self.resets - burst.resets) as f64 / spans.max(1.0));
            // A few above a low rate are chance.
            burst.died.is_some() || here >= elsewhere * 3.0 + 2.0
        };
        let mut found: Vec<_> = self.best.iter().filter(stands_out).cloned().collect();
        found.sort_by_key(|burst| burst.time);
        found.truncate(SHOWN);
        found
    }

    /// Several connections of ours to one peer reset together, and attempts refused after.
    fn follow(&mut self, Judged { event, timing, .. }: &Judged) {
        let ours = event.direction == Direction::Received && event.role != Role::Server;
        // Where the peer is on this host its own record says why.
        if !ours || timing.repeats_sent {
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
        if self.peers.len() >= PEERS {
            // Who was reset once, long ago, is of least use.
            self.peers.retain(|_, peer| peer.best.0 > 1 || together(peer.last, event.time));
        }
        if self.peers.len() >= PEERS {
            self.unfollowed += 1;
        } else {
            self.peers.insert(event.remote, Peer::new(event.time));
        }
    }

    /// Peers of which several connections died together, with refusals after: an inference.
    pub(super) fn restarts(&self) -> Vec<Restart> {
        let of = |(peer, it): (&SocketAddr, &Peer)| {
            let (resets, time, _) = it.best;
            let restarted = resets > 1 && it.refusals > 0;
            restarted.then_some(Restart { peer: *peer, time, resets, refusals: it.refusals })
        };
        let mut found: Vec<_> = self.peers.iter().filter_map(of).collect();
        found.sort_by_key(|it| (std::cmp::Reverse(it.resets), it.peer));
        found
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
        Self { start: time, last: time, resets: 1, best: (1, time, time), refusals: 0 }
    }

    fn reset(&mut self, time: Timestamp) {
        if together(self.start, time) {
            self.resets += 1;
        } else {
            (self.start, self.resets) = (time, 1);
        }
        self.last = self.last.max(time);
        if self.resets > self.best.0 {
            // A burst of its own: refusals after an earlier one are not its.
            let same = self.best.1 == self.start;
            self.refusals = if same { self.refusals } else { 0 };
            self.best = (self.resets, self.start, time);
        }
    }

    fn refused(&mut self, time: Timestamp) {
        let (resets, start, end) = self.best;
        if resets > 1 && time >= start && time.duration_since(end) <= AFTER {
            self.refusals += 1;
        }
    }
}
