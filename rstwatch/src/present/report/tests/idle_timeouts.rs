//! The idle timeouts that the watch found.

use std::time::Duration;

use expect_test::expect;
use rstwatch_verdict::cause::{Cause, Confidence, Direction, Sender};
use rstwatch_verdict::event::{Process, Role};
use rstwatch_verdict::testing::sample;
use rstwatch_verdict::timing::{Moment, Timer, Timing};

use super::{at, busy, check, formatted, found, judged};

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

/// Whatever timer was seen: only idle connections that were reset say something about client pools.
#[test]
fn a_request_in_progress_is_no_idle_timeout() {
    let mut slow = busy(Cause::LingerAbort, 0);
    slow.timing.timer = Some(Timer { after: Duration::from_secs(5), exact: true });
    let found = found(&[slow]);
    assert_eq!(found.timeouts, []);
    assert!(!formatted(&found).contains("pool"));
}
