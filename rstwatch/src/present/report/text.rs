//! The report for people: what was seen, in the order of the playbook's questions; what to change stands last, where the
//! prompt is.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::bursts::{Burst, Restart};
use super::diagnosis::{Advice, CauseFound, Diagnosis, Missing, Names, OwnTimeout, TimingFound};
use super::pressure::Change;
use super::tally::Ttl;
use crate::present::timeouts::details;
use crate::stats::idle_timeouts::IdleTimeout;
use rstwatch_verdict::cause::Cause;
use rstwatch_verdict::escape::printable;
use rstwatch_verdict::text::{count, length, wrap};

const WIDTH: usize = 96;

/// The whole text.
pub(crate) fn report(found: &Diagnosis, colour: bool) -> String {
    Page { colour, zone: TimeZone::try_system().unwrap_or(TimeZone::UTC), out: String::new() }.write(found)
}

pub(super) struct Page {
    pub(super) colour: bool,
    pub(super) zone: TimeZone,
    pub(super) out: String,
}

impl Page {
    pub(super) fn write(mut self, found: &Diagnosis) -> String {
        self.out += &wrap(&printable(&headline(found)), "", WIDTH);
        self.section("causes", &causes(found));
        self.section("when", &when(&found.timing, self.together(found)));
        self.section("path", &path(&found.ttl));
        self.section("idle timeouts", &timeouts(&found.timeouts, &found.own_timeouts));
        self.section("pressure, in the network namespace of this command", &pressure(&found.pressure));
        self.section("not seen", &not_seen(found));
        self.section("change first", &change_first(&found.change_first));
        self.out
    }

    /// A heading and its lines; nothing where there are none.
    fn section(&mut self, heading: &str, lines: &[Line]) {
        if lines.is_empty() {
            return;
        }
        let heading = if self.colour { format!("\x1b[1m{heading}\x1b[0m") } else { heading.to_owned() };
        self.out += &format!("\n{heading}\n");
        self.out.extend(lines.iter().map(Line::text));
    }

    fn together(&self, found: &Diagnosis) -> Vec<Line> {
        let bursts = found.bursts.iter().map(|burst| Line::more(&self.burst(burst)));
        bursts.chain(found.restarts.iter().map(|it| Line::more(&self.restart(it)))).collect()
    }

    fn time(&self, time: Timestamp) -> String {
        time.to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string()
    }

    fn burst(&self, Burst { time, resets, peer, causes, died }: &Burst) -> String {
        let mut text = format!("burst at {}: {resets} within two seconds", self.time(*time));
        if let Some((peer, most)) = peer {
            let all = if most == resets { "all".to_owned() } else { format!("{most}") };
            text += &format!(", {all} of them with {peer}");
        }
        let causes: Vec<_> = causes.iter().take(3).map(|(cause, n)| format!("{cause} {n}")).collect();
        text += &format!("; {}", causes.join(", "));
        if let Some(died) = died {
            text += &format!("; the process {died} of this host died then");
        }
        text
    }

    fn restart(&self, Restart { peer, time, resets, refusals }: &Restart) -> String {
        format!(
            "{peer}: its process probably died or restarted at {}: {resets} connections were reset within two seconds, \
             then {} refused",
            self.time(*time),
            count(*refusals, "attempt was", "attempts were")
        )
    }
}

/// One entry: what stands in the margin, and text that is wrapped beside it.
struct Line {
    margin: String,
    text: String,
}

impl Line {
    fn new(margin: String, text: &str) -> Self {
        Self { margin, text: printable(text).into_owned() }
    }

    fn more(text: &str) -> Self {
        Self::new(String::new(), text)
    }

    fn text(&self) -> String {
        let indent = " ".repeat(2 + if self.margin.is_empty() { 0 } else { self.margin.chars().count() + 2 });
        let mut wrapped = wrap(&self.text, &indent, WIDTH);
        wrapped.replace_range(..indent.len(), &format!("{:1$}", format!("  {}", self.margin), indent.len()));
        wrapped
    }
}

fn headline(found: &Diagnosis) -> String {
    let Diagnosis { node, scope, resets, sent, received, seen_at_both_ends: both, .. } = found;
    let watched = length(Duration::from_secs_f64(found.watched_seconds));
    let filtered = if found.filtered { ", filtered" } else { "" };
    let what = format!("{node}, {scope}{filtered}, watched for {watched}");
    if found.counted() == 0 {
        return format!("{what}: no resets");
    }
    let both = match both {
        0 => String::new(),
        both => format!("; {both} seen at both ends, counted once"),
    };
    format!("{what}: {} ({sent} sent, {received} received{both})", count(*resets, "reset", "resets"))
}

