//! Answers to segments of a connection that had ended here.

use rstwatch_common::record::last_payload::{OURS, PEERS, UNKNOWN};
use rstwatch_common::record::{ResetRecord, Sampled, flags, mark, role, sk_class, state, tcp_flag};

use super::sampled::{sample, sampled};
use super::sent::{answer_from, exiting, full, idle_at_close, marked};
use super::{Case, SECOND};
use crate::testing::fixture::{self, NOW_NS, jiffies, reason};

/// An answer to data for a connection that was closed here 200 ms ago.
pub(super) fn closed(idle_ms: u32) -> ResetRecord {
    let mut record = fixture::sent_answer();
    record.flags |= flags::TOMBSTONE;
    record.conn = fixture::record().conn;
    record.conn.role = role::SERVER;
    record.conn.marks = mark::CLOSED_BY_OWNER;
    record.conn.closing.time_ns = NOW_NS - SECOND / 5;
    record.conn.closed.time_ns = record.conn.closing.time_ns;
    record.conn.closing.sent_age = jiffies(idle_ms);
    // A request, and its response a moment later.
    record.conn.closing.received_age = jiffies(idle_ms) + 2;
    record
}

/// The same, where this host is the client.
fn by_client(mut record: ResetRecord) -> ResetRecord {
    record.conn.role = role::CLIENT;
    record
}

/// The same, where this host sent its last payload just before it closed, after a silence of the other side.
fn with_message(silence_ms: u32) -> ResetRecord {
    let mut record = closed(silence_ms);
    record.conn.closing.sent_age = 0;
    record
}

/// The same 5 s after a request and a response of the same time. The last ACK came `ack_age` jiffies before the close.
fn within_a_tick(ack_age: u32) -> ResetRecord {
    let mut record = used(closed(5_000));
    record.conn.closing.ack_age = ack_age;
    record.conn.closing.received_age = record.conn.closing.sent_age;
    record
}

/// The same for a connection that was aborted.
pub(super) fn aborted(why: &str, marks: u32, reset_state: u8) -> ResetRecord {
    let mut record = closed(0);
    record.conn.marks = mark::ABORTED | marks;
    record.conn.reset.reason = reason(why);
    record.conn.reset_state = reset_state;
    record
}

/// The same after an abort on purpose, 2 s after this server's last answer.
pub(super) fn idle_abort() -> ResetRecord {
    idle_at_close(aborted("TCP_STATE", mark::LINGER0, state::CLOSE))
}

/// Payload went both ways.
pub(super) fn used(mut record: ResetRecord) -> ResetRecord {
    (record.conn.closed.bytes_sent, record.conn.closed.bytes_received) = (100, 100);
    record
}

/// A client that had its response sampled, was idle, sent a closing message and closed.
fn sent_closing_message() -> ResetRecord {
    let mut record = by_client(used(with_message(90_000)));
    record.conn.closing.ack_age = jiffies(90_000);
    sampled(
        record,
        Sampled { jiffies: jiffies(89_500), closing_quiet: jiffies(90_000), closing_segs: 1, ..sample(PEERS) },
    )
}

