//! Compares the watchers' events with what the rows expect.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use crate::judging::assign::assign;
use crate::judging::grade::{Fit, Grade, Outcome, View, grade};
use crate::judging::judgement::Judgement;
use crate::judging::report::Got;
use crate::kernel::Kernel;
use crate::network::host::{Family, Host};
use crate::network::net::Net;
use crate::rows::table::Idle;
use crate::rows::table::{FLOOD, Row, Times, Visibility, Want};
use crate::wait::{SOON, until_true};
use crate::watchers::agents::Agents;
use crate::watchers::event::Event;
use crate::watchers::metrics::Metrics;
use crate::watchers::vantage::Vantage;

/// How long to wait for unexpected events after the last expected one.
const GRACE: Duration = Duration::from_millis(300);

/// The probe that sees RSTs without a socket where the tracepoint does not.
const NO_SOCKET_PROBE: &str = "tcp_v4_send_reset";
/// Since when the tracepoint itself sees them.
const TRACES_NO_SOCKET: (u32, u32) = (6, 10);

/// A row that was made, to be judged after all rows are made.
pub(crate) struct MadeRow {
    pub(crate) row: &'static Row,
    pub(crate) family: Family,
    pub(crate) port: u16,
    pub(crate) run: u32,
    /// The true idle time, by host.
    pub(crate) idle: Vec<(Host, Idle)>,
}

/// Judges rows by the events on their ports.
pub(crate) struct Judge<'a> {
    agents: &'a Agents,
    kernel: &'a Kernel,
    hosts: BTreeMap<u64, Host>,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(agents: &'a Agents, net: &Net, kernel: &'a Kernel) -> Result<Self> {
        let hosts = Host::ALL.iter().map(|host| Ok((net.ns(*host).inode()?, *host)));
        Ok(Self { agents, kernel, hosts: hosts.collect::<Result<_>>()? })
    }

    /// Waits for all expected events, and then a moment for unexpected ones.
    pub(crate) fn wait_for_events(&self, made: &[MadeRow]) {
        let complete = || Ok(made.iter().all(|row| Vantage::EACH.iter().all(|at| self.has_all(row, *at))));
        // The judgement reports what is missing.
        let _ = until_true("the events", SOON, complete);
        sleep(GRACE);
    }

    fn has_all(&self, made: &MadeRow, vantage: Vantage) -> bool {
        let wants = wants_at(made.row, vantage);
        let due = wants.iter().filter(|want| want.times != Times::Any && self.sees(want, &wants)).count();
        self.agents.events(vantage, made.port).len() >= due
    }

    /// Whether a watcher that expects `all` of these sees this event on this kernel.
    fn sees(&self, want: &Want, all: &[&Want]) -> bool {
        let probe = |name: &str| self.agents.has_probe(name);
        // Where the RST is received, a reject can be inferred from the dropped segment.
        let inferred = probe("kfree_skb") && all.iter().any(|want| want.direction == "received");
        match want.visibility {
            Visibility::Always => true,
            Visibility::Rejects => probe("nf_send_reset") || inferred,
            Visibility::NoSocket => self.kernel.since(TRACES_NO_SOCKET) || probe(NO_SOCKET_PROBE),
        }
    }

    /// One judgement per expectation, and per unexpected event.
    pub(crate) fn row(&self, made: &MadeRow, vantage: Vantage) -> Vec<Judgement> {
        let wants = wants_at(made.row, vantage);
        let events = self.agents.events(vantage, made.port);
        let all_seen = self.sees_senders(&wants);
        let view = |want: &Want| self.view(want, vantage, all_seen);
        let graded = |want: &Want, seen: &Event| {
            grade(want, view(want), &seen.verdict, made.idle_of(want).map(|truth| (truth, seen.idle_ms)))
        };
        let fit = |want: &Want, event: usize| {
            let seen = &events[event];
            let same = want.direction == seen.direction && Some(want.at) == self.host(seen);
            same.then(|| graded(want, seen).fit())
        };
        let answers = assign(&wants, events.len(), fit);
        let base = self.base(made, vantage, &wants, view);
        let mut judged = Vec::new();
        for (event, answer) in answers.iter().enumerate() {
            let seen = &events[event];
            match answer.and_then(|index| wants.get(index)) {
                Some(want) => {
                    let judgement = said(&base, seen, graded(want, seen));
                    enter(&mut judged, want, of(want, view(want), made, judgement));
                }
                None => judged.push(self.extra(&base, seen)),
            }
        }
        for (_, want) in wants.iter().enumerate().filter(|(index, _)| !answers.contains(&Some(*index))) {
            judged.extend(self.unanswered(&base, want, &wants, view(want), made));
        }
        if judged.is_empty() {
            judged.push(base);
        }
        judged
    }

    /// Whether this kernel shows all that the watched hosts send.
    fn sees_senders(&self, wants: &[&Want]) -> bool {
        let mut senders = wants.iter().filter(|want| want.direction == "sent" && want.times != Times::Any);
        senders.all(|want| self.sees(want, wants))
    }

    /// Where this kernel does not show the sender, even "all" sees one end only. A host's own firewall is both ends.
    fn view(&self, want: &Want, vantage: Vantage, all_seen: bool) -> View {
        let sender_is_watched = vantage == Vantage::All || want.rule == Some(want.at);
        View { both_ends: sender_is_watched && all_seen, reasons: self.kernel.gives_reasons() }
    }

    fn host(&self, event: &Event) -> Option<Host> {
        event.netns.and_then(|inode| self.hosts.get(&inode).copied())
    }

    fn base(&self, made: &MadeRow, vantage: Vantage, wants: &[&Want], view: impl Fn(&Want) -> View) -> Judgement {
        let wants: Vec<String> = wants.iter().map(|want| expected(want, view(want))).collect();
        let base = Judgement::of(made.row, made.family, vantage.name(), made.run, self.kernel);
        let nothing = wants.is_empty();
        Judgement { expected: if nothing { base.expected } else { wants.join(" + ") }, ..base }
    }

    fn extra(&self, base: &Judgement, event: &Event) -> Judgement {
        let at = self.host(event).map_or("?", Host::letter);
        let fault = format!("unexpected: {}@{at} {}", event.direction, event.verdict.cause);
        let (direction, at) = (Some(event.direction.clone()), Some(at.to_owned()));
        let event =
            Judgement { got: Some(event.verdict.clone()), idle_ms: event.idle_ms, event: raw(event), ..base.clone() };
        Judgement { direction, at, result: Outcome::Extra, faults: vec![fault], ..event }
    }

    fn unanswered(
        &self,
        base: &Judgement,
        want: &Want,
        all: &[&Want],
        view: View,
        made: &MadeRow,
    ) -> Option<Judgement> {
        let (result, faults) = match (want.times, self.sees(want, all)) {
            (Times::Any, _) => return None,
            (_, true) => (Outcome::Missing, vec![format!("no {}", expected(want, view))]),
            (_, false) => (Outcome::NotSeen, Vec::new()),
        };
        Some(of(want, view, made, Judgement { result, faults, ..base.clone() }))
    }
}