/// Whole per cent, never 0 for something and never 100 for less than all.
fn share(part: u64, all: u64) -> String {
    match part * 100 / all.max(1) {
        0 => " <1 %".to_owned(),
        percent => format!("{percent:3} %"),
    }
}

fn causes(found: &Diagnosis) -> Vec<Line> {
    let width = found.causes.first().map_or(0, |it| it.resets.to_string().len());
    let mut lines: Vec<_> = found.causes.iter().flat_map(|it| cause(it, found.counted(), width)).collect();
    if found.causes.len() > 1 {
        lines.push(Line::more(&format!("all: peer {}; here {}", list(&found.peers), list(&found.owners))));
    }
    lines
}

fn cause(it: &CauseFound, all: u64, width: usize) -> Vec<Line> {
    let margin = format!("{:width$}  {}", it.resets, share(it.resets, all));
    let blank = " ".repeat(margin.len());
    let sure: Vec<_> = it.confidence.iter().map(|(word, n)| (*n, *word)).collect();
    let sure = match &sure[..] {
        [(_, word)] => (*word).to_owned(),
        many => many.iter().map(|(n, word)| format!("{n} {word}")).collect::<Vec<_>>().join(", "),
    };
    let mut lines = vec![
        Line::new(margin, &format!("{}: {}", it.cause, it.cause.entry().brief)),
        Line::new(blank.clone(), &format!("{sure}; peer {}; here {}", list(&it.peers), list(&it.owners))),
    ];
    // What is unknown has nothing to show.
    if !it.because.is_empty() && it.cause != Cause::Unknown {
        lines.push(Line::new(blank, &format!("e.g. {}", it.because.join("; "))));
    }
    lines
}

/// `10.0.7.12:5432 (18), 10.0.7.13:5432 (2), others (3)`; a name alone needs no count, one in a hundred no name.
fn list(names: &Names) -> String {
    if let ([only], 0) = (&names.top[..], names.others) {
        return only.name.clone();
    }
    let all: u64 = names.top.iter().map(|it| it.resets).sum::<u64>() + names.others;
    let (named, rare): (Vec<_>, Vec<_>) = names.top.iter().partition(|it| it.resets * 100 >= all);
    let others = names.others + rare.iter().map(|it| it.resets).sum::<u64>();
    let others = (others > 0).then(|| if named.is_empty() { "many".to_owned() } else { format!("others ({others})") });
    let named = named.iter().map(|it| format!("{} ({})", it.name, it.resets));
    named.chain(others).collect::<Vec<_>>().join(", ")
}

fn when(timing: &TimingFound, together: Vec<Line>) -> Vec<Line> {
    let TimingFound { connecting, first_after_idle, into_silence, mid_transfer, not_seen } = *timing;
    let rows = [
        (first_after_idle, "the first operation after an idle gap met a connection that was dead already"),
        (mid_transfer, "mid-transfer: the connection was at work"),
        (into_silence, "into the silence: the connection was idle, and nothing provoked the reset"),
        (connecting, "while connecting: refused, no reset of a connection"),
        (not_seen, "not known: the times of the connection were not seen"),
    ];
    let width = rows.iter().map(|(n, _)| n.to_string().len()).max().unwrap_or(0);
    let mut rows: Vec<_> = rows.into_iter().filter(|(n, _)| *n > 0).collect();
    rows.sort_by_key(|(n, _)| std::cmp::Reverse(*n));
    rows.iter().map(|(n, text)| Line::new(format!("{n:width$}"), text)).chain(together).collect()
}

fn path(Ttl { equal, differing, not_seen, by_middlebox }: &Ttl) -> Vec<Line> {
    if equal + differing + not_seen == 0 {
        return Vec::new();
    }
    let unseen = if *not_seen > 0 { format!(", not seen {not_seen}") } else { String::new() };
    let meaning = match (by_middlebox, differing) {
        (0, 0) if *equal > 0 && *not_seen > 0 => "where seen, the peers' addresses can be believed".to_owned(),
        (0, 0) if *equal > 0 => "the peers' addresses can be believed".to_owned(),
        (0, 0) => "who sent them cannot be told by TTL".to_owned(),
        (0, _) => "none of it enough to blame a device on the path".to_owned(),
        (1, _) => "1 was made by a device on the path, in the peer's name".to_owned(),
        (n, _) => format!("{n} were made by a device on the path, in the peer's name"),
    };
    vec![Line::more(&format!(
        "TTL of received RSTs against the handshake's: equal {equal}, differing {differing}{unseen}; {meaning}"
    ))]
}

