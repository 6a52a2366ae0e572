//! Inferred idle timeouts as text, for `rstwatch timeouts` and `rstwatch report`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::stats::idle_timeouts::{Died, IdleTimeout};
use rstwatch_verdict::escape::printable;
use rstwatch_verdict::text::{count, length, wrap};

const WIDTH: usize = 96;

/// Everything that `rstwatch timeouts` prints. The order of the fields is that of the JSON object.
#[derive(Debug, Serialize)]
pub struct TimeoutList {
    /// Name of this host.
    pub node: Arc<str>,
    /// Which sockets were watched, as text.
    pub scope: String,
    /// How long they were watched.
    pub watched_seconds: f64,
    /// Whether idle periods that connections survive are measured on this host.
    pub survived_measured: bool,
    /// Destinations that were evicted because there were too many.
    pub forgotten: u64,
    /// What is known about each destination.
    pub destinations: Vec<IdleTimeout>,
}

/// Formats the list as text.
pub fn text(list: &TimeoutList) -> String {
    let TimeoutList { node, scope, watched_seconds, survived_measured, forgotten, destinations } = list;
    let summary = match destinations.len() as u64 {
        0 => "no connection ended or was used again after an idle period".to_owned(),
        n => count(n, "destination", "destinations"),
    };
    let watched = length(Duration::from_secs_f64(*watched_seconds));
    let mut out = wrap(&format!("{}, {scope}, watched for {watched}: {summary}", printable(node)), "", WIDTH);
    if !destinations.is_empty() {
        out += "\n";
    }
    let width = destinations.iter().map(|destination| destination.peer.to_string().len()).max().unwrap_or(0);
    for destination in destinations {
        _ = writeln!(out, "{:width$}  {}", destination.peer.to_string(), destination.timeout);
        out += &wrap(&details(destination), "    ", WIDTH);
        if !destination.timeout_candidates.is_empty() {
            out += &wrap(&format!("candidates: {}", printable(&destination.candidates())), "    ", WIDTH);
        }
    }
    if *forgotten > 0 {
        let text = "evicted: raise timeout_destinations in the configuration";
        out += &wrap(&format!("\n{} {text}", count(*forgotten, "destination", "destinations")), "", WIDTH);
    }
    if !survived_measured {
        out +=
            "\nIdle periods that connections survive cannot be measured on this host: only upper bounds are known.\n";
    }
    out
}

/// The observations behind an inferred timeout.
pub fn details(destination: &IdleTimeout) -> String {
    let times = |n| count(n, "time", "times");
    let mut parts = Vec::new();
    if let Some(survived) = destination.survived {
        parts.push(format!("survived up to {} ({})", length(survived), times(destination.survivals)));
    }
    if let Some(died) = destination.died {
        let how = match died {
            Died { repeated: true, .. } => "several died after the same time,",
            Died { exact: true, .. } => "died after",
            Died { exact: false, .. } => "found dead after",
        };
        parts.push(format!("{how} {}", length(died.after)));
    }
    if destination.resets > 0 {
        parts.push(count(destination.resets, "reset", "resets"));
    }
    if destination.closes > 0 {
        parts.push(format!("closed by the peer {}", times(destination.closes)));
    }
    if let Some(used) = destination.longest_use.filter(|used| destination.died.is_none_or(|died| *used > died.after)) {
        parts.push(format!("next use after up to {}", length(used)));
    }
    if destination.refuted > 0 {
        let why = "died earlier than others survived: not by a timeout, perhaps by a restart";
        parts.push(format!("{} of them {why}", destination.refuted));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use jiff::Timestamp;

    use super::*;
    use crate::kernel::gaps::PeerGaps;
    use crate::stats::idle_timeouts::IdleTimeouts;
    use rstwatch_verdict::testing::sample;
    use rstwatch_verdict::timing::Timer;

    fn list(idle_timeouts: &IdleTimeouts, survived_measured: bool) -> TimeoutList {
        TimeoutList {
            node: "node-a".into(),
            scope: "every network namespace".into(),
            watched_seconds: 60.0,
            survived_measured,
            forgotten: idle_timeouts.evicted(),
            destinations: idle_timeouts.all(),
        }
    }

    fn record_death(idle_timeouts: &mut IdleTimeouts, peer: &str, ms: u64, exact: bool) {
        let mut judged = sample::judged_idle_reaped();
        judged.event.remote = peer.parse().expect("an address");
        judged.timing.timer = Some(Timer { after: Duration::from_millis(ms), exact });
        judged.event.idle_ms = Some(61_240);
        idle_timeouts.record(&judged);
    }

    #[test]
    fn each_destination_has_its_observations() {
        let mut idle_timeouts = IdleTimeouts::new(3);
        let survived = |peer: &str, ms| PeerGaps {
            peer: peer.parse().expect("an address"),
            netns: 1,
            survived: Some(Duration::from_millis(ms)),
            survived_count: 3,
            closed: None,
            closed_count: 0,
        };
        for ms in [60_010, 60_014, 10_000] {
            record_death(&mut idle_timeouts, "10.0.7.12:5432", ms, true);
        }
        record_death(&mut idle_timeouts, "[2001:db8::1]:443", 61_240, false);
        let gaps = [survived("10.0.7.12:5432", 58_900), survived("10.0.9.9:80", 20_000)];
        idle_timeouts.absorb(&gaps, Timestamp::UNIX_EPOCH);
        record_death(&mut idle_timeouts, "10.0.7.12:5432", 60_020, true);
        record_death(&mut idle_timeouts, "10.0.7.15:5432", 60_020, true);
        expect![[r#"
            node-a, every network namespace, watched for 60.0 s: 3 destinations

            10.0.7.12:5432  60.0 s
                survived up to 58.9 s (3 times); several died after the same time, 60.0 s; 4 resets; next
                use after up to 61.2 s; 1 of them died earlier than others survived: not by a timeout,
                perhaps by a restart
                candidates: AWS ALB 60, AWS Classic Load Balancer 60
            10.0.7.15:5432  at most 60.1 s
                died after 60.0 s; 1 reset; next use after up to 61.2 s
                candidates: AWS ALB 60, AWS Classic Load Balancer 60
            10.0.9.9:80     longer than 20.0 s
                survived up to 20.0 s (3 times)
            1 destination evicted: raise timeout_destinations in the configuration
        "#]]
        .assert_eq(&text(&list(&idle_timeouts, true)));
    }

    #[test]
    fn an_empty_list_says_so() {
        expect![[r#"
            node-a, every network namespace, watched for 60.0 s: no connection ended or was used again after
            an idle period

            Idle periods that connections survive cannot be measured on this host: only upper bounds are known.
        "#]]
        .assert_eq(&text(&list(&IdleTimeouts::new(3), false)));
    }
}