impl MadeRow {
    /// Resets of packets that were in flight have an idle time of their own, which the lab does not measure.
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

fn of(want: &Want, view: View, made: &MadeRow, judgement: Judgement) -> Judgement {
    let idle = made.idle_of(want);
    let bounds = match idle {
        Some(Idle::Was(least, most)) => Some((least, most)),
        _ => None,
    };
    Judgement {
        truth: want.cause.to_owned(),
        true_sender: Some(want.sender_seen(view.both_ends).to_owned()),
        direction: Some(want.direction.to_owned()),
        at: Some(want.at.letter().to_owned()),
        idle_truth_ms: bounds.and_then(|(least, _)| u64::try_from(least.as_millis()).ok()),
        idle_slack_ms: bounds.and_then(|(least, most)| u64::try_from((most - least).as_millis()).ok()),
        busy: idle == Some(Idle::Busy),
        ..judgement
    }
}

fn said(base: &Judgement, event: &Event, grade: Grade) -> Judgement {
    Judgement {
        got: Some(event.verdict.clone()),
        idle_ms: event.idle_ms,
        result: grade.outcome,
        sender: Some(grade.sender),
        event: if grade.faults.is_empty() && grade.fit() == Fit::Exact { None } else { raw(event) },
        faults: grade.faults,
        ..base.clone()
    }
}

fn raw(event: &Event) -> Option<serde_json::Value> {
    serde_json::from_str(&event.line).ok()
}

fn expected(want: &Want, view: View) -> String {
    let times = match want.times {
        Times::Once => "",
        Times::Some => "1..× ",
        Times::Any => "0..× ",
    };
    let sender = want.sender_seen(view.both_ends);
    format!("{times}{}@{} {} {sender}", want.direction, want.at.letter(), want.cause)
}

fn wants_at(row: &'static Row, vantage: Vantage) -> Vec<&'static Want> {
    row.wants.iter().filter(|want| vantage.hosts().contains(&want.at)).collect()
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
