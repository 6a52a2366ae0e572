//! Compares the watchers' events with what the rows expect.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use crate::judging::grade::{Grade, Outcome, View, assign, grade};
use crate::judging::judgement::{Judgement, Verdict};
use crate::judging::report::Got;
use crate::kernel::Kernel;
use crate::network::net::Net;
use crate::network::place::{Family, Place};
use crate::rows::table::Idle;
use crate::rows::table::{FLOOD, Row, Sight, Times, Want};
use crate::wait::{SOON, until_true};
use crate::watchers::agents::Agents;
use crate::watchers::event::Event;
use crate::watchers::metrics::Metrics;
use crate::watchers::vantage::Vantage;

/// Time after the last expected event for one that must not come.
const GRACE: Duration = Duration::from_millis(300);

/// The probe that sees RSTs without a socket where the tracepoint does not.
const NO_SOCKET_PROBE: &str = "tcp_v4_send_reset";
/// Since when the tracepoint itself sees them, and since when it gives reasons.
const TRACES_NO_SOCKET: (u32, u32) = (6, 10);
const GIVES_REASONS: (u32, u32) = (6, 12);

/// A row that was made, to be judged after all rows are made.
pub(crate) struct Played {
    pub(crate) row: &'static Row,
    pub(crate) family: Family,
    pub(crate) port: u16,
    pub(crate) run: u32,
    /// The true silence, by end.
    pub(crate) idle: Vec<(Place, Idle)>,
}

/// Judges rows by the events on their ports.
pub(crate) struct Judge<'a> {
    agents: &'a Agents,
    kernel: &'a Kernel,
    places: BTreeMap<u64, Place>,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(agents: &'a Agents, net: &Net, kernel: &'a Kernel) -> Result<Self> {
        let places = Place::ALL.iter().map(|place| Ok((net.ns(*place).inode()?, *place)));
        Ok(Self { agents, kernel, places: places.collect::<Result<_>>()? })
    }

    /// Waits for all expected events, and then a moment for unexpected ones.
    pub(crate) fn hear_out(&self, played: &[Played]) {
        let complete = || Ok(played.iter().all(|row| Vantage::EACH.iter().all(|at| self.has_all(row, *at))));
        // The judgement reports what is missing.
        let _ = until_true("the events", SOON, complete);
        sleep(GRACE);
    }

    fn has_all(&self, played: &Played, vantage: Vantage) -> bool {
        let wants = wants_at(played.row, vantage);
        let due = wants.iter().filter(|want| want.times != Times::Any && self.sees(want, &wants)).count();
        self.agents.events(vantage, played.port).len() >= due
    }

    /// Whether this kernel shows it to who sees these.
    fn sees(&self, want: &Want, all: &[&Want]) -> bool {
        let probe = |name: &str| self.agents.has_probe(name);
        // A dropped segment tells a reject where the RST is received.
        let inferred = probe("kfree_skb") && all.iter().any(|want| want.direction == "received");
        match want.sight {
            Sight::Always => true,
            Sight::Rejects => probe("nf_send_reset") || inferred,
            Sight::NoSocket => self.kernel.since(TRACES_NO_SOCKET) || probe(NO_SOCKET_PROBE),
        }
    }

    /// One judgement per expectation, and per unexpected event.
    pub(crate) fn row(&self, played: &Played, vantage: Vantage) -> Vec<Judgement> {
        let wants = wants_at(played.row, vantage);
        let events = self.agents.events(vantage, played.port);
        let view = self.view(&wants);
        let graded = |want: &Want, event: usize| grade(want, view, &events[event], played.idle_of(want));
        let same = |want: &Want, event: usize| {
            want.direction == events[event].direction && Some(want.at) == self.place(&events[event])
        };
        let right = |want: &Want, event: usize| graded(want, event).outcome == Outcome::Right;
        let answers = assign(&wants, events.len(), same, right);
        let base = self.base(played, vantage, &wants);
        let mut judged = Vec::new();
        for (event, answer) in answers.iter().enumerate() {
            let seen = &events[event];
            match answer.and_then(|index| wants.get(index)) {
                Some(want) => enter(&mut judged, want, answered(&base, want, played, seen, graded(want, event))),
                None => judged.push(self.extra(&base, seen)),
            }
        }
        for (_, want) in wants.iter().enumerate().filter(|(index, _)| !answers.contains(&Some(*index))) {
            judged.extend(self.unanswered(&base, want, &wants, played));
        }
        if judged.is_empty() {
            judged.push(Judgement { result: Outcome::Right, ..base });
        }
        judged
    }

    /// Whether a received reset's sender is seen as well. Where this kernel hides it,
    /// each end stands alone even in "all"; and a host's own firewall is both ends.
    fn view(&self, wants: &[&Want]) -> View {
        let mut senders = wants.iter().filter(|want| want.direction == "sent" && want.times != Times::Any);
        let receives = wants.iter().any(|want| want.direction == "received");
        let first = senders.next();
        let both_ends =
            receives && first.is_some_and(|want| self.sees(want, wants)) && senders.all(|want| self.sees(want, wants));
        View { both_ends, reasons: self.kernel.since(GIVES_REASONS) }
    }

    fn place(&self, event: &Event) -> Option<Place> {
        event.netns.and_then(|inode| self.places.get(&inode).copied())
    }

    fn base(&self, played: &Played, vantage: Vantage, wants: &[&Want]) -> Judgement {
        let wants: Vec<String> = wants.iter().map(|want| expected(want)).collect();
        let base = Judgement::of(played.row, played.family, vantage.name(), played.run, self.kernel);
        let nothing = wants.is_empty();
        Judgement { expected: if nothing { base.expected } else { wants.join(" + ") }, ..base }
    }

    fn extra(&self, base: &Judgement, event: &Event) -> Judgement {
        let at = self.place(event).map_or("?", Place::letter);
        let fault = format!("unexpected: {}@{at} {}", event.direction, event.cause);
        let grade = Grade { outcome: Outcome::Extra, as_seen: None, faults: vec![fault] };
        Judgement { direction: Some(event.direction.clone()), at: Some(at.to_owned()), ..said(base, event, grade) }
    }

    fn unanswered(&self, base: &Judgement, want: &Want, all: &[&Want], played: &Played) -> Option<Judgement> {
        let (result, faults) = match (want.times, self.sees(want, all)) {
            (Times::Any, _) => return None,
            (_, true) => (Outcome::Missing, vec![format!("no {}", expected(want))]),
            (_, false) => (Outcome::NotSeen, Vec::new()),
        };
        Some(of(want, played, Judgement { result, faults, ..base.clone() }))
    }
}

