//! Connections of which the kernel side did not see the beginning: which end asks is not known, nor what was open.

use rstwatch_common::record::{ResetRecord, mark, role, state};

use super::after_close::{self, aborted, closed, used};
use super::received::{after_silence, bare, unused};
use super::received_after_fin::after_fin;
use super::sent::{exiting, idle_abort, idle_at_close, marked, own_abort};
use super::{Case, classify, evidence_of};
use crate::cause::Cause;
use crate::evidence::Evidence;
use crate::testing::fixture::{self, jiffies};

/// Hides how the connection began, as if the kernel side had had no room for it.
pub(super) fn unseen(mut record: ResetRecord) -> ResetRecord {
    (record.conn.role, record.conn.established_ns, record.conn.ttl) = (role::UNKNOWN, 0, 0);
    record
}

pub(super) const SENT: &[Case] = &[
    // A signal kills any process, one that serves this connection alone too.
    ("killed", || unseen(exiting(own_abort("TCP_ABORT_ON_CLOSE"), 9))),
    ("killed", || unseen(exiting(own_abort("TCP_ABORT_ON_CLOSE"), 1 << 8))),
    // The process may have been forked for this connection: then its exit is the close.
    ("exit_unclear", || unseen(exiting(own_abort("TCP_ABORT_ON_CLOSE"), 0))),
    ("exit_unclear", || unseen(exiting(idle_abort(), 1 << 8))),
    ("exit_unclear", || unseen(exiting(unused(marked(own_abort("TCP_STATE"), mark::LINGER0)), 0))),
    // The kernel's reason is enough.
    ("unread_on_close", || unseen(idle_at_close(own_abort("TCP_ABORT_ON_CLOSE")))),
    ("never_accepted", || unseen(exiting(marked(own_abort("TCP_STATE"), mark::UNACCEPTED), 0))),
    // Of an abort, a state without a beginning shows the act alone: what it interrupted was not seen.
    ("linger_unclear", || unseen(idle_abort())),
    ("linger_unclear", || unseen(unused(marked(own_abort("TCP_STATE"), mark::LINGER0)))),
    // In use a moment before, so not idle, whichever end asks.
    ("linger_zero", || unseen(marked(own_abort("TCP_STATE"), mark::LINGER0))),
    ("after_close_exit_unclear", || unseen(exiting(aborted("TCP_ABORT_ON_CLOSE", 0, state::CLOSE), 0))),
    ("after_close_killed", || unseen(exiting(closed(60_000), 9))),
    ("after_close_linger_unclear", || unseen(after_close::idle_abort())),
    ("after_close_linger_unclear", || unseen(aborted("TCP_STATE", mark::LINGER0, state::CLOSE))),
    ("after_close_linger", || unseen(used(aborted("TCP_STATE", mark::LINGER0, state::CLOSE)))),
    ("closed_unseen", || unseen(closed(60_000))),
];

pub(super) const RECEIVED: &[Case] = &[
    // Which end had asked was not seen, so a request may have been open when the peer closed.
    ("reused_after_fin", || unseen(after_fin(bare(), 60_000))),
    ("wrote_after_fin", || unseen(after_fin(bare(), 0))),
    ("fin_to_unknown_connection", || {
        let mut record = unseen(after_fin(bare(), 0));
        record.state = state::LAST_ACK;
        record.tcp.shutdown = 3;
        (record.tcp.snd_nxt, record.tcp.write_seq) = (record.tcp.snd_una + 1, record.tcp.snd_una + 1);
        record
    }),
    ("unsampled_closing_message", || {
        let mut record = unseen(after_fin(bare(), 60_000));
        (record.conn.fin.received_age, record.conn.fin.unread) = (0, 25);
        record
    }),
    ("peer_aborted", || unseen(fixture::received())),
    ("peer_aborted", || unseen(unused(fixture::received()))),
    ("peer_aborted", || {
        let mut record = unseen(fixture::received());
        record.tcp.data_segs_in = 0;
        record
    }),
    ("forgotten", || unseen(bare())),
];

