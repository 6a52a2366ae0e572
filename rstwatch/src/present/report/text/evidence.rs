//! The sections on the evidence: timing, path, idle timeouts, and pressure on queues and tables.

use std::cmp::Reverse;
use std::time::Duration;

use super::line::Line;
use crate::present::report::diagnosis::{OwnTimeout, TimingCounts};
use crate::present::report::pressure::Change;
use crate::present::report::tally::Ttl;
use crate::present::timeouts::details;
use crate::stats::idle_timeouts::IdleTimeout;
use rstwatch_verdict::cause::Cause;
use rstwatch_verdict::text::{count, length};

/// When in the life of their connections the resets occurred, the most frequent first.
pub(super) fn timing(timing: &TimingCounts) -> Vec<Line> {
    let TimingCounts { connecting, first_after_idle, into_silence, mid_transfer, not_seen } = *timing;
    let rows = [
        (first_after_idle, "first operation after an idle period: the connection was already dead"),
        (mid_transfer, "mid-transfer: the connection was in use"),
        (into_silence, "while idle: the connection was idle, and nothing provoked the reset"),
        (connecting, "while connecting: the attempt was refused"),
        (not_seen, "unknown: the times of the connection were not seen"),
    ];
    let width = rows.iter().map(|(n, _)| n.to_string().len()).max().unwrap_or(0);
    let mut rows: Vec<_> = rows.into_iter().filter(|(n, _)| *n > 0).collect();
    rows.sort_by_key(|(n, _)| Reverse(*n));
    rows.iter().map(|(n, text)| Line::new(format!("{n:width$}"), text)).collect()
}

/// What the TTLs of received RSTs say about their senders.
pub(super) fn path(Ttl { equal, differing, not_seen, by_middlebox }: &Ttl) -> Vec<Line> {
    if equal + differing + not_seen == 0 {
        return Vec::new();
    }
    let unseen = if *not_seen > 0 { format!(", not seen {not_seen}") } else { String::new() };
    let meaning = match (by_middlebox, differing) {
        (0, 0) if *equal > 0 && *not_seen > 0 => {
            "where seen, consistent with RSTs from the peers themselves".to_owned()
        }
        (0, 0) if *equal > 0 => "consistent with RSTs from the peers themselves".to_owned(),
        (0, 0) => "the sender cannot be verified by TTL".to_owned(),
        (0, _) => "not enough evidence for a device on the path".to_owned(),
        (1, _) => "1 was sent by a device on the path, in the peer's name".to_owned(),
        (n, _) => format!("{n} were sent by a device on the path, in the peer's name"),
    };
    let text =
        format!("TTL of received RSTs and of the handshake: equal {equal}, different {differing}{unseen}; {meaning}");
    vec![Line::unmarked(&text)]
}

/// Timeouts of destinations, then those of servers on this host.
pub(super) fn timeouts(destinations: &[IdleTimeout], own: &[OwnTimeout]) -> Vec<Line> {
    let destinations = destinations.iter().filter_map(destination);
    destinations.chain(own.iter().map(own_timeout)).map(|text| Line::unmarked(&text)).collect()
}

fn destination(timeout: &IdleTimeout) -> Option<String> {
    let died = timeout.died?;
    let candidates = match timeout.candidates() {
        none if none.is_empty() => none,
        some => format!(" (candidates: {some})"),
    };
    let setting = if died.device { "TCP keepalive" } else { "idle time in client pools" };
    let after = length(died.after);
    Some(format!("{}: {setting} must be below {after}{candidates}: {}", timeout.peer, details(timeout)))
}

fn own_timeout(OwnTimeout { owner, resets, closed_after_seconds, used_after_seconds }: &OwnTimeout) -> String {
    let seconds = |seconds| length(Duration::from_secs_f64(seconds));
    let (closed_after, used_after) = (seconds(*closed_after_seconds), seconds(*used_after_seconds));
    let clients = count(*resets, "client", "clients");
    format!(
        "{owner}, on this host, closes connections that are idle for {closed_after}: idle time in its clients' pools must \
         be below that; {clients} used such a connection, after up to {used_after}"
    )
}

/// What the kernel counted during the watch, with the fix if there is pressure.
pub(super) fn pressure(change: &Change) -> Vec<Line> {
    accept_queues(change).into_iter().chain(conntrack(change)).map(|text| Line::unmarked(&text)).collect()
}

fn accept_queues(change: &Change) -> Option<String> {
    let (overflows, drops) = (change.listen_overflows?, change.listen_drops?);
    let fix = if overflows > 0 { format!(": {}", Cause::ListenOverflow.entry().fix) } else { String::new() };
    let (overflows, drops) = (count(overflows, "overflow", "overflows"), count(drops, "drop", "drops"));
    Some(format!("accept queues: {overflows}, {drops}{fix}"))
}

fn conntrack(change: &Change) -> Option<String> {
    let (entries, limit) = (change.conntrack_entries?, change.conntrack_limit?);
    let counted = |n: Option<u64>, one, many| n.map_or(String::new(), |n| format!(", {}", count(n, one, many)));
    let drops = counted(change.conntrack_drops, "drop", "drops");
    let evictions = counted(change.conntrack_evictions, "eviction", "evictions");
    let is_tight = limit > 0 && entries > limit / 10 * 9 || change.conntrack_drops.unwrap_or(0) > 0;
    let fix = if is_tight { format!(": {}", Cause::ConntrackFull.entry().fix) } else { String::new() };
    Some(format!("conntrack: {entries} of {limit} entries{drops}{evictions}{fix}"))
}
