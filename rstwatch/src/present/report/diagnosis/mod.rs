//! The report as data: findings, ranked, and what to change first. The order of the fields is that of the JSON object.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::bursts::{Burst, Restart};
use super::pressure::Change;
use super::tally::{CauseTally, Tally, Ttl};
use super::top::Top;
use crate::kernel::probe::Probes;
use crate::stats::aggregate::KernelCounts;
use crate::stats::idle_timeouts::{IdleTimeout, IdleTimeouts};
use advice::change_first;
use rstwatch_verdict::cause::{Cause, Confidence, Direction};
use rstwatch_verdict::text::{Sentence, fraction};
use rstwatch_verdict::timing::Moment;

mod advice;

pub(super) use advice::Advice;

/// Maximum names in a list.
const MAX_NAMES: usize = 5;
/// Maximum destinations with a timeout.
const MAX_DESTINATIONS: usize = 10;

/// What was watched, and for how long.
pub(crate) struct Watch {
    /// Name of this host.
    pub node: Arc<str>,
    /// Which sockets, as text.
    pub scope: String,
    /// Whether a filter excluded some events.
    pub filtered: bool,
    /// When the watch started.
    pub started: Timestamp,
    /// How long it took.
    pub watched: Duration,
    /// Pressure on queues and conntrack during the watch.
    pub pressure: Change,
}

/// The whole report.
#[derive(Debug, Serialize)]
pub(crate) struct Diagnosis {
    pub node: Arc<str>,
    pub scope: String,
    pub filtered: bool,
    pub started: Timestamp,
    pub watched_seconds: f64,
    /// Both ends of one reset count once.
    pub resets: u64,
    pub sent: u64,
    pub received: u64,
    pub seen_at_both_ends: u64,
    /// Resets that were counted without details.
    pub unsampled_sent: u64,
    pub unsampled_received: u64,
    pub causes: Vec<CauseSummary>,
    pub peers: Names,
    pub owners: Names,
    pub timing: TimingCounts,
    pub bursts: Vec<Burst>,
    pub restarts: Vec<Restart>,
    pub peers_not_followed: u64,
    pub ttl: Ttl,
    pub timeouts: Vec<IdleTimeout>,
    pub own_timeouts: Vec<OwnTimeout>,
    pub pressure: Change,
    pub missing_probes: Vec<MissingProbe>,
    pub change_first: Vec<Advice>,
}

/// The resets of one cause.
#[derive(Debug, Serialize)]
pub(crate) struct CauseSummary {
    pub cause: Cause,
    pub resets: u64,
    pub sent: u64,
    pub received: u64,
    pub confidence: BTreeMap<&'static str, u64>,
    /// Causes that remain where there are several: the most frequent first, then the most plausible.
    pub candidates: Vec<Candidate>,
    pub peers: Names,
    pub owners: Names,
    /// The evidence of one reset, as an example.
    pub because: Vec<Sentence>,
}

/// A cause, and the number of resets that it may explain.
#[derive(Debug, Serialize)]
pub(crate) struct Candidate {
    pub cause: Cause,
    pub resets: u64,
}

/// The most frequent names.
#[derive(Debug, Serialize)]
pub(crate) struct Names {
    pub top: Vec<Name>,
    /// Resets of all other names together.
    pub others: u64,
}

/// A name, and its resets: a lower bound.
#[derive(Debug, Serialize)]
pub(crate) struct Name {
    pub name: String,
    pub resets: u64,
}

/// Resets by their time in the life of the connection.
#[derive(Debug, Serialize)]
pub(crate) struct TimingCounts {
    pub connecting: u64,
    pub first_after_idle: u64,
    pub into_silence: u64,
    pub mid_transfer: u64,
    pub not_seen: u64,
}

/// A server of this host that closes idle connections before its clients do.
#[derive(Debug, Serialize)]
pub(crate) struct OwnTimeout {
    pub owner: String,
    pub resets: u64,
    pub closed_after_seconds: f64,
    pub used_after_seconds: f64,
}

/// A probe that could not be attached, and the evidence that is lost without it.
#[derive(Debug, Serialize)]
pub(crate) struct MissingProbe {
    pub probe: &'static str,
    pub why: String,
    pub lost: &'static str,
}