impl Played {
    /// A reset caused by packets in flight has an idle time of its own, which was not measured.
    fn idle_of(&self, want: &Want) -> Option<Idle> {
        let first = want.times == Times::Once;
        let stated = self.idle.iter().find(|(at, _)| *at == want.at);
        stated.map(|(_, idle)| *idle).filter(|idle| first || *idle == Idle::Busy)
    }
}

fn enter(judged: &mut Vec<Judgement>, want: &Want, new: Judgement) {
    let known = judged.iter_mut().find(|known| want.times != Times::Once && known.is_like(&new));
    match known {
        Some(known) => known.events += 1,
        None => judged.push(new),
    }
}

fn answered(base: &Judgement, want: &Want, played: &Played, event: &Event, grade: Grade) -> Judgement {
    of(want, played, said(base, event, grade))
}

fn of(want: &Want, played: &Played, judgement: Judgement) -> Judgement {
    let idle = played.idle_of(want);
    let bounds = match idle {
        Some(Idle::Was(least, most)) => Some((least, most)),
        _ => None,
    };
    Judgement {
        truth: want.cause.to_owned(),
        direction: Some(want.direction.to_owned()),
        at: Some(want.at.letter().to_owned()),
        idle_truth_ms: bounds.and_then(|(least, _)| u64::try_from(least.as_millis()).ok()),
        idle_slack_ms: bounds.and_then(|(least, most)| u64::try_from((most - least).as_millis()).ok()),
        busy: idle == Some(Idle::Busy),
        ..judgement
    }
}

fn said(base: &Judgement, event: &Event, grade: Grade) -> Judgement {
    let raw = || serde_json::from_str(&event.line).ok();
    Judgement {
        got: Some(Verdict {
            cause: event.cause.clone(),
            sender: event.sender.clone(),
            confidence: event.confidence.clone(),
        }),
        idle_ms: event.idle_ms,
        result: grade.outcome,
        as_seen: grade.as_seen.map(str::to_owned),
        event: if grade.faults.is_empty() { None } else { raw() },
        faults: grade.faults,
        ..base.clone()
    }
}

fn expected(want: &Want) -> String {
    let times = match want.times {
        Times::Once => "",
        Times::Some => "1..× ",
        Times::Any => "0..× ",
    };
    format!("{times}{}@{} {} {}", want.direction, want.at.letter(), want.cause, want.sender)
}

fn wants_at(row: &'static Row, vantage: Vantage) -> Vec<&'static Want> {
    row.wants.iter().filter(|want| vantage.places().contains(&want.at)).collect()
}

/// Checks that the daemon has counted every reset of a flood, delivered or not.
pub(crate) fn flooded(agents: &Agents, row: &Row, before: &Metrics) -> Result<Got> {
    let causes: Vec<&str> = row.wants.iter().map(|want| want.cause).chain(["unsampled"]).collect();
    let before = before.sent(Some(&causes));
    let counted = || Ok(agents.daemon.metrics()?.sent(Some(&causes)).saturating_sub(before));
    settled(SOON, FLOOD, counted)
}

/// Waits until a count has reached the expected value, and compares.
pub(crate) fn settled(timeout: Duration, expected: u64, counted: impl Fn() -> Result<u64>) -> Result<Got> {
    // The comparison reports too few.
    let _ = until_true("the count", timeout, || Ok(counted()? >= expected));
    Ok(match counted()? {
        count if count == expected => Got::Expected,
        count => Got::Else(format!("{count} counted"), Vec::new()),
    })
}
