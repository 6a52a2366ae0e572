//! Verdicts as text: up to five lines each, as `rstwatch trace` prints them.

use std::borrow::Cow;
use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use rstwatch_verdict::cause::Direction;
use rstwatch_verdict::escape::printable;
use rstwatch_verdict::event::{Event, Process, RemoteWorkload, Role, Rst, Workload, WorkloadKind};
use rstwatch_verdict::explain::guidance;
use rstwatch_verdict::judged::Judged;
use rstwatch_verdict::text::seconds;

/// Shorter gaps occur in any busy connection, so they are not shown as idle times.
const PAUSE_MS: u64 = 100;

/// Formats events as text. Fields that were not seen are omitted.
#[derive(Clone, Debug)]
pub struct Renderer {
    colour: bool,
    /// `None`: the host's time zone is unknown; times are in UTC and marked with Z.
    zone: Option<TimeZone>,
}

impl Renderer {
    /// A renderer with the host's time zone.
    pub fn new(colour: bool) -> Self {
        Self { colour, zone: TimeZone::try_system().ok() }
    }

    /// Formats one event: time and verdict, evidence, the causes that remain, what would decide, advice. Ends with a newline.
    pub fn event(&self, Judged { event, timing, .. }: &Judged) -> String {
        let time = self.time(event.time);
        let indent = " ".repeat(time.len() + 2);
        let mut out = format!("{time}  {}\n", self.verdict(event));
        let guidance = guidance(event, timing.timer).map(|text| text.map(|text| printable(&text).into_owned()));
        let [remaining, decide, advice] = guidance;
        let advice = advice.map(|advice| self.paint("2", &advice));
        for line in [evidence(event), remaining, decide, advice].into_iter().flatten() {
            _ = writeln!(out, "{indent}{line}");
        }
        out
    }

    fn verdict(&self, event: &Event) -> String {
        let Event { direction, cause, sender, confidence, local, remote, .. } = event;
        let arrow = match direction {
            Direction::Received => "<-",
            Direction::Sent => "->",
        };
        let cause = self.paint("1", cause.as_str());
        format!("{direction:8}  {local} {arrow} {remote}  {cause}  {confidence}, by {sender}")
    }

    fn time(&self, time: Timestamp) -> String {
        match &self.zone {
            Some(zone) => time.to_zoned(zone.clone()).strftime("%H:%M:%S.%3f").to_string(),
            None => time.strftime("%H:%M:%S.%3fZ").to_string(),
        }
    }

