//! Adds events up as they come, in bounded memory.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bursts::Bursts;
use super::top::Top;
use rstwatch_verdict::cause::{Cause, Confidence, Direction, Sender};
use rstwatch_verdict::event::{Controller, Event, Process, Role, Workload, WorkloadKind};
use rstwatch_verdict::explain;
use rstwatch_verdict::judged::Judged;
use rstwatch_verdict::timing::Moment;

/// Names that are counted for one cause.
const NAMES: usize = 64;

/// The sums of all events.
#[derive(Debug)]
pub(super) struct Tally {
    /// Resets by cause.
    pub causes: BTreeMap<Cause, CauseTally>,
    /// Sent resets.
    pub sent: u64,
    /// Received resets.
    pub received: u64,
    /// Received resets of which the sent event was also seen.
    pub repeated: u64,
    /// Resets by their time in the life of the connection.
    pub timing: BTreeMap<Moment, u64>,
    /// TTLs of received RSTs.
    pub ttl: Ttl,
    /// Resets by peer.
    pub peers: Top<String>,
    /// Resets by owner of the local socket.
    pub owners: Top<String>,
    /// Idle timeouts of this host's servers, by owner.
    pub servers: Top<String, OwnTimer>,
    /// Bursts and restarts.
    pub bursts: Bursts,
}

/// Resets of one cause.
#[derive(Debug)]
pub(super) struct CauseTally {
    /// Both ends of one reset count once.
    pub resets: u64,
    /// Sent ones.
    pub sent: u64,
    /// Received ones.
    pub received: u64,
    /// Resets by confidence.
    pub confidence: BTreeMap<Confidence, u64>,
    /// The causes that remain; empty where each reset has a single cause.
    pub candidates: BTreeMap<Cause, Remaining>,
    /// Resets by peer.
    pub peers: Top<String>,
    /// Resets by owner of the local socket.
    pub owners: Top<String>,
    /// Resets by direction and by the place that the advice is about, each with an event as an example.
    pub places: BTreeMap<Direction, Top<String, Box<Judged>>>,
}

/// How often a cause remains a candidate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Remaining {
    /// Resets that it may explain.
    pub resets: u64,
    /// Sum of its places among their candidates: the lower, the more plausible.
    pub places: usize,
}

/// TTLs of received RSTs compared with those of the handshakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Ttl {
    /// Equal TTLs.
    pub equal: u64,
    /// Different TTLs.
    pub differing: u64,
    /// RSTs for which one of the two TTLs was not seen.
    pub not_seen: u64,
    /// RSTs sent by a middlebox, according to the verdict.
    pub by_middlebox: u64,
}

/// An idle timeout of a server on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnTimer {
    /// Shortest idle time after which the server closed.
    pub shortest: Duration,
    /// Longest idle time after which a client used the connection.
    pub longest_use: Duration,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            causes: BTreeMap::new(),
            sent: 0,
            received: 0,
            repeated: 0,
            timing: BTreeMap::new(),
            ttl: Ttl::default(),
            peers: Top::new(NAMES * 4),
            owners: Top::new(NAMES * 4),
            servers: Top::new(NAMES),
            bursts: Bursts::new(),
        }
    }
}

impl CauseTally {
    fn new() -> Self {
        let (confidence, candidates, places) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (peers, owners) = (Top::new(NAMES), Top::new(NAMES));
        Self { resets: 0, sent: 0, received: 0, confidence, candidates, peers, owners, places }
    }
}

impl Tally {
    /// Adds an event.
    pub(super) fn add(&mut self, judged: &Judged) {
        let Judged { event, timing, .. } = judged;
        let (peer, owner) = (peer(judged), owner(event));
        let received = u64::from(event.direction == Direction::Received);
        self.received += received;
        self.sent += 1 - received;
        self.bursts.add(judged, &peer, &owner);
        self.add_ttl(judged);
        let tally = self.causes.entry(event.cause).or_insert_with(CauseTally::new);
        tally.received += received;
        tally.sent += 1 - received;
        if timing.repeats_sent {
            self.repeated += 1;
            return;
        }
        tally.add(judged, &peer, &owner);
        *self.timing.entry(timing.moment).or_default() += 1;
        self.add_own_timer(judged, &owner);
        self.peers.add(peer, || ());
        self.owners.add(owner, || ());
    }

