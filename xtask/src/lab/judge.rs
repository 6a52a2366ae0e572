//! What the watchers said, against what the table expects.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use super::agents::Agents;
use super::event::Event;
use super::metrics::Metrics;
use super::net::Net;
use super::place::Place;
use super::report::{Got, Report};
use super::table::{FLOOD, Row, Want};
use super::vantage::{Seen, Vantage, listed};
use super::wait::{SOON, until_true};

/// After the last expected event: time for one more that should not come.
const GRACE: Duration = Duration::from_millis(300);

/// How much had been said of a row when it was judged.
pub(super) struct Judged {
    name: String,
    port: u16,
    said: Vec<(Vantage, usize)>,
}

/// Waits for a row's events, then enters one line for each vantage.
pub(super) fn row(
    agents: &Agents,
    net: &Net,
    row: &Row,
    name: String,
    port: u16,
    report: &mut Report,
) -> Result<Judged> {
    let places = inodes(net)?;
    let complete = || Ok(Vantage::EACH.iter().all(|at| has_all(agents, row, *at, port)));
    // What is missing is told by the comparison.
    let _ = until_true("the events", SOON, complete);
    sleep(GRACE);
    let mut said = Vec::new();
    for vantage in Vantage::EACH {
        let events = agents.events(vantage, port);
        said.push((vantage, events.len()));
        let want = Expected::of(agents, row, vantage);
        let got: Vec<Seen> = events.iter().map(|event| seen(event, &places)).collect();
        let result = compare(row, &want.seen, &got, &events);
        report.enter(&name, vantage.name(), want.text(row), result);
    }
    Ok(Judged { name, port, said })
}

/// The daemon must have counted every reset of a flood, delivered or not.
pub(super) fn flood(agents: &Agents, row: &Row, before: Result<Metrics>, report: &mut Report) {
    let causes: Vec<&str> = row.all.iter().map(|want| want.cause).chain(["unsampled"]).collect();
    let expected = format!("{FLOOD} sent {}", causes.join("|"));
    let got = before.and_then(|before| flooded(agents, &causes, &before));
    report.enter_result(row.id, "metrics", expected, got);
}

fn flooded(agents: &Agents, causes: &[&str], before: &Metrics) -> Result<Got> {
    let before = before.sent(Some(causes));
    let counted = || Ok(agents.daemon.metrics()?.sent(Some(causes)).saturating_sub(before));
    settled(SOON, FLOOD, counted)
}

/// Waits until a count is no less than it should be, and compares.
pub(super) fn settled(patience: Duration, expected: u64, counted: impl Fn() -> Result<u64>) -> Result<Got> {
    // Too few is told by the comparison.
    let _ = until_true("the count", patience, || Ok(counted()? >= expected));
    Ok(match counted()? {
        count if count == expected => Got::Expected,
        count => Got::Else(format!("{count} counted"), Vec::new()),
    })
}

/// Events that came after their row was judged are a miss as well.
pub(super) fn latecomers(agents: &Agents, judged: &[Judged], report: &mut Report) {
    for row in judged {
        for (vantage, count) in &row.said {
            let late = agents.events(*vantage, row.port).split_off(*count);
            if !late.is_empty() {
                let lines = late.into_iter().map(|event| event.line).collect();
                let got = Got::Else("events later on".to_owned(), lines);
                report.enter(&row.name, "late", "nothing more".to_owned(), got);
            }
        }
    }
}

/// What a vantage is to see of a row, on this kernel.
struct Expected {
    seen: Vec<Seen>,
    /// What else it would see with a probe that this kernel refuses.
    blind: Option<&'static str>,
}

impl Expected {
    fn of(agents: &Agents, row: &Row, vantage: Vantage) -> Self {
        let wants = match vantage {
            Vantage::All => row.all,
            Vantage::Client => row.client,
            Vantage::Server => row.server,
        };
        let missing = |want: &Want| want.probe.filter(|probe| !agents.has_probe(probe));
        let visible = wants.iter().filter(|want| missing(want).is_none());
        Self { seen: visible.map(Want::seen).collect(), blind: wants.iter().find_map(missing) }
    }

    fn text(&self, row: &Row) -> String {
        let times = if row.flood && !self.seen.is_empty() { format!("1..{FLOOD}× ") } else { String::new() };
        let blind = self.blind.map(|probe| format!(" (no {probe} here)"));
        times + &listed(&self.seen) + &blind.unwrap_or_default()
    }
}

fn has_all(agents: &Agents, row: &Row, vantage: Vantage, port: u16) -> bool {
    let each = if row.flood { usize::try_from(FLOOD).unwrap_or(usize::MAX) } else { 1 };
    let expected = Expected::of(agents, row, vantage);
    agents.events(vantage, port).len() >= expected.seen.len() * each
}

fn compare(row: &Row, want: &[Seen], got: &[Seen], events: &[Event]) -> Got {
    let as_wanted = if row.flood && !want.is_empty() {
        let most = usize::try_from(FLOOD).unwrap_or(usize::MAX);
        (1..=most).contains(&got.len()) && got.iter().all(|event| want.contains(event))
    } else {
        sorted(want) == sorted(got)
    };
    if as_wanted {
        return Got::Expected;
    }
    Got::Else(listed(got), events.iter().map(|event| event.line.clone()).collect())
}

fn sorted(events: &[Seen]) -> Vec<&Seen> {
    let mut sorted: Vec<&Seen> = events.iter().collect();
    sorted.sort();
    sorted
}

fn inodes(net: &Net) -> Result<BTreeMap<u64, Place>> {
    Place::ALL.iter().map(|place| Ok((net.ns(*place).inode()?, *place))).collect()
}

fn seen(event: &Event, places: &BTreeMap<u64, Place>) -> Seen {
    Seen {
        direction: event.direction.clone(),
        at: event.netns.and_then(|inode| places.get(&inode).copied()),
        cause: event.cause.clone(),
        sender: event.sender.clone(),
    }
}
