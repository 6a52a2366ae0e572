use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::diagnosis::Watch;
use super::pressure::Change;
use super::text::Page;
use super::*;
use crate::kernel::probe::{Probe, Status};
use crate::stats::aggregate::LossStage;
use rstwatch_verdict::cause::{Cause, Confidence, Direction, Sender};
use rstwatch_verdict::event::{Process, Role, Rst};
use rstwatch_verdict::testing::sample;
use rstwatch_verdict::timing::{Moment, Timer, Timing};

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

fn formatted(diagnosis: &Diagnosis) -> String {
    Page { colour: false, zone: TimeZone::UTC, out: String::new() }.write(diagnosis)
}

#[track_caller]
fn check(judged: &[Judged], expect: &Expect) {
    let text = formatted(&diagnosis(judged, Filter::default(), one_minute(), &KernelCounts::default(), &probes()));
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
fn a_watch_without_resets_says_what_was_watched() {
    let mut quiet = one_minute();
    quiet.scope = "network namespace /run/netns/a\\n".into();
    quiet.pressure = Change {
        listen_overflows: Some(0),
        listen_drops: Some(0),
        conntrack_entries: Some(12),
        conntrack_limit: Some(262_144),
        ..Change::default()
    };
    let text = formatted(&diagnosis(&[], Filter::default(), quiet, &KernelCounts::default(), &probes()));
    expect![[r#"
        node-a, network namespace /run/netns/a\n, watched for 60.0 s: no resets

        pressure, in the network namespace of this command
          accept queues: 0 overflows, 0 drops
          conntrack: 12 of 262144 entries
    "#]]
    .assert_eq(&text);
}

/// From one end alone: which causes remain, how often each, and what would decide.
#[test]
fn a_family_lists_its_candidates_and_the_next_step() {
    let family = |ms, candidates: &[Cause]| {
        let mut judged = busy(Cause::PeerAbort, ms);
        judged.event.candidates = candidates.iter().copied().collect();
        judged.event.decide = Some("rstwatch on 10.0.7.12 would tell".into());
        judged
    };
    let events = [
        family(500, &[Cause::UnreadData, Cause::LingerAbort, Cause::ProcessDied]),
        family(9_000, &[Cause::LingerAbort, Cause::IdleReaped]),
    ];
    check(
        &events,
        &expect![[r#"
            node-a, every network namespace, watched for 60.0 s: 2 resets (0 sent, 2 received)

            causes
              2  100 %  peer_abort: a live socket of the peer ended the connection
                        likely; peer 10.0.7.12:5432; here cart
                        may be: an abort on purpose (2), data left unread (1), an idle timer (1), its
                        process died (1)
                        e.g. the peer aborted a live connection with 7 bytes of ours under way

            when
              2  mid-transfer: the connection was in use

            path
              TTL of received RSTs and of the handshake: equal 2, different 0; consistent with RSTs from the
              peers themselves

            change first
              1.  peer_abort (2 resets): rstwatch on 10.0.7.12 would tell
        "#]],
    );
}

/// A common case: connection pools keep connections longer than the server does.
#[test]
fn connections_reaped_at_a_steady_rate() {
    let mut events = Vec::new();
    for minute in 0..9 {
        let mut judged = at(&sample::judged_idle_reaped(), minute * 6_000);
        judged.timing.timer = Some(Timer { after: Duration::from_millis(60_010 + minute.unsigned_abs()), exact: true });
        judged.event.remote.set_port(if minute == 8 { 6432 } else { 5432 });
        events.push(judged);
    }
    events.push(busy(Cause::UnreadData, 500));
    check(
        &events,
        &expect![[r#"
            node-a, every network namespace, watched for 60.0 s: 10 resets (0 sent, 10 received)

            causes
              9   90 %  idle_reaped: the idle connection was used after its other end had closed it
                        likely; peer 10.0.7.12:5432 (8), 10.0.7.12:6432 (1); here pod shop/orders-7c9d
                        e.g. idle 61.2 s before this request; peer's FIN came 1.2 s earlier
              1   10 %  unread_data: close() with received data unread
                        likely; peer 10.0.7.12:5432; here cart
                        e.g. the peer aborted a live connection with 7 bytes of ours under way
              all: peer 10.0.7.12:5432 (9), 10.0.7.12:6432 (1); here pod shop/orders-7c9d (9), cart (1)

            when
              9  first operation after an idle period: the connection was already dead
              1  mid-transfer: the connection was in use

            path
              TTL of received RSTs and of the handshake: equal 10, different 0; consistent with RSTs from
              the peers themselves

            idle timeouts
              10.0.7.12:5432: idle time in client pools must be below 60.0 s (candidates: AWS ALB 60, AWS
              Classic Load Balancer 60): several died after the same time, 60.0 s; 8 resets; next use after
              up to 61.2 s
              10.0.7.12:6432: idle time in client pools must be below 60.0 s (candidates: AWS ALB 60, AWS
              Classic Load Balancer 60): died after 60.0 s; 1 reset; next use after up to 61.2 s

            change first
              1.  idle_reaped (9 resets): 10.0.7.12:5432 (8 of them): keep pooled connections idle for less
                  than 60.0 s (the timeout that was seen here; candidates: AWS ALB 60, nginx upstream 60);
                  retry idempotent requests once
              2.  unread_data (1 reset): find out why the server stopped reading: a limit, a timeout, a
                  cancelled request; its last message may say
        "#]],
    );
}

/// A peer's process ends with connections open; then nothing listens on its port.
#[test]
fn a_restart_is_inferred_from_a_burst_and_later_refusals() {
    let mut events: Vec<_> = (0..5).map(|n| busy(Cause::UnreadData, 10_000 + n * 90)).collect();
    events.extend((0..3).map(|n| refused(11_000 + n * 400)));
    check(
        &events,
        &expect![[r#"
            node-a, every network namespace, watched for 60.0 s: 8 resets (0 sent, 8 received)

            causes
              5   62 %  unread_data: close() with received data unread
                        likely; peer 10.0.7.12:5432; here cart
                        e.g. the peer aborted a live connection with 7 bytes of ours under way
              3   37 %  refused: RST answered a SYN: nothing listens there
                        likely; peer 10.0.7.12:5432; here cart
                        e.g. the RST answered our SYN: nothing listens there, or a firewall rejects
              all: peer 10.0.7.12:5432; here cart

            when
              5  mid-transfer: the connection was in use
              3  while connecting: the attempt was refused
              burst at 12:31:17: 5 resets within two seconds, all of them with 10.0.7.12:5432; unread_data 5
              10.0.7.12:5432: its process probably died or restarted at 12:31:17: 5 connections were reset
              within two seconds, then 3 attempts were refused

            path
              TTL of received RSTs and of the handshake: equal 5, different 0; consistent with RSTs from the
              peers themselves

            change first
              1.  restart of 10.0.7.12:5432 (5 resets): there: drain connections on SIGTERM before exit; if
                  it was not a shutdown, investigate the crash
        "#]],
    );
    // Without later refusals, with earlier ones only, or with resets spread over time, no restart is inferred.
    let together: Vec<_> = (0..5).map(|n| busy(Cause::UnreadData, 10_000 + n * 90)).collect();
    let before = [vec![refused(9_000)], together.clone()].concat();
    let spread: Vec<_> = (0..5).map(|n| busy(Cause::UnreadData, n * 2_100)).chain([refused(11_000)]).collect();
    for events in [together, before, spread] {
        let found = diagnosis(&events, Filter::default(), one_minute(), &KernelCounts::default(), &probes());
        assert_eq!(found.restarts, []);
    }
}

/// A local process is killed, and its peers are local too: each reset counts once.
#[test]
fn both_ends_on_this_host_count_once() {
    let mut events = Vec::new();
    for n in 0..4 {
        let mut sent = at(&judged(Direction::Sent, Cause::ProcessDied, Sender::LocalApp, Confidence::Certain), n * 10);
        sent.event.role = Role::Server;
        sent.event.process = Some(Process { pid: 9, comm: "worker\x1b[2J".into() });
        sent.event.because = vec!["its process was killed by signal 9".into()];
        sent.timing.moment = Moment::Busy;
        let mut received = busy(Cause::ProcessDied, n * 10);
        received.timing = Timing { repeats_sent: true, ..received.timing };
        events.extend([received, sent]);
    }
    check(
        &events,
        &expect![[r#"
            node-a, every network namespace, watched for 60.0 s: 4 resets (4 sent, 4 received; 4 seen at
            both ends, counted once)

            causes
              4  100 %  process_died: the owning process crashed, was killed or exited with the connection
                        open
                        certain; peer 10.0.7.12; here worker\u{1b}[2J
                        e.g. its process was killed by signal 9

            when
              4  mid-transfer: the connection was in use
              burst at 12:31:07: 4 resets within two seconds, all of them with 10.0.7.12; process_died 4;
              the local process worker\u{1b}[2J died at that time

            path
              TTL of received RSTs and of the handshake: equal 4, different 0; consistent with RSTs from the
              peers themselves

            change first
              1.  process_died (4 resets): drain connections on SIGTERM before exit; if it was not a
                  shutdown, investigate the crash
        "#]],
    );
    let filter = Filter { direction: Some(Direction::Received), ..Filter::default() };
    let found = diagnosis(&events, filter, one_minute(), &KernelCounts::default(), &probes());
    assert_eq!((found.resets, found.sent, found.seen_at_both_ends), (4, 0, 0), "the other end is filtered out");
}

#[test]
fn losses_pressure_and_missing_probes_are_reported() {
    let mut watch = one_minute();
    watch.filtered = true;
    watch.pressure = Change {
        listen_overflows: Some(17),
        listen_drops: Some(19),
        conntrack_entries: Some(260_000),
        conntrack_limit: Some(262_144),
        conntrack_drops: Some(3),
        conntrack_evictions: Some(1),
    };
    let counts = KernelCounts {
        resets: Vec::new(),
        undelivered: vec![(Direction::Sent, LossStage::RingFull, 5), (Direction::Received, LossStage::RateLimited, 2)],
        untracked: 0,
    };
    let probe = |name, attached| Probe {
        name,
        required: false,
        status: if attached { Status::Attached } else { Status::Missing { why: "fentry is refused\x07".into() } },
        evidence: "firewall rejects",
    };
    let probes = Probes(vec![probe("nf_send_reset", false), probe("kfree_skb", true)]);
    let mut device = busy(Cause::MiddleboxIdle, 0);
    device.event.sender = Sender::Middlebox;
    device.event.idle_ms = Some(352_000);
    device.timing = Timing {
        moment: Moment::AfterIdle,
        timer: Some(Timer { after: Duration::from_secs(352), exact: false }),
        repeats_sent: false,
    };
    device.event.rst = Some(Rst { ttl: Some(64), ttl_expected: Some(57), ..Rst::default() });
    device.event.because = vec!["not sent by the peer's own stack: TTL 64 was not decremented by any hop".into()];
    expect![[r#"
        node-a, every network namespace, filtered, watched for 60.0 s: 1 reset (0 sent, 1 received)

        causes
          1   12 %  middlebox_idle: a device on the path dropped its state for the idle connection and
                    reset it
                    likely; peer 10.0.7.12:5432; here cart
                    e.g. not sent by the peer's own stack: TTL 64 was not decremented by any hop

        when
          1  first operation after an idle period: the connection was already dead

        path
          TTL of received RSTs and of the handshake: equal 0, different 1; 1 was sent by a device on the
          path, in the peer's name

        idle timeouts
          10.0.7.12:5432: TCP keepalive must be below 352.0 s (candidates: AWS NLB 350, AWS NAT gateway
          350, AWS security group (newest Nitro) 350): found dead after 352.0 s; 1 reset

        pressure, in the network namespace of this command
          accept queues: 17 overflows, 19 drops: add capacity so that the server accepts faster; raise
          its backlog and net.core.somaxconn
          conntrack: 260000 of 262144 entries, 3 drops, 1 eviction: raise
          net.netfilter.nf_conntrack_max, or shorten the timeouts that fill the table

        not seen
          7 more resets (5 sent, 2 received; some may be two ends of one reset) were counted without
          details, and the filter does not apply to them: raise ring_buffer_bytes or
          detail_rate_per_second in the configuration
          firewall rejects (nf_send_reset missing)
          rstwatch check says why

        change first
          1.  middlebox_idle (1 reset): set TCP keepalive below 352.0 s (the idle time that was fatal
              here; the timeout may be shorter), or raise that timeout
    "#]]
    .assert_eq(&formatted(&diagnosis(&[device], Filter::default(), watch, &counts, &probes)));
}

/// A local server has a shorter timeout than its clients.
#[test]
fn timeouts_of_local_servers_are_reported() {
    let mut sent = judged(Direction::Sent, Cause::IdleReaped, Sender::LocalKernel, Confidence::Certain);
    (sent.event.role, sent.event.idle_ms) = (Role::Server, Some(76_300));
    sent.event.local = "10.0.7.12:80".parse().expect("an address");
    sent.event.remote = "10.0.3.41:48732".parse().expect("an address");
    sent.event.process = Some(Process { pid: 9, comm: "nginx".into() });
    let timer = Timer { after: Duration::from_secs(75), exact: true };
    sent.timing = Timing { moment: Moment::AfterIdle, timer: Some(timer), repeats_sent: false };
    check(
        &[sent.clone(), at(&sent, 9_000)],
        &expect![[r#"
            node-a, every network namespace, watched for 60.0 s: 2 resets (2 sent, 0 received)

            causes
              2  100 %  idle_reaped: the idle connection was used after its other end had closed it
                        certain; peer 10.0.3.41; here nginx

            when
              2  first operation after an idle period: the connection was already dead

            idle timeouts
              nginx on port 80, on this host, closes connections that are idle for 75.0 s: idle time in its
              clients' pools must be below that; 2 clients used such a connection, after up to 76.3 s

            change first
              1.  idle_reaped (2 resets): have clients keep pooled connections idle for less than 75.0 s
                  (the timeout that was seen here); retry idempotent requests once
        "#]],
    );
}

/// A port scan: no single port to fix.
#[test]
fn a_scan_is_not_blamed_on_one_port() {
    let mut events = Vec::new();
    for port in 1..=300_u16 {
        let mut sent = judged(Direction::Sent, Cause::Refused, Sender::LocalKernel, Confidence::Certain);
        sent.event.local.set_port(port);
        sent.timing.moment = Moment::Connecting;
        events.push(sent);
    }
    check(
        &events,
        &expect![[r#"
            node-a, every network namespace, watched for 60.0 s: 300 resets (300 sent, 0 received)

            causes
              300  100 %  refused: RST answered a SYN: nothing listens there
                          certain; peer 10.0.7.12; here many

            when
              300  while connecting: the attempt was refused

            change first
              1.  refused (300 resets): more than 64 addresses, none of which stands out: start the server,
                  or have clients use the right address and port
        "#]],
    );
}

fn refusals(direction: Direction, addresses: &[(&str, usize)]) -> Vec<Judged> {
    let refused = |address: &str| {
        let mut judged = refused(0);
        let end = address.parse().expect("an address");
        (judged.event.direction, judged.event.process) = (direction, None);
        match direction {
            Direction::Sent => (judged.event.local, judged.event.sender) = (end, Sender::LocalKernel),
            Direction::Received => judged.event.remote = end,
        }
        judged
    };
    addresses.iter().flat_map(|(address, n)| vec![refused(address); *n]).collect()
}

fn first_advice(judged: &[Judged]) -> String {
    let found = diagnosis(judged, Filter::default(), one_minute(), &KernelCounts::default(), &probes());
    found.change_first[0].advice.clone()
}

#[test]
fn every_server_that_refuses_is_named_if_they_are_few() {
    use Direction::{Received, Sent};
    let two = [("10.0.0.1:80", 4), ("10.0.0.2:80", 4)];
    expect!["check that a server listens on 10.0.0.1:80 and 10.0.0.2:80, and that no firewall rejects; else correct the address or port"].assert_eq(&first_advice(&refusals(Received, &two)));
    expect!["start a server on 10.0.0.1:80 and 10.0.0.2:80, or have clients use the right address and port"]
        .assert_eq(&first_advice(&refusals(Sent, &two)));
    let five =
        [("10.0.0.1:80", 4), ("[2001:db8::1]:80", 4), ("10.0.0.3:80", 3), ("10.0.0.4:80", 1), ("10.0.0.5:80", 1)];
    expect!["check that a server listens on 10.0.0.1:80, [2001:db8::1]:80, 10.0.0.3:80 and 2 more, and that no firewall rejects; else correct the address or port"].assert_eq(&first_advice(&refusals(Received, &five)));
    let seven = ["1", "2", "3", "4", "5", "6", "7"].map(|last| (format!("10.0.0.{last}:80"), 1));
    let seven: Vec<_> = seven.iter().map(|(address, n)| (address.as_str(), *n)).collect();
    expect!["7 addresses, none of which stands out: check that a server listens there, and that no firewall rejects; else correct the address or port"].assert_eq(&first_advice(&refusals(Received, &seven)));
}

/// The end that resets and its victim need different advice.
#[test]
fn each_direction_has_its_own_advice() {
    let mut sent = judged(Direction::Sent, Cause::UnreadData, Sender::LocalApp, Confidence::Certain);
    sent.event.role = Role::Server;
    let found = diagnosis(
        &[sent, busy(Cause::UnreadData, 0), busy(Cause::UnreadData, 9_000)],
        Filter::default(),
        one_minute(),
        &KernelCounts::default(),
        &probes(),
    );
    let text = formatted(&found);
    expect![[r#"
        change first
          1.  unread_data (2 resets received): find out why the server stopped reading: a limit, a
              timeout, a cancelled request; its last message may say
          2.  unread_data (1 reset sent): read the request or response to its end before close(), on
              error paths too
    "#]]
    .assert_eq(&text[text.find("change first").expect("advice")..]);
}

/// Whatever timer was seen: only idle connections that were reset say something about client pools.
#[test]
fn a_request_in_progress_is_no_idle_timeout() {
    let mut slow = busy(Cause::LingerAbort, 0);
    slow.timing.timer = Some(Timer { after: Duration::from_secs(5), exact: true });
    let found = diagnosis(&[slow], Filter::default(), one_minute(), &KernelCounts::default(), &probes());
    assert_eq!(found.timeouts, []);
    assert!(!formatted(&found).contains("pool"));
}

#[test]
fn a_steady_stream_is_no_burst_and_keeps_memory_bounded() {
    let mut findings = Findings::new(Filter::default(), 8);
    for n in 0..12_000_i64 {
        let mut judged = busy(Cause::UnreadData, n * 5);
        judged.event.remote.set_port(u16::try_from(n + 1).expect("a port"));
        judged.event.process = Some(Process { pid: 1, comm: format!("p{n}").into() });
        findings.record(&judged);
    }
    let found = findings.diagnosis(one_minute(), &KernelCounts::default(), &probes());
    assert_eq!((found.resets, found.bursts.len()), (12_000, 0));
    let named: u64 = found.owners.top.iter().map(|it| it.resets).sum();
    assert_eq!(named + found.owners.others, 12_000);
    assert!(formatted(&found).lines().count() < 30);
}

#[test]
fn the_json_is_one_object() {
    let found = diagnosis(
        &[sample::judged_idle_reaped()],
        Filter::default(),
        one_minute(),
        &KernelCounts::default(),
        &probes(),
    );
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
        let found = diagnosis(&events, Filter::default(), one_minute(), &KernelCounts::default(), &probes());
        prop_assert_eq!(found.resets, events.len() as u64);
        prop_assert_eq!(found.causes.iter().map(|it| it.resets).sum::<u64>(), found.resets);
        let text = formatted(&found);
        prop_assert!(!text.replace('\n', "").contains(char::is_control), "{text:?}");
        prop_assert!(serde_json::to_string(&found).is_ok());
    }
}
