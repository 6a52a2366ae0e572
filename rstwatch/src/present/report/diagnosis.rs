//! The report as data: what was found, ranked, and what to change first. The field order is the JSON order.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::bursts::{Burst, Restart};
use super::pressure::Change;
use super::tally::{OfCause, Tally, Ttl};
use super::top::Top;
use crate::kernel::probe::Probes;
use crate::stats::aggregate::KernelCounts;
use crate::stats::idle_timeouts::{IdleTimeout, IdleTimeouts};
use rstwatch_verdict::cause::{Cause, Confidence, Direction};
use rstwatch_verdict::explain::advice;
use rstwatch_verdict::text::fraction;
use rstwatch_verdict::timing::Moment;

/// Names that are given of each sort.
const NAMED: usize = 5;
/// More advice at once is none.
const ADVICE: usize = 3;
/// Destinations whose timeouts are reported.
const DESTINATIONS: usize = 10;

/// Around what was found.
pub(crate) struct Frame {
    /// Host name, or what the user calls it.
    pub node: Arc<str>,
    /// What was watched.
    pub scope: String,
    /// A filter left some events out.
    pub filtered: bool,
    /// Since when.
    pub started: Timestamp,
    /// For how long.
    pub watched: Duration,
    /// What queues and conntrack counted meanwhile.
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
    /// Counted without details.
    pub unsampled_sent: u64,
    pub unsampled_received: u64,
    pub causes: Vec<CauseFound>,
    pub peers: Names,
    pub owners: Names,
    pub timing: TimingFound,
    pub bursts: Vec<Burst>,
    pub restarts: Vec<Restart>,
    pub peers_not_followed: u64,
    pub ttl: Ttl,
    pub timeouts: Vec<IdleTimeout>,
    pub own_timeouts: Vec<OwnTimeout>,
    pub pressure: Change,
    pub missing_probes: Vec<Missing>,
    pub change_first: Vec<Advice>,
}

/// One cause.
#[derive(Debug, Serialize)]
pub(crate) struct CauseFound {
    pub cause: Cause,
    pub resets: u64,
    pub sent: u64,
    pub received: u64,
    pub confidence: BTreeMap<&'static str, u64>,
    pub peers: Names,
    pub owners: Names,
    /// The evidence of one of them.
    pub because: Vec<String>,
}

/// The most frequent names.
#[derive(Debug, Serialize)]
pub(crate) struct Names {
    pub top: Vec<Name>,
    /// What the others add up to.
    pub others: u64,
}

/// A name, and how often at least.
#[derive(Debug, Serialize)]
pub(crate) struct Name {
    pub name: String,
    pub resets: u64,
}

/// When in the lives of their connections resets came.
#[derive(Debug, Serialize)]
pub(crate) struct TimingFound {
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

/// What was not seen for want of a probe.
#[derive(Debug, Serialize)]
pub(crate) struct Missing {
    pub probe: &'static str,
    pub why: String,
    pub lost: &'static str,
}

/// Something to change.
#[derive(Debug, Serialize)]
pub(crate) struct Advice {
    /// A cause, or a peer.
    pub what: String,
    /// How many resets it would have spared, at most.
    pub resets: u64,
    pub advice: String,
}

impl Diagnosis {
    /// From what was added up.
    pub(super) fn new(
        frame: Frame,
        tally: &mut Tally,
        bounds: &IdleTimeouts,
        counts: &KernelCounts,
        probes: &Probes,
    ) -> Self {
        let resets = tally.resets();
        let bursts = tally.bursts.finish(frame.watched);
        let restarts = tally.bursts.restarts();
        let causes = ranked(tally);
        Self {
            resets,
            sent: tally.sent,
            received: tally.received,
            seen_at_both_ends: tally.repeated,
            unsampled_sent: unsampled(counts, Direction::Sent),
            unsampled_received: unsampled(counts, Direction::Received),
            change_first: advise(&causes, &restarts),
            causes: causes.iter().map(|(cause, of)| CauseFound::new(*cause, of)).collect(),
            peers: names(&tally.peers),
            owners: names(&tally.owners),
            timing: TimingFound::new(&tally.timing),
            bursts,
            restarts,
            peers_not_followed: tally.bursts.unfollowed(),
            ttl: tally.ttl,
            timeouts: timeouts(bounds),
            own_timeouts: own_timeouts(tally),
            pressure: frame.pressure,
            missing_probes: missing(probes),
            node: frame.node,
            scope: frame.scope,
            filtered: frame.filtered,
            started: frame.started,
            watched_seconds: fraction(frame.watched),
        }
    }