impl Diagnosis {
    /// Draws the conclusions from the sums of a watch.
    pub(super) fn new(
        watch: Watch,
        tally: &mut Tally,
        idle_timeouts: &IdleTimeouts,
        counts: &KernelCounts,
        probes: &Probes,
    ) -> Self {
        let resets = tally.resets();
        let bursts = tally.bursts.finish(watch.watched);
        let restarts = tally.bursts.restarts();
        let causes = ranked(tally);
        Self {
            resets,
            sent: tally.sent,
            received: tally.received,
            seen_at_both_ends: tally.repeated,
            unsampled_sent: unsampled(counts, Direction::Sent),
            unsampled_received: unsampled(counts, Direction::Received),
            change_first: change_first(&causes, &restarts),
            causes: causes.iter().map(|(cause, tally)| CauseSummary::new(*cause, tally)).collect(),
            peers: names(&tally.peers),
            owners: names(&tally.owners),
            timing: TimingCounts::new(&tally.timing),
            bursts,
            restarts,
            peers_not_followed: tally.bursts.unfollowed(),
            ttl: tally.ttl,
            timeouts: timeouts(idle_timeouts),
            own_timeouts: own_timeouts(tally),
            pressure: watch.pressure,
            missing_probes: missing_probes(probes),
            node: watch.node,
            scope: watch.scope,
            filtered: watch.filtered,
            started: watch.started,
            watched_seconds: fraction(watch.watched),
        }
    }

    /// All resets, with details or without.
    pub(super) fn counted(&self) -> u64 {
        self.resets + self.unsampled_sent + self.unsampled_received
    }
}

/// The causes, the most frequent first.
fn ranked(tally: &Tally) -> Vec<(Cause, &CauseTally)> {
    let mut causes: Vec<_> = tally.causes.iter().map(|(cause, tally)| (*cause, tally)).collect();
    causes.sort_by_key(|(cause, tally)| (Reverse(tally.resets), *cause));
    causes
}

impl CauseSummary {
    fn new(cause: Cause, tally: &CauseTally) -> Self {
        let confidence = Confidence::ALL.iter().filter_map(|it| Some((it.as_str(), *tally.confidence.get(it)?)));
        Self {
            cause,
            resets: tally.resets,
            sent: tally.sent,
            received: tally.received,
            confidence: confidence.collect(),
            candidates: candidates(tally),
            peers: names(&tally.peers),
            owners: names(&tally.owners),
            because: tally.example().map(|judged| judged.event.because.clone()).unwrap_or_default(),
        }
    }
}

fn candidates(tally: &CauseTally) -> Vec<Candidate> {
    let mut all: Vec<_> = tally.candidates.iter().collect();
    all.sort_by_key(|(_, remaining)| (Reverse(remaining.resets), remaining.places));
    all.into_iter().map(|(cause, remaining)| Candidate { cause: *cause, resets: remaining.resets }).collect()
}

fn names<V>(top: &Top<String, V>) -> Names {
    let ranked = top.ranked().into_iter().take(MAX_NAMES);
    let top_names: Vec<_> = ranked.map(|(it, _)| Name { name: it.key, resets: it.count }).collect();
    let named: u64 = top_names.iter().map(|it| it.resets).sum();
    Names { top: top_names, others: top.total() - named }
}

impl TimingCounts {
    fn new(timing: &BTreeMap<Moment, u64>) -> Self {
        let count = |it: Moment| timing.get(&it).copied().unwrap_or(0);
        Self {
            connecting: count(Moment::Connecting),
            first_after_idle: count(Moment::AfterIdle),
            into_silence: count(Moment::DuringIdle),
            mid_transfer: count(Moment::Busy),
            not_seen: count(Moment::Unseen),
        }
    }
}

fn unsampled(counts: &KernelCounts, direction: Direction) -> u64 {
    counts.undelivered.iter().filter(|(it, ..)| *it == direction).map(|(.., n)| n).sum()
}

/// Destinations with resets after idle periods. An orderly close alone does no harm, and may be a restart.
fn timeouts(idle_timeouts: &IdleTimeouts) -> Vec<IdleTimeout> {
    let harmful = idle_timeouts.all().into_iter().filter(|it| it.died.is_some() && it.resets > 0);
    harmful.take(MAX_DESTINATIONS).collect()
}

fn own_timeouts(tally: &Tally) -> Vec<OwnTimeout> {
    let ranked = tally.servers.ranked().into_iter().take(MAX_NAMES);
    let own = ranked.map(|(it, timer)| OwnTimeout {
        owner: it.key,
        resets: it.count,
        closed_after_seconds: fraction(timer.shortest),
        used_after_seconds: fraction(timer.longest_use),
    });
    own.collect()
}

fn missing_probes(probes: &Probes) -> Vec<MissingProbe> {
    let missing = probes.0.iter().filter_map(|probe| Some((probe, probe.lost()?)));
    missing.map(|(it, lost)| MissingProbe { probe: it.name, why: it.detail().into_owned(), lost }).collect()
}