fn timeouts(brackets: &[IdleTimeout], own: &[OwnTimeout]) -> Vec<Line> {
    let theirs = brackets.iter().filter_map(|it| {
        let died = it.died?;
        let candidates = match it.candidates() {
            none if none.is_empty() => none,
            some => format!(" (candidates: {some})"),
        };
        let remedy = if died.device { "TCP keepalive" } else { "idle time in client pools" };
        let text = format!("{}: {remedy} must be below {}{candidates}: {}", it.peer, length(died.after), details(it));
        Some(Line::more(&text))
    });
    let ours = own.iter().map(|it| {
        let of = |seconds| length(Duration::from_secs_f64(seconds));
        Line::more(&format!(
            "{}, here, closes after {} of silence: its clients' pools must be below that; {} came back, after up to {}",
            it.owner,
            of(it.closed_after_seconds),
            count(it.resets, "client", "clients"),
            of(it.used_after_seconds)
        ))
    });
    theirs.chain(ours).collect()
}

fn pressure(change: &Change) -> Vec<Line> {
    let mut lines = Vec::new();
    if let (Some(overflows), Some(drops)) = (change.listen_overflows, change.listen_drops) {
        let fix = if overflows > 0 { format!(": {}", Cause::ListenOverflow.entry().fix) } else { String::new() };
        lines.push(Line::more(&format!(
            "accept queues: {}, {}{fix}",
            count(overflows, "overflow", "overflows"),
            count(drops, "drop", "drops")
        )));
    }
    if let (Some(entries), Some(limit)) = (change.conntrack_entries, change.conntrack_limit) {
        let drops = change.conntrack_drops.map_or(String::new(), |n| format!(", {}", count(n, "drop", "drops")));
        let evictions =
            change.conntrack_evictions.map_or(String::new(), |n| format!(", {}", count(n, "eviction", "evictions")));
        let tight = limit > 0 && entries > limit / 10 * 9 || change.conntrack_drops.unwrap_or(0) > 0;
        let fix = if tight { format!(": {}", Cause::ConntrackFull.entry().fix) } else { String::new() };
        lines.push(Line::more(&format!("conntrack: {entries} of {limit} entries{drops}{evictions}{fix}")));
    }
    lines
}

fn not_seen(found: &Diagnosis) -> Vec<Line> {
    let lost = found.unsampled_sent + found.unsampled_received;
    let mut lines = Vec::new();
    if lost > 0 {
        let ends =
            if found.unsampled_sent > 0 && found.unsampled_received > 0 { ", of some perhaps both ends" } else { "" };
        let before = if found.filtered { "; the filter was not asked of these" } else { "" };
        let text = format!(
            "{} ({} sent, {} received{ends}) were counted without details{before}: {}",
            count(lost, "more reset", "more resets"),
            found.unsampled_sent,
            found.unsampled_received,
            Cause::Unsampled.entry().fix
        );
        lines.push(Line::more(&text));
    }
    if found.peers_not_followed > 0 {
        let text = "of further peers, which were not followed through bursts and restarts: too many peers";
        lines.push(Line::more(&format!("{} {text}", count(found.peers_not_followed, "reset", "resets"))));
    }
    lines.extend(missing(&found.missing_probes).iter().map(|text| Line::more(text)));
    lines
}

/// What is lost, each with the probes that would show it.
fn missing(probes: &[Missing]) -> Vec<String> {
    let mut by_loss: Vec<(&str, Vec<&str>)> = Vec::new();
    for Missing { probe, lost, .. } in probes {
        match by_loss.iter_mut().find(|(known, _)| known == lost) {
            Some((_, names)) => names.push(probe),
            None => by_loss.push((lost, vec![probe])),
        }
    }
    let lines = by_loss.iter().map(|(lost, names)| format!("{lost} ({} missing)", names.join(", ")));
    let why = (!by_loss.is_empty()).then(|| "rstwatch check says why".to_owned());
    lines.chain(why).collect()
}

fn change_first(advice: &[Advice]) -> Vec<Line> {
    let line = |(index, it): (usize, &Advice)| {
        let what = format!("{} ({}): {}", it.what, count(it.resets, "reset", "resets"), it.advice);
        Line::new(format!("{}.", index + 1), &what)
    };
    advice.iter().enumerate().map(line).collect()
}