/// Where the beginning of the connection was not seen, a server's candidates remain, and a client's.
#[test]
fn whichever_end_asked_remains_possible() {
    use Cause::{
        DataAfterClose, IdleReaped, KeepaliveTimeout, LingerAbort, ListenerClosed, MiddleboxIdle, MiddleboxInjected,
        NatUntranslated, Probe, ProcessDied, UnreadData,
    };
    let live = fixture::received();
    let quiet = after_silence(live, 60_000);
    let probed = |mut record: ResetRecord| {
        record.tcp.oow_age = jiffies(2_000);
        record
    };
    for (record, expected) in [
        (unused(live), vec![Probe, ListenerClosed, LingerAbort, IdleReaped, ProcessDied]),
        (unused(quiet), vec![Probe, ListenerClosed, LingerAbort, IdleReaped, ProcessDied]),
        (probed(quiet), vec![KeepaliveTimeout, IdleReaped, LingerAbort, UnreadData, ProcessDied]),
        (
            after_silence(bare(), 60_000),
            vec![IdleReaped, MiddleboxIdle, KeepaliveTimeout, ProcessDied, NatUntranslated],
        ),
        (after_fin(bare(), 60_000), vec![IdleReaped, DataAfterClose, ProcessDied]),
        (after_fin(bare(), 0), vec![DataAfterClose, IdleReaped, ProcessDied]),
    ] {
        let verdict = classify(&evidence_of(&unseen(record)));
        assert_eq!(verdict.candidates[..], expected, "{}", verdict.rule);
    }
    let mut silent = evidence_of(&unseen(quiet));
    if let Evidence::Received(it) = &mut silent {
        it.other_end_silent = true;
    }
    let verdict = classify(&silent);
    assert_eq!(verdict.candidates[..2], [MiddleboxInjected, MiddleboxIdle], "{}", verdict.rule);
}

/// A program that opens a connection, aborts it before any payload and exits was a probe.
#[test]
fn an_exit_may_have_ended_a_probe() {
    use Cause::{IdleReaped, LingerAbort, Probe, ProcessDied};
    let live = marked(own_abort("TCP_STATE"), mark::LINGER0);
    let late = aborted("TCP_STATE", mark::LINGER0, state::CLOSE);
    for (record, rule, expected) in [
        (unused(live), "exit_unclear", vec![ProcessDied, LingerAbort, Probe]),
        (live, "exit_unclear", vec![ProcessDied, LingerAbort]),
        (idle_at_close(unused(live)), "exit_unclear", vec![ProcessDied, LingerAbort, IdleReaped]),
        (unused(own_abort("TCP_STATE")), "exit_unclear", vec![ProcessDied, LingerAbort]),
        (late, "after_close_exit_unclear", vec![ProcessDied, LingerAbort, Probe]),
        (used(late), "after_close_exit_unclear", vec![ProcessDied, LingerAbort]),
    ] {
        let verdict = classify(&evidence_of(&unseen(exiting(record, 0))));
        assert_eq!((verdict.rule, &verdict.candidates[..]), (rule, &expected[..]));
    }
}

/// The sentence on an abort on purpose says what was not seen: the opener of an unused connection, else the order of the messages.
#[test]
fn an_unclear_abort_says_what_was_not_seen() {
    let abort = marked(own_abort("TCP_STATE"), mark::LINGER0);
    for (record, sentence) in [
        (
            unused(abort),
            "the program aborted the connection before any payload (close() with SO_LINGER on and a timeout of zero, or a \
             negative TCP_LINGER2); rstwatch did not see which end had opened it",
        ),
        (
            idle_abort(),
            "the program aborted the connection after at least a second without payload (close() with SO_LINGER on and a \
             timeout of zero, or a negative TCP_LINGER2); rstwatch did not see whether a request was open",
        ),
    ] {
        let verdict = classify(&evidence_of(&unseen(record)));
        assert_eq!((verdict.rule, &*verdict.because), ("linger_unclear", sentence));
    }
}
