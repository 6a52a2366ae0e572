//! Events added up as they come, in bounded memory.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bursts::Bursts;
use super::top::Top;
use rstwatch_verdict::cause::{Cause, Confidence, Direction, Sender};
use rstwatch_verdict::event::{Controller, Event, Process, Role, Workload, WorkloadKind};
use rstwatch_verdict::judged::Judged;
use rstwatch_verdict::timing::Moment;

/// Names that are told apart for one cause.
const NAMES: usize = 64;

/// Everything that events said.
#[derive(Debug)]
pub(super) struct Tally {
    /// By cause.
    pub causes: BTreeMap<Cause, OfCause>,
    /// Sent resets.
    pub sent: u64,
    /// Received resets.
    pub received: u64,
    /// Received ones whose sender's event was seen too.
    pub repeated: u64,
    /// Resets by their time in the connection's life.
    pub timing: BTreeMap<Moment, u64>,
    /// The path.
    pub ttl: Ttl,
    /// Who was at the other end.
    pub peers: Top<String>,
    /// Whose sockets.
    pub owners: Top<String>,
    /// Idle timeouts of this host's servers, by owner.
    pub servers: Top<String, OwnTimer>,
    /// What came together.
    pub bursts: Bursts,
}

/// Resets of one cause.
#[derive(Debug)]
pub(super) struct OfCause {
    /// Both ends of one reset count once.
    pub resets: u64,
    /// Sent ones.
    pub sent: u64,
    /// Received ones.
    pub received: u64,
    /// How sure, in the order of [`Confidence::ALL`].
    pub confidence: BTreeMap<Confidence, u64>,
    /// Who was at the other end, each with an event to show.
    pub peers: Top<String, Box<Judged>>,
    /// Whose sockets.
    pub owners: Top<String>,
}

/// TTLs of received RSTs against those of the handshakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Ttl {
    /// The same.
    pub equal: u64,
    /// Another.
    pub differing: u64,
    /// One of the two was not seen.
    pub not_seen: u64,
    /// Not sent by the peer's stack, by all evidence together.
    pub by_middlebox: u64,
}

/// An idle timeout of a server on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnTimer {
    /// It closed after so much silence, at least.
    pub shortest: Duration,
    /// Clients came back after so much, at most.
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

impl OfCause {
    fn new() -> Self {
        let confidence = BTreeMap::new();
        Self { resets: 0, sent: 0, received: 0, confidence, peers: Top::new(NAMES), owners: Top::new(NAMES) }
    }
}

impl Tally {
    /// One event.
    pub(super) fn take(&mut self, judged: &Judged) {
        let Judged { event, timing, .. } = judged;
        let (peer, owner) = (peer(judged), owner(event));
        let received = u64::from(event.direction == Direction::Received);
        self.received += received;
        self.sent += 1 - received;
        self.bursts.take(judged, &peer, &owner);
        self.path(judged);
        let of = self.causes.entry(event.cause).or_insert_with(OfCause::new);
        of.received += received;
        of.sent += 1 - received;
        if timing.repeats_sent {
            self.repeated += 1;
            return;
        }
        of.take(judged, &peer, &owner);
        *self.timing.entry(timing.moment).or_default() += 1;
        self.own_timer(judged, &owner);
        self.peers.add(peer, || ());
        self.owners.add(owner, || ());
    }

    /// Resets, both ends of one counted once.
    pub(super) fn resets(&self) -> u64 {
        self.sent + self.received - self.repeated
    }

    fn path(&mut self, Judged { event, timing, .. }: &Judged) {
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

    /// A server of ours had closed an idle connection before its client used it again.
    fn own_timer(&mut self, Judged { event, timing, .. }: &Judged, owner: &str) {
        let ours = event.direction == Direction::Sent && event.role == Role::Server;
        if let (true, Cause::IdleReaped, Some(timer)) = (ours, event.cause, timing.timer) {
            let used = event.idle_ms.map_or(timer.after, Duration::from_millis);
            let name = format!("{owner} on port {}", event.local.port());
            let known = self.servers.add(name, || OwnTimer { shortest: timer.after, longest_use: used });
            known.shortest = known.shortest.min(timer.after);
            known.longest_use = known.longest_use.max(used);
        }
    }
}

impl OfCause {
    fn take(&mut self, judged: &Judged, peer: &str, owner: &str) {
        self.resets += 1;
        *self.confidence.entry(judged.event.confidence).or_default() += 1;
        let shown = self.peers.add(peer.to_owned(), || Box::new(judged.clone()));
        // The surest is shown; of equally sure ones the first.
        if judged.event.confidence < shown.event.confidence {
            **shown = judged.clone();
        }
        self.owners.add(owner.to_owned(), || ());
    }
}

/// The other end: a server with its port; a client's port says nothing.
fn peer(Judged { event, timing, .. }: &Judged) -> String {
    let connecting = event.direction == Direction::Received && timing.moment == Moment::Connecting;
    match event.role {
        Role::Client => event.remote.to_string(),
        _ if connecting => event.remote.to_string(),
        _ => event.remote.ip().to_string(),
    }
}

/// Whose socket it was; for a closed port the address that nobody listens on.
fn owner(event: &Event) -> String {
    match (&event.workload, &event.process) {
        (Some(Workload { kind: WorkloadKind::Process, name, .. }), _) => name.clone(),
        // All pods of a controller are one owner.
        (Some(Workload { namespace: Some(namespace), controller: Some(Controller { kind, name }), .. }), _) => {
            format!("{kind} {namespace}/{name}")
        }
        (Some(Workload { kind, namespace: Some(namespace), name, .. }), _) => {
            format!("{} {namespace}/{name}", kind.as_str())
        }
        (Some(Workload { kind, name, .. }), _) => format!("{} {name}", kind.as_str()),
        (None, Some(Process { comm, .. })) => comm.clone(),
        (None, None) if event.cause == Cause::Refused && event.direction == Direction::Sent => {
            format!("nobody on {}", event.local)
        }
        (None, None) => "owner not seen".to_owned(),
    }
}