    /// Number of resets; both ends of one reset count once.
    pub(super) fn resets(&self) -> u64 {
        self.sent + self.received - self.repeated
    }

    fn add_ttl(&mut self, Judged { event, timing, .. }: &Judged) {
        if event.direction == Direction::Sent || timing.moment == Moment::Connecting {
            return;
        }
        self.ttl.by_middlebox += u64::from(event.sender == Sender::Middlebox);
        match event.rst.as_ref().map(|rst| (rst.ttl, rst.ttl_expected)) {
            Some((Some(ttl), Some(expected))) if ttl == expected => self.ttl.equal += 1,
            Some((Some(_), Some(_))) => self.ttl.differing += 1,
            _ => self.ttl.not_seen += 1,
        }
    }

    /// Adds the timeout of a local server that had closed an idle connection before its client used it.
    fn add_own_timer(&mut self, Judged { event, timing, .. }: &Judged, owner: &str) {
        let is_server = event.direction == Direction::Sent && event.role == Role::Server;
        if let (true, Cause::IdleReaped, Some(timer)) = (is_server, event.cause, timing.timer) {
            let used = event.idle_ms.map_or(timer.after, Duration::from_millis);
            let name = format!("{owner} on port {}", event.local.port());
            let known = self.servers.add(name, || OwnTimer { shortest: timer.after, longest_use: used });
            known.shortest = known.shortest.min(timer.after);
            known.longest_use = known.longest_use.max(used);
        }
    }
}

impl CauseTally {
    /// The event of the most frequent place that is shown as an example.
    pub(super) fn example(&self) -> Option<&Judged> {
        let firsts = self.places.values().filter_map(|places| places.ranked().into_iter().next());
        firsts.max_by_key(|(it, _)| it.count).map(|(_, judged)| &**judged)
    }

    fn add(&mut self, judged: &Judged, peer: &str, owner: &str) {
        self.resets += 1;
        *self.confidence.entry(judged.event.confidence).or_default() += 1;
        if let several @ [_, _, ..] = &judged.event.candidates[..] {
            for (place, cause) in several.iter().enumerate() {
                let remaining = self.candidates.entry(*cause).or_default();
                remaining.resets += 1;
                remaining.places += place;
            }
        }
        self.peers.add(peer.to_owned(), || ());
        let places = self.places.entry(judged.event.direction).or_insert_with(|| Top::new(NAMES));
        let example = places.add(place(&judged.event, peer, owner), || Box::new(judged.clone()));
        // The example is the first event with the highest confidence.
        if judged.event.confidence < example.event.confidence {
            **example = judged.clone();
        }
        self.owners.add(owner.to_owned(), || ());
    }
}

/// What to change or to look at: for resets from here their owner, else the peer; for refusals the address.
fn place(event: &Event, peer: &str, owner: &str) -> String {
    match event.direction {
        _ if event.cause == Cause::Refused => explain::refuser(event),
        Direction::Sent => owner.to_owned(),
        Direction::Received => peer.to_owned(),
    }
}

/// The peer's name: a server with its port, a client without, because client ports are ephemeral.
fn peer(Judged { event, timing, .. }: &Judged) -> String {
    let connecting = event.direction == Direction::Received && timing.moment == Moment::Connecting;
    match event.role {
        Role::Client => event.remote.to_string(),
        _ if connecting => event.remote.to_string(),
        _ => event.remote.ip().to_string(),
    }
}

/// The owner's name; for a refusal by this host, the address that has no listener.
fn owner(event: &Event) -> String {
    match (&event.workload, &event.process) {
        (Some(Workload { kind: WorkloadKind::Process, name, .. }), _) => name.to_string(),
        // All pods of a controller count as one owner.
        (Some(Workload { namespace: Some(namespace), controller: Some(Controller { kind, name }), .. }), _) => {
            format!("{kind} {namespace}/{name}")
        }
        (Some(Workload { kind, namespace: Some(namespace), name, .. }), _) => {
            format!("{} {namespace}/{name}", kind.as_str())
        }
        (Some(Workload { kind, name, .. }), _) => format!("{} {name}", kind.as_str()),
        (None, Some(Process { comm, .. })) => comm.to_string(),
        (None, None) if event.cause == Cause::Refused && event.direction == Direction::Sent => {
            format!("no listener on {}", event.local)
        }
        (None, None) => "unknown owner".to_owned(),
    }
}
