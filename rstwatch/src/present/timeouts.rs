//! The list of inferred idle timeouts, for `rstwatch timeouts` and for reports.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::stats::idle_timeouts::{Died, IdleTimeout};
use rstwatch_verdict::escape::printable;
use rstwatch_verdict::text::{count, length, wrap};

const WIDTH: usize = 96;

/// All that is printed; the field order is the JSON order.
#[derive(Debug, Serialize)]
pub struct Found {
    /// Host name, or `--node-name`.
    pub node: Arc<str>,
    /// What was watched, in words.
    pub scope: String,
    /// For how long.
    pub watched_seconds: f64,
    /// Whether silences that connections survived are measured here.
    pub survived_measured: bool,
    /// Destinations that had to make room for others.
    pub forgotten: u64,
    /// What is known of each.
    pub destinations: Vec<IdleTimeout>,
}

/// The list for people.
pub fn text(found: &Found) -> String {
    let Found { node, scope, watched_seconds, survived_measured, forgotten, destinations } = found;
    let known = match destinations.len() as u64 {
        0 => "no idle connection of this host was seen to die or to go on".to_owned(),
        n => count(n, "destination", "destinations"),
    };
    let watched = length(Duration::from_secs_f64(*watched_seconds));
    let mut out = wrap(&format!("{}, {scope}, watched for {watched}: {known}", printable(node)), "", WIDTH);
    if !destinations.is_empty() {
        out += "\n";
    }
    let width = destinations.iter().map(|it| it.peer.to_string().len()).max().unwrap_or(0);
    for bracket in destinations {
        _ = writeln!(out, "{:width$}  {}", bracket.peer.to_string(), bracket.timeout);
        out += &wrap(&details(bracket), "    ", WIDTH);
        if !bracket.timeout_candidates.is_empty() {
            out += &wrap(&format!("candidates: {}", printable(&bracket.candidates())), "    ", WIDTH);
        }
    }
    if *forgotten > 0 {
        let text = "had to make room: raise timeout_destinations in the configuration";
        out += &wrap(&format!("\n{} {text}", count(*forgotten, "destination", "destinations")), "", WIDTH);
    }
    if !survived_measured {
        out += "\nSilences that connections survive are not measured here: only upper bounds are known.\n";
    }
    out
}

/// What the bracket rests on.
pub fn details(bracket: &IdleTimeout) -> String {
    let times = |n| count(n, "time", "times");
    let mut parts = Vec::new();
    if let Some(survived) = bracket.survived {
        parts.push(format!("survived up to {} ({})", length(survived), times(bracket.survivals)));
    }
    if let Some(died) = bracket.died {
        let how = match died {
            Died { repeated: true, .. } => "several died alike, after",
            Died { exact: true, .. } => "died after",
            Died { exact: false, .. } => "found dead after",
        };
        parts.push(format!("{how} {}", length(died.after)));
    }
    if bracket.resets > 0 {
        parts.push(count(bracket.resets, "reset", "resets"));
    }
    if bracket.closes > 0 {
        parts.push(format!("closed by the peer {}", times(bracket.closes)));
    }
    if let Some(used) = bracket.longest_use.filter(|used| bracket.died.is_none_or(|died| *used > died.after)) {
        parts.push(format!("used after up to {}", length(used)));
    }
    if bracket.refuted > 0 {
        let why = "died sooner than others survived: no timeout did that, a restart perhaps";
        parts.push(format!("{} of them {why}", bracket.refuted));
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

    fn found(bounds: &IdleTimeouts, survived_measured: bool) -> Found {
        Found {
            node: "node-a".into(),
            scope: "every network namespace".into(),
            watched_seconds: 60.0,
            survived_measured,
            forgotten: bounds.evicted(),
            destinations: bounds.all(),
        }
    }

    fn death(bounds: &mut IdleTimeouts, peer: &str, ms: u64, exact: bool) {
        let mut judged = sample::judged_idle_reaped();
        judged.event.remote = peer.parse().expect("an address");
        judged.timing.timer = Some(Timer { after: Duration::from_millis(ms), exact });
        judged.event.idle_ms = Some(61_240);
        bounds.record(&judged);
    }

    #[test]
    fn the_list_reads_well() {
        let mut bounds = IdleTimeouts::new(3);
        let survived = |peer: &str, ms| PeerGaps {
            peer: peer.parse().expect("an address"),
            netns: 1,
            survived: Some(Duration::from_millis(ms)),
            survived_count: 3,
            closed: None,
            closed_count: 0,
        };
        for ms in [60_010, 60_014, 10_000] {
            death(&mut bounds, "10.0.7.12:5432", ms, true);
        }
        death(&mut bounds, "[2001:db8::1]:443", 61_240, false);
        let gaps = [survived("10.0.7.12:5432", 58_900), survived("10.0.9.9:80", 20_000)];
        bounds.absorb(&gaps, Timestamp::UNIX_EPOCH);
        death(&mut bounds, "10.0.7.12:5432", 60_020, true);
        death(&mut bounds, "10.0.7.15:5432", 60_020, true);
        expect![[r#"
            node-a, every network namespace, watched for 60.0 s: 3 destinations

            10.0.7.12:5432  60.0 s
                survived up to 58.9 s (3 times); several died alike, after 60.0 s; 4 resets; used after up
                to 61.2 s; 1 of them died sooner than others survived: no timeout did that, a restart
                perhaps
                candidates: AWS ALB 60, nginx upstream keepalive 60, .NET HttpClient 60, AWS Classic Load
                Balancer 60
            10.0.7.15:5432  at most 60.1 s
                died after 60.0 s; 1 reset; used after up to 61.2 s
                candidates: AWS ALB 60, nginx upstream keepalive 60, .NET HttpClient 60, AWS Classic Load
                Balancer 60
            10.0.9.9:80     longer than 20.0 s
                survived up to 20.0 s (3 times)
            1 destination had to make room: raise timeout_destinations in the configuration
        "#]]
        .assert_eq(&text(&found(&bounds, true)));
    }

    #[test]
    fn nothing_seen_is_said() {
        expect![[r#"
            node-a, every network namespace, watched for 60.0 s: no idle connection of this host was seen to
            die or to go on

            Silences that connections survive are not measured here: only upper bounds are known.
        "#]]
        .assert_eq(&text(&found(&IdleTimeouts::new(3), false)));
    }
}
