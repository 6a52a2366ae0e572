//! The causes: their candidates, and resets that were seen at both ends.

use expect_test::expect;
use rstwatch_verdict::cause::{Cause, Confidence, Direction, Sender};
use rstwatch_verdict::event::{Process, Role};
use rstwatch_verdict::timing::{Moment, Timing};

use super::{at, busy, check, diagnosis, judged, one_minute, probes};
use crate::present::filter::Filter;
use crate::stats::aggregate::KernelCounts;

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
