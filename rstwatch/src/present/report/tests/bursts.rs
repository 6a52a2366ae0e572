//! Resets within a short time, and the restarts that are inferred from them.

use expect_test::expect;
use rstwatch_verdict::cause::Cause;
use rstwatch_verdict::event::Process;

use super::{busy, check, formatted, found, one_minute, probes, refused};
use crate::present::filter::Filter;
use crate::present::report::Findings;
use crate::stats::aggregate::KernelCounts;

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
        let found = found(&events);
        assert_eq!(found.restarts, []);
    }
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
