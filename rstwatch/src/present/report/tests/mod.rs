//! Reports of made-up watches, by section.

mod advice;
mod bursts;
mod causes;
mod idle_timeouts;
mod pressure;

use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::pressure::Change;
use super::text::Page;
use super::*;
use rstwatch_verdict::cause::{Cause, Confidence, Direction, Sender};
use rstwatch_verdict::event::{Process, Role, Rst};
use rstwatch_verdict::testing::sample;
use rstwatch_verdict::timing::{Moment, Timer};

fn one_minute() -> Watch {
    Watch {
        node: "node-a".into(),
        scope: "every network namespace".into(),
        filtered: false,
        started: sample::idle_reaped().time,
        watched: Duration::from_secs(60),
        pressure: Change::default(),
    }
}

fn probes() -> Probes {
    Probes(Vec::new())
}

fn diagnosis(judged: &[Judged], filter: Filter, watch: Watch, counts: &KernelCounts, probes: &Probes) -> Diagnosis {
    let mut findings = Findings::new(filter, 100);
    judged.iter().for_each(|judged| findings.record(judged));
    findings.diagnosis(watch, counts, probes)
}

/// The diagnosis of a minute in which everything was seen.
fn found(judged: &[Judged]) -> Diagnosis {
    diagnosis(judged, Filter::default(), one_minute(), &KernelCounts::default(), &probes())
}

fn formatted(diagnosis: &Diagnosis) -> String {
    Page { colour: false, zone: TimeZone::UTC, out: String::new() }.write(diagnosis)
}

#[track_caller]
fn check(judged: &[Judged], expect: &Expect) {
    let text = formatted(&found(judged));
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    expect.assert_eq(&text);
}

fn at(judged: &Judged, ms: i64) -> Judged {
    let mut judged = judged.clone();
    judged.event.time += SignedDuration::from_millis(ms);
    judged
}

fn judged(direction: Direction, cause: Cause, sender: Sender, confidence: Confidence) -> Judged {
    sample::judged(sample::event(direction, cause, sender, confidence))
}

/// A reset of a client's connection in use.
fn busy(cause: Cause, ms: i64) -> Judged {
    let mut judged = at(&judged(Direction::Received, cause, Sender::Peer, Confidence::Likely), ms);
    judged.event.role = Role::Client;
    judged.timing.moment = Moment::Busy;
    judged.event.rst = Some(Rst { ttl: Some(63), ttl_expected: Some(63), ..Rst::default() });
    judged.event.process = Some(Process { pid: 7, comm: "cart".into() });
    judged.event.because = vec!["the peer aborted a live connection with 7 bytes of ours under way".into()];
    judged
}

fn refused(ms: i64) -> Judged {
    let mut judged = busy(Cause::Refused, ms);
    judged.timing.moment = Moment::Connecting;
    judged.event.because = vec!["the RST answered our SYN: nothing listens there, or a firewall rejects".into()];
    judged
}

#[test]
fn the_json_is_one_object() {
    let found = found(&[sample::judged_idle_reaped()]);
    let json = serde_json::to_string(&found).expect("JSON");
    assert!(!json.contains('\n'));
    expect![[r#"{"node":"node-a","scope":"every network namespace","filtered":false,"started":"2025-10-09T12:31:07.482Z","watched_seconds":60.0,"resets":1,"sent":0,"received":1,"seen_at_both_ends":0,"unsampled_sent":0,"unsampled_received":0,"causes":[{"cause":"idle_reaped","resets":1,"sent":0,"received":1,"confidence":{"likely":1},"candidates":[],"peers":{"top":[{"name":"10.0.7.12:5432","resets":1}],"others":0},"owners":{"top":[{"name":"pod shop/orders-7c9d","resets":1}],"others":0},"because":["idle 61.2 s before this request","peer's FIN came 1.2 s earlier"]}],"peers":{"top":[{"name":"10.0.7.12:5432","resets":1}],"others":0},"owners":{"top":[{"name":"pod shop/orders-7c9d","resets":1}],"others":0},"timing":{"connecting":0,"first_after_idle":1,"into_silence":0,"mid_transfer":0,"not_seen":0},"bursts":[],"restarts":[],"peers_not_followed":0,"ttl":{"equal":1,"differing":0,"not_seen":0,"by_middlebox":0},"timeouts":[{"peer":"10.0.7.12:5432","timeout":"at most 60.1 s","survived_seconds":null,"survived_count":0,"died":{"seconds":60.01,"exact":true,"repeated":false,"device":false},"reset_count":1,"closed_count":0,"refuted_count":0,"longest_use_seconds":61.24,"timeout_candidates":[{"seconds":60,"who":"AWS ALB"},{"seconds":60,"who":"AWS Classic Load Balancer"}],"last_seen":"2025-10-09T12:31:07.482Z"}],"own_timeouts":[],"pressure":{"listen_overflows":null,"listen_drops":null,"conntrack_entries":null,"conntrack_limit":null,"conntrack_drops":null,"conntrack_evictions":null},"missing_probes":[],"change_first":[{"what":"idle_reaped","direction":null,"resets":1,"advice":"keep pooled connections idle for less than 60.0 s (the timeout that was seen here; candidates: AWS ALB 60, nginx upstream 60); retry idempotent requests once"}]}"#]].assert_eq(&json);
}

proptest! {
    /// For any events, causes add up to the resets and no control character reaches the terminal.
    #[test]
    fn any_events_make_a_report(
        picks in prop::collection::vec((0..20_usize, any::<u8>(), 0..100_000_i64, "\\PC{0,6}|[\x00-\x1f]{1,3}"), 0..40),
    ) {
        let mut events = Vec::new();
        for (cause, bits, ms, name) in picks {
            let mut judged = busy(Cause::ALL[cause], ms);
            if bits & 1 != 0 {
                judged.event.direction = Direction::Sent;
            }
            judged.event.role = [Role::Client, Role::Server, Role::Unknown][usize::from(bits >> 1 & 3) % 3];
            judged.timing.moment = [Moment::Connecting, Moment::AfterIdle, Moment::Unseen][usize::from(bits >> 3 & 3) % 3];
            judged.event.process = (bits & 32 == 0).then(|| Process { pid: 1, comm: name.as_str().into() });
            judged.event.because = vec![name.into()];
            judged.timing.timer = Some(Timer { after: Duration::from_millis(ms.unsigned_abs()), exact: bits & 64 != 0 });
            events.push(judged);
        }
        let found = found(&events);
        prop_assert_eq!(found.resets, events.len() as u64);
        prop_assert_eq!(found.causes.iter().map(|it| it.resets).sum::<u64>(), found.resets);
        let text = formatted(&found);
        prop_assert!(!text.replace('\n', "").contains(char::is_control), "{text:?}");
        prop_assert!(serde_json::to_string(&found).is_ok());
    }
}