pub(super) const CASES: &[Case] = &[
    ("after_close_while_full", || {
        let mut record = closed(0);
        record.conn.marks = 0;
        record.conn.closing.received_age = jiffies(30_000);
        record.conn.closing.outstanding = 10;
        full(record, 10 * SECOND)
    }),
    // Sampled while the server was computing: what it sent then was the response, however short and late.
    ("closed_then_data", || {
        sampled(
            with_message(3_000),
            Sampled { closing_quiet: jiffies(3_000), closing_bytes: 40, closing_segs: 1, ..sample(PEERS) },
        )
    }),
    ("closed_with_closing_message", || {
        sampled(
            with_message(3_000),
            Sampled { closing_quiet: jiffies(3_000), closing_bytes: 40, closing_segs: 1, ..sample(OURS) },
        )
    }),
    // The end of a long stream.
    ("closed_then_data", || {
        sampled(
            with_message(3_000),
            Sampled {
                jiffies: jiffies(600),
                closing_quiet: jiffies(1_000),
                closing_bytes: 60_000,
                closing_segs: 40,
                ..sample(UNKNOWN)
            },
        )
    }),
    // Sampled too long before the end, while the first response was sent: what came last may have been a closing message after
    // an idle period.
    ("closed_unsampled", || {
        sampled(
            with_message(1_500),
            Sampled { closing_quiet: jiffies(1_490), closing_bytes: 602, closing_segs: 4, ..sample(UNKNOWN) },
        )
    }),
    // The same with a request open at that sample.
    ("closed_unsampled", || {
        sampled(
            with_message(1_500),
            Sampled { closing_quiet: jiffies(1_490), closing_bytes: 140, closing_segs: 2, ..sample(PEERS) },
        )
    }),
    // Sampled before the last request: a slow response, or a closing message.
    ("closed_unsampled", || {
        sampled(
            with_message(1_500),
            Sampled { closing_quiet: jiffies(1_600), closing_bytes: 40, closing_segs: 1, ..sample(OURS) },
        )
    }),
    // A kernel without reasons: a late segment of a killed process's connection reaches the overloaded listener of its
    // successor.
    ("after_close_killed", || {
        let mut record = exiting(closed(0), 9);
        record.sk_class = sk_class::LISTEN;
        record.reason = u32::MAX;
        (record.tcp.ack_backlog, record.tcp.max_ack_backlog) = (9, 8);
        record
    }),
    // Late segments of connections that ended without a reason: the marks decide.
    ("after_close_out_of_memory", || {
        aborted("NOT_SPECIFIED", mark::CLOSED_BY_OWNER | mark::ORPHANED, state::FIN_WAIT1)
    }),
    ("after_close_keepalive", || aborted("NOT_SPECIFIED", mark::PROBING, state::ESTABLISHED)),
    ("after_close_overflow", || marked(closed(0), mark::OVERFLOWED)),
    ("after_close_killed", || exiting(closed(60_000), 9)),
    // Killed with data unread: the exit aborted the connection.
    ("after_close_killed", || exiting(aborted("TCP_ABORT_ON_CLOSE", 0, state::CLOSE), 9)),
    // Destroyed from outside while its owner was exiting: the kill had not closed it.
    ("after_close_destroyed", || exiting(aborted("TCP_STATE", 0, state::ESTABLISHED), 9)),
    ("after_close_exited", || exiting(closed(0), 0)),
    // Older than the agent, so the process may have been forked for it.
    ("after_close_exit_unclear", || {
        let mut record = exiting(closed(60_000), 0);
        record.conn.established_ns = 0;
        record
    }),
    ("after_close_unread", || aborted("TCP_ABORT_ON_CLOSE", 0, state::CLOSE)),
    ("after_close_never_accepted", || aborted("TCP_STATE", mark::UNACCEPTED, state::CLOSE)),
    ("after_close_linger", || used(aborted("TCP_STATE", mark::LINGER0, state::CLOSE))),
    // A kernel without reasons, and a FIN that came before the state was created.
    ("after_close_linger", || {
        let mut record = used(aborted("NOT_SPECIFIED", mark::LINGER0, state::CLOSE));
        record.conn.old_state = state::CLOSE_WAIT;
        record.conn.reset.unread = 1;
        record
    }),
    ("after_close_probe", || by_client(aborted("TCP_STATE", mark::LINGER0, state::CLOSE))),
    ("after_close_idle_abort", idle_abort),
    ("after_close_keepalive", || aborted("TCP_KEEPALIVE_TIMEOUT", 0, state::ESTABLISHED)),
    ("after_close_destroyed", || aborted("TCP_STATE", 0, state::ESTABLISHED)),
    ("closed_when_idle", || closed(60_000)),
    // A process per connection that exits on an idle timer has reaped it, not crashed.
    ("closed_when_idle", || {
        let mut record = exiting(closed(60_000), 0);
        record.conn.owner.start_ns = record.conn.established_ns + 1;
        record
    }),
    // TLS sends close_notify before an idle close.
    ("closed_unsampled", || {
        let mut record = with_message(60_000);
        record.conn.closing.outstanding = 24;
        record
    }),
    // A client's request, the response before it and the ACK have the same time: most likely the request was answered.
    ("closed_with_closing_message", || by_client(within_a_tick(jiffies(5_000)))),
    // The ACK came later, on its own: most likely the request was not answered.
    ("gave_up_or_closed", || by_client(within_a_tick(jiffies(4_960)))),
    // A server's response and the request have the same time. A separate ACK came later, which proves nothing.
    ("closed_with_closing_message", || within_a_tick(jiffies(4_960))),
    // The next request may have carried the ACK.
    ("closed_with_closing_message", || within_a_tick(jiffies(5_000))),
    // An old connection, on which the client delays ACKs: this ACK came with a request.
    ("gave_up_or_closed", || {
        sampled(
            within_a_tick(jiffies(5_000)),
            Sampled { segs_out: 50, closing_quiet: jiffies(5_000), ..sample(UNKNOWN) },
        )
    }),
    // A sample found the request.
    ("closed_likely_in_use", || {
        sampled(
            within_a_tick(jiffies(5_000)),
            Sampled { jiffies: jiffies(600), closing_quiet: jiffies(5_000), ..sample(PEERS) },
        )
    }),
    // The same with keepalives of our own, whose ACKs say nothing.
    ("closed_with_closing_message", || {
        sampled(within_a_tick(u32::MAX), Sampled { segs_out: 50, closing_quiet: jiffies(5_000), ..sample(UNKNOWN) })
    }),
    // Sampled between the last message and the close: what that message was is not known.
    ("closed_unsampled", || {
        let mut record = sampled(
            used(closed(5_000)),
            Sampled { jiffies: jiffies(300), closing_quiet: jiffies(500), ..sample(UNKNOWN) },
        );
        record.conn.closing.sent_age = jiffies(500);
        record
    }),
    // More than a closing message, after a silence that the sample had found: a page, or a long closing message.
    ("closed_unsampled", || {
        sampled(
            used(with_message(5_000)),
            Sampled {
                jiffies: jiffies(4_600),
                closing_quiet: jiffies(5_000),
                closing_bytes: 900,
                closing_segs: 3,
                ..sample(OURS)
            },
        )
    }),
    // The server had a request and never sent anything.
    ("closed_then_data", || {
        let mut record = closed(5_000);
        record.conn.closed.bytes_received = 100;
        record
    }),
    // A message after an idle period, longer than closing messages usually are: uncertain.
    ("closed_unsampled", || {
        sampled(
            with_message(3_000),
            Sampled { closing_quiet: jiffies(3_000), closing_bytes: 700, closing_segs: 1, ..sample(OURS) },
        )
    }),
    // inetd's child, with a request open.
    ("after_close_killed", || {
        let mut record = exiting(closed(3_000), 1 << 8);
        record.conn.closed.bytes_received = 100;
        record.conn.owner.start_ns = record.conn.established_ns + SECOND;
        record
    }),
    // The client's first request, never answered.
    ("closed_then_data", || {
        let mut record = by_client(closed(5_000));
        record.conn.closed.bytes_sent = 100;
        record.conn.closing.received_age = record.conn.closing.sent_age;
        record
    }),
    ("closed_then_data", || closed(10)),
    // A client that gives up on a slow response: the request was open, so the connection was not idle.
    ("closed_then_data", || {
        let mut record = by_client(used(closed(5_000)));
        record.conn.closing.received_age = jiffies(5_004);
        record
    }),
    // A server that closes instead of responding.
    ("closed_then_data", || {
        let mut record = closed(60_000);
        record.conn.closing.received_age = jiffies(59_000);
        record
    }),
    // Closed with undelivered data.
    ("closed_then_data", || {
        let mut record = closed(60_000);
        record.conn.closing.outstanding = 4000;
        record
    }),
    ("half_closed_then_data", || marked(closed(60_000), mark::HALF_CLOSED)),
    ("after_close_timed_out", || {
        let mut record = closed(60_000);
        record.conn.marks = 0;
        record.conn.closing.outstanding = 10;
        record
    }),
    // Nothing from this host was outstanding: socket repair removed the connection.
    ("unknown_here", || {
        let mut record = closed(60_000);
        record.conn.marks = 0;
        record
    }),
    ("after_close_out_of_memory", || aborted("TCP_ABORT_ON_MEMORY", 0, state::CLOSE)),
    ("after_close_disconnected", || aborted("TCP_STATE", 0, state::CLOSE)),
    // A closing message of MySQL.
    ("closed_unsampled", || {
        let mut record = with_message(60_000);
        record.conn.closing.outstanding = 155;
        record
    }),
    // A client's close_notify before its close, most likely; the server's response finds no socket.
    ("gave_up_or_closed", || by_client(used(with_message(90_000)))),
    // A sample had found the response, and the client closed at once after its message.
    ("closed_with_closing_message", sent_closing_message),
    // It waited a little for a response: the message was most likely a request.
    ("gave_up_or_closed", || {
        let mut record = sent_closing_message();
        record.conn.closing.sent_age = jiffies(200);
        record
    }),
    // The server's answer carries no payload.
    ("tail_when_idle", || {
        let mut record = sent_closing_message();
        record.segment.payload = 0;
        record
    }),
    // Our side had closed before the agent started.
    ("data_after_close", || {
        let mut record = closed(0);
        record.sk_class = sk_class::TIME_WAIT;
        record.conn.marks = 0;
        record.conn.closing.time_ns = 0;
        record.conn.old_state = state::FIN_WAIT2;
        record
    }),
    // The abort's RST was lost; a segment that arrives a minute later was not in flight at the abort.
    ("unknown_here", || {
        let mut record = aborted("TCP_STATE", mark::LINGER0, state::CLOSE);
        record.conn.closing.time_ns = NOW_NS - 60 * SECOND;
        record
    }),
    // FIN_WAIT2 expired long ago.
    ("unknown_here", || {
        let mut record = aborted("TCP_STATE", mark::CLOSED_BY_OWNER, state::FIN_WAIT2);
        record.conn.closing.time_ns = NOW_NS - 60 * SECOND;
        record
    }),
    ("data_after_close", || answer_from(sk_class::TIME_WAIT, "TCP_TIMEWAIT_SOCKET", tcp_flag::ACK)),
    ("unknown_here", fixture::sent_answer),
    ("unknown_here", || answer_from(sk_class::LISTEN, "TCP_FLAGS", tcp_flag::ACK)),
    // Only a FIN: both sides had closed, no data was lost.
    ("tail_when_idle", || {
        let mut record = closed(60_000);
        record.segment.payload = 0;
        record
    }),
    // A client closed, and its last request has the time of the last response.
    ("tail_unclear", || {
        let mut record = by_client(within_a_tick(jiffies(4_960)));
        record.segment.payload = 0;
        record
    }),
    // The last ACK of a busy connection.
    ("tail", || {
        let mut record = closed(0);
        record.segment.payload = 0;
        record
    }),
    // The peer's FIN arrives just after FIN_WAIT2 expired.
    ("tail", || {
        let mut record = aborted("TCP_STATE", mark::CLOSED_BY_OWNER, state::FIN_WAIT2);
        record.segment.payload = 0;
        record
    }),
    // An RST in the peer's name had ended it, and the peer does not know.
    ("tail_of_reset", || {
        let mut record = closed(0);
        record.conn.marks = 0;
        record.conn.reset.time_ns = NOW_NS - SECOND;
        record
    }),
];