    fn paint(&self, sgr: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{sgr}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Owner, remote workload and evidence; `None` if all are unknown.
fn evidence(event: &Event) -> Option<String> {
    let parts = [subject(event), remote(event).unwrap_or_default(), findings(event)];
    let line = parts.iter().filter(|part| !part.is_empty()).map(|part| printable(part)).collect::<Vec<_>>().join("  ");
    (!line.is_empty()).then_some(line)
}

fn subject(event: &Event) -> String {
    let process = event.process.as_ref().map(|Process { pid, comm }| format!("{comm}[{pid}]"));
    let parts: Vec<_> =
        [process, event.workload.as_ref().and_then(|workload| owner(workload, event))].into_iter().flatten().collect();
    match (parts.is_empty(), event.role) {
        (false, _) => parts.join(" "),
        (true, Role::Client) => "client".to_owned(),
        (true, Role::Server) => "server".to_owned(),
        (true, Role::Unknown) => String::new(),
    }
}

/// `pod shop/orders-7c9d`; `None` if it repeats the process.
fn owner(workload: &Workload, event: &Event) -> Option<String> {
    // A unit or a pod with the same name as its process is still additional information.
    let repeats = event.process.as_ref().is_some_and(|process| process.comm == workload.name);
    (workload.kind != WorkloadKind::Process || !repeats).then(|| named(workload))
}

/// `pod shop/orders-7c9d`, `unit nginx.service`.
pub fn named(Workload { kind, namespace, name, .. }: &Workload) -> String {
    let namespace = namespace.as_ref().map_or(String::new(), |namespace| format!("{namespace}/"));
    format!("{} {namespace}{name}", kind.as_str())
}

/// `to service shop/db`: the workload at the remote address.
fn remote(event: &Event) -> Option<String> {
    let RemoteWorkload { kind, namespace, name } = event.remote_workload.as_deref()?;
    let preposition = match event.role {
        Role::Client => "to",
        Role::Server => "from",
        Role::Unknown => "with",
    };
    let namespace = namespace.as_ref().map_or(String::new(), |namespace| format!("{namespace}/"));
    Some(format!("{preposition} {} {namespace}{name}", kind.as_str()))
}

/// The verdict's sentences, and idle time and TTL unless a sentence mentions them.
fn findings(event: &Event) -> String {
    let mentions = |words: &str| event.because.iter().any(|sentence| sentence.contains(words));
    let gap = event.idle_ms.filter(|idle_ms| *idle_ms >= PAUSE_MS);
    let idle = gap.map(seconds).filter(|idle| !mentions(idle)).map(|idle| format!("idle {idle}"));
    let ttl = event.rst.as_ref().filter(|_| !mentions("TTL")).and_then(ttl);
    let because = event.because.iter().map(|sentence| Cow::Borrowed(&**sentence));
    idle.map(Cow::Owned).into_iter().chain(because).chain(ttl.map(Cow::Owned)).collect::<Vec<_>>().join("; ")
}

fn ttl(rst: &Rst) -> Option<String> {
    match (rst.ttl, rst.ttl_expected) {
        (Some(ttl), Some(expected)) if ttl == expected => Some(format!("RST TTL {ttl} = handshake {expected}")),
        (Some(ttl), Some(expected)) => Some(format!("RST TTL {ttl}, handshake {expected}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::{Expect, expect};

    use super::*;
    use rstwatch_verdict::cause::{Cause, Confidence, Sender};
    use rstwatch_verdict::event::RemoteKind;
    use rstwatch_verdict::testing::sample;

    #[track_caller]
    fn check(event: &Event, expect: &Expect) {
        let renderer = Renderer { colour: false, zone: Some(TimeZone::UTC) };
        expect.assert_eq(&renderer.event(&sample::judged(event.clone())));
    }

    #[test]
    fn the_example_of_the_documentation() {
        let renderer = Renderer { colour: false, zone: Some(TimeZone::UTC) };
        expect![[r#"
            12:31:07.482  received  10.0.3.41:48732 <- 10.0.7.12:5432  idle_reaped  likely, by peer
                          orders-api[4121] pod shop/orders-7c9d  idle 61.2 s before this request; peer's FIN came 1.2 s earlier; RST TTL 63 = handshake 63
                          keep pooled connections idle for less than 60.0 s (the timeout that was seen here; candidates: AWS ALB 60, nginx upstream 60); retry idempotent requests once
        "#]]
        .assert_eq(&renderer.event(&sample::judged_idle_reaped()));
    }

    #[test]
    fn a_family_reads_as_a_sentence_and_a_next_step() {
        let mut event = sample::event(Direction::Received, Cause::PeerAbort, Sender::Peer, Confidence::Likely);
        event.candidates = [Cause::UnreadData, Cause::LingerAbort, Cause::ProcessDied].into();
        event.because = vec!["a live socket of the peer sent the RST while the connection was in use".into()];
        event.decide = Some("rstwatch on 10.0.7.12 would tell".into());
        // Too short to be an idle time.
        event.idle_ms = Some(99);
        check(
            &event,
            &expect![[r#"
            12:31:07.482  received  10.0.3.41:48732 <- 10.0.7.12:5432  peer_abort  likely, by peer
                          a live socket of the peer sent the RST while the connection was in use
                          the peer ended it: most plausibly data left unread, else an abort on purpose, or its process died
                          rstwatch on 10.0.7.12 would tell
        "#]],
        );
    }

    #[test]
    fn what_was_not_seen_is_left_out() {
        check(
            &sample::event(Direction::Sent, Cause::Unknown, Sender::LocalKernel, Confidence::Guess),
            &expect![[r#"
            12:31:07.482  sent      10.0.3.41:48732 -> 10.0.7.12:5432  unknown  guess, by local_kernel
        "#]],
        );
        let mut event = sample::event(Direction::Sent, Cause::Mptcp, Sender::Peer, Confidence::Certain);
        (event.role, event.idle_ms) = (Role::Server, Some(850));
        check(
            &event,
            &expect![[r#"
            12:31:07.482  sent      10.0.3.41:48732 -> 10.0.7.12:5432  mptcp  certain, by peer
                          server  idle 850 ms
        "#]],
        );
    }

    #[test]
    fn addresses_owners_and_ttl() {
        let mut event =
            sample::event(Direction::Received, Cause::MiddleboxInjected, Sender::Middlebox, Confidence::Likely);
        event.local = "[2001:db8::1]:40000".parse().expect("an address");
        event.process = Some(Process { pid: 7, comm: "curl".into() });
        event.workload = Some(sample::workload(WorkloadKind::Process, "", "curl"));
        event.rst = Some(Rst { ttl: Some(64), ttl_expected: Some(57), ..Rst::default() });
        check(
            &event,
            &expect![[r#"
                12:31:07.482  received  [2001:db8::1]:40000 <- 10.0.7.12:5432  middlebox_injected  likely, by middlebox
                              curl[7]  RST TTL 64, handshake 57
                              find the firewall or IPS: the RST's TTL tells its distance; on this link tcpdump -e shows its MAC address
            "#]],
        );
        event.workload = Some(sample::workload(WorkloadKind::Unit, "", "cron.service"));
        event.because = vec!["RST TTL 64 was never decremented".into()];
        check(
            &event,
            &expect![[r#"
                12:31:07.482  received  [2001:db8::1]:40000 <- 10.0.7.12:5432  middlebox_injected  likely, by middlebox
                              curl[7] unit cron.service  RST TTL 64 was never decremented
                              find the firewall or IPS: the RST's TTL tells its distance; on this link tcpdump -e shows its MAC address
            "#]],
        );
    }

    #[test]
    fn the_remote_workload_is_named() {
        let other = |namespace: Option<&str>, name: &str| RemoteWorkload {
            kind: if namespace.is_some() { RemoteKind::Service } else { RemoteKind::Node },
            namespace: namespace.map(Into::into),
            name: name.into(),
        };
        let mut event = sample::event(Direction::Sent, Cause::Unknown, Sender::LocalKernel, Confidence::Guess);
        event.role = Role::Client;
        event.process = Some(Process { pid: 7, comm: "curl".into() });
        event.remote_workload = Some(Arc::new(other(Some("shop"), "db\n")));
        check(
            &event,
            &expect![[r#"
            12:31:07.482  sent      10.0.3.41:48732 -> 10.0.7.12:5432  unknown  guess, by local_kernel
                          curl[7]  to service shop/db\n
        "#]],
        );
        event.role = Role::Server;
        event.remote_workload = Some(Arc::new(other(None, "node-b")));
        check(
            &event,
            &expect![[r#"
            12:31:07.482  sent      10.0.3.41:48732 -> 10.0.7.12:5432  unknown  guess, by local_kernel
                          curl[7]  from node node-b
        "#]],
        );
    }

    #[test]
    fn owners_are_named_unless_they_repeat_the_process() {
        let mut event = sample::event(Direction::Sent, Cause::UnreadData, Sender::LocalApp, Confidence::Certain);
        event.process = Some(Process { pid: 12, comm: "nginx".into() });
        for (kind, name, expected) in [
            (WorkloadKind::Process, "nginx", "nginx[12]"),
            (WorkloadKind::Unit, "nginx.service", "nginx[12] unit nginx.service"),
            (WorkloadKind::Container, "1a2b3c4d5e6f", "nginx[12] container 1a2b3c4d5e6f"),
            (WorkloadKind::Container, "nginx", "nginx[12] container nginx"),
            (WorkloadKind::Pod, "_opted_out", "nginx[12] pod _opted_out"),
        ] {
            event.workload = Some(sample::workload(kind, "", name));
            assert_eq!(subject(&event), expected);
        }
    }

    #[test]
    fn untrusted_strings_cannot_control_the_terminal() {
        let mut event = sample::idle_reaped();
        event.process = Some(Process { pid: 1, comm: "\x1b[2J\nx".into() });
        event.workload = Some(sample::workload(WorkloadKind::Pod, "a\x07", "b\u{202e}"));
        event.because = vec!["closed by \x1b]0;t\x07".into()];
        event.timeout_candidates[0].who = "\x1b[31m".into();
        let text = Renderer { colour: false, zone: None }.event(&sample::judged(event));
        assert!(!text.replace('\n', "").contains(char::is_control), "{text:?}");
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    #[test]
    fn without_a_time_zone_times_are_marked_as_utc() {
        let text = Renderer { colour: true, zone: None }.event(&sample::judged_idle_reaped());
        assert!(text.starts_with("12:31:07.482Z  received"), "{text}");
        assert!(text.contains("\x1b[1midle_reaped\x1b[0m"), "{text}");
    }
}