    /// Resets that were counted, with details or without.
    pub(super) fn counted(&self) -> u64 {
        self.resets + self.unsampled_sent + self.unsampled_received
    }
}

fn ranked(tally: &Tally) -> Vec<(Cause, &OfCause)> {
    // What only repeats what a sent one said is in its place already.
    let mut causes: Vec<_> = tally.causes.iter().map(|(cause, of)| (*cause, of)).collect();
    causes.sort_by_key(|(cause, of)| (Reverse(of.resets), *cause));
    causes
}

impl CauseFound {
    fn new(cause: Cause, of: &OfCause) -> Self {
        let shown = of.peers.ranked().into_iter().next().map(|(_, judged)| judged.event.because.clone());
        let confidence = Confidence::ALL.iter().filter_map(|it| Some((it.as_str(), *of.confidence.get(it)?)));
        Self {
            cause,
            resets: of.resets,
            sent: of.sent,
            received: of.received,
            confidence: confidence.collect(),
            peers: names(&of.peers),
            owners: names(&of.owners),
            because: shown.unwrap_or_default(),
        }
    }
}

fn names<V>(top: &Top<String, V>) -> Names {
    let ranked = top.ranked().into_iter().take(NAMED);
    let top_names: Vec<_> = ranked.map(|(it, _)| Name { name: it.key, resets: it.count }).collect();
    let named: u64 = top_names.iter().map(|it| it.resets).sum();
    Names { top: top_names, others: top.total() - named }
}

impl TimingFound {
    fn new(timing: &BTreeMap<Moment, u64>) -> Self {
        let of = |it: Moment| timing.get(&it).copied().unwrap_or(0);
        Self {
            connecting: of(Moment::Connecting),
            first_after_idle: of(Moment::AfterIdle),
            into_silence: of(Moment::DuringIdle),
            mid_transfer: of(Moment::Busy),
            not_seen: of(Moment::Unseen),
        }
    }
}

fn unsampled(counts: &KernelCounts, direction: Direction) -> u64 {
    counts.undelivered.iter().filter(|(way, ..)| *way == direction).map(|(.., n)| n).sum()
}

/// Destinations where resets came of it: a close alone hurts nobody, and one may be a restart.
fn timeouts(bounds: &IdleTimeouts) -> Vec<IdleTimeout> {
    let hurt = bounds.all().into_iter().filter(|it| it.died.is_some() && it.resets > 0);
    hurt.take(DESTINATIONS).collect()
}

fn own_timeouts(tally: &Tally) -> Vec<OwnTimeout> {
    let ranked = tally.servers.ranked().into_iter().take(NAMED);
    let own = ranked.map(|(it, timer)| OwnTimeout {
        owner: it.key,
        resets: it.count,
        closed_after_seconds: fraction(timer.shortest),
        used_after_seconds: fraction(timer.longest_use),
    });
    own.collect()
}

fn missing(probes: &Probes) -> Vec<Missing> {
    let missing = probes.0.iter().filter_map(|probe| Some((probe, probe.lost()?)));
    missing.map(|(it, lost)| Missing { probe: it.name, why: it.detail().into_owned(), lost }).collect()
}

/// What would spare most resets: by cause, from the table of `explain`; and peers that restart without a drain.
fn advise(causes: &[(Cause, &OfCause)], restarts: &[Restart]) -> Vec<Advice> {
    let others = causes.iter().filter(|(cause, of)| !follows_from(*cause, of, restarts));
    let by_cause = others.filter_map(|(cause, of)| {
        let shown = of.peers.ranked().into_iter().next().map(|(_, judged)| judged)?;
        let advice = if is_spread(*cause, of) {
            cause.entry().fix.to_owned()
        } else {
            advice(&shown.event, shown.timing.timer)?
        };
        Some(Advice { what: cause.to_string(), resets: of.resets, advice })
    });
    let by_restart = restarts.iter().map(|it| Advice {
        what: format!("restart of {}", it.peer),
        resets: it.resets,
        advice: format!("there: {}", Cause::ProcessDied.entry().fix),
    });
    let mut all: Vec<_> = by_restart.chain(by_cause).collect();
    all.sort_by_key(|it| Reverse(it.resets));
    all.truncate(ADVICE);
    all
}

/// All resets of this cause are of one peer, and no more than its restart accounts for.
fn follows_from(cause: Cause, of: &OfCause, restarts: &[Restart]) -> bool {
    let ranked = of.peers.ranked();
    let [(only, _)] = &ranked[..] else { return false };
    restarts.iter().filter(|it| it.peer.to_string() == only.key).any(|it| {
        let explained = if cause == Cause::Refused { it.refusals } else { it.resets };
        of.resets <= explained
    })
}

/// Refusals at many places, as a scan makes them: advice for one of them would mislead.
fn is_spread(cause: Cause, of: &OfCause) -> bool {
    fn most<V>(names: &Top<String, V>) -> u64 {
        names.ranked().first().map_or(0, |(it, _)| it.count)
    }
    // Where attempts of ours are refused the peer is the place, where this host refuses the owner is.
    let most = if of.sent > 0 { most(&of.owners) } else { most(&of.peers) };
    cause == Cause::Refused && most * 2 < of.resets
}
