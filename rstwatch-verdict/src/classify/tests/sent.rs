//! Resets that this host sent.

use rstwatch_common::record::{
    PF_EXITING, ResetRecord, flags, kind, last_payload, mark, role, sk_class, state, tcp_flag,
};

use super::{Case, SECOND};
use crate::testing::fixture::{self, NOW_NS, jiffies, reason};

pub(super) fn active(why: &str, socket_state: u8) -> ResetRecord {
    let mut record = fixture::sent_active();
    record.reason = reason(why);
    record.state = socket_state;
    record.conn.reset.reason = record.reason;
    record.conn.reset_state = socket_state;
    record
}

/// An owner's abort: the state is CLOSE when it is traced.
pub(super) fn own_abort(why: &str) -> ResetRecord {
    active(why, state::CLOSE)
}

pub(super) fn exiting(mut record: ResetRecord, exit_code: u32) -> ResetRecord {
    record.conn.owner.flags = PF_EXITING;
    record.conn.owner.exit_code = exit_code;
    record
}

pub(super) fn marked(mut record: ResetRecord, marks: u32) -> ResetRecord {
    record.conn.marks |= marks;
    record
}

/// An answer to data of a connection that is remembered, closed here 200 ms ago.
pub(super) fn closed(idle_ms: u32) -> ResetRecord {
    let mut record = fixture::sent_answer();
    record.flags |= flags::TOMBSTONE;
    record.conn = fixture::record().conn;
    record.conn.role = role::SERVER;
    record.conn.marks = mark::CLOSED_BY_OWNER;
    record.conn.closing.time_ns = NOW_NS - SECOND / 5;
    record.conn.closed.time_ns = record.conn.closing.time_ns;
    record.conn.closing.sent_age = jiffies(idle_ms);
    // Asked, and answered a moment later.
    record.conn.closing.received_age = jiffies(idle_ms) + 2;
    record
}

/// The same, of a connection that was aborted.
pub(super) fn aborted(why: &str, marks: u32, reset_state: u8) -> ResetRecord {
    let mut record = closed(0);
    record.conn.marks = mark::ABORTED | marks;
    record.conn.reset.reason = reason(why);
    record.conn.reset_state = reset_state;
    record
}

pub(super) fn answer_from(class: u8, why: &str, tcp_flags: u8) -> ResetRecord {
    let mut record = fixture::sent_answer();
    record.sk_class = class;
    record.reason = reason(why);
    record.segment.flags = tcp_flags;
    if class == sk_class::LISTEN {
        record.flags |= flags::CONN_STATE | flags::TCP;
        record.conn.role = role::LISTENER;
    }
    record
}

/// netfilter rejected a SYN.
fn rejected() -> ResetRecord {
    let mut record = fixture::sent_answer();
    record.kind = kind::FIREWALL;
    record.segment.flags = tcp_flag::SYN;
    record
}

/// The conntrack table was full so long before.
fn full(mut record: ResetRecord, ago_ns: u64) -> ResetRecord {
    record.conntrack_full_ns = NOW_NS - ago_ns;
    record
}

pub(super) const CASES: &[Case] = &[
    // The rule lets open connections pass by their entry, which this one had lost.
    ("firewall_while_full", || {
        let mut record = rejected();
        record.segment.flags = tcp_flag::ACK | tcp_flag::PSH;
        full(record, 2 * SECOND)
    }),
    // A new connection has no entry to lose, and long ago is no cause.
    ("firewall", || full(rejected(), 2 * SECOND)),
    ("firewall", || {
        let mut record = rejected();
        record.segment.flags = tcp_flag::ACK;
        full(record, 60 * SECOND)
    }),
    ("keepalive_while_full", || {
        let mut record = active("TCP_KEEPALIVE_TIMEOUT", state::ESTABLISHED);
        (record.tcp.received_age, record.tcp.ack_age) = (jiffies(30_000), jiffies(30_000));
        full(record, 10 * SECOND)
    }),
    // The table was full before the peer was last heard.
    ("keepalive", || {
        let mut record = active("TCP_KEEPALIVE_TIMEOUT", state::ESTABLISHED);
        (record.tcp.received_age, record.tcp.ack_age) = (jiffies(30_000), jiffies(30_000));
        full(record, 40 * SECOND)
    }),
    ("after_close_while_full", || {
        let mut record = closed(0);
        record.conn.marks = 0;
        record.conn.closing.received_age = jiffies(30_000);
        record.conn.closing.outstanding = 10;
        full(record, 10 * SECOND)
    }),
    // Looked at while the server was computing: what it said then was the answer, however short and late.
    ("closed_then_data", || {
        let mut record = closed(3_000);
        record.conn.closing.sent_age = 0;
        record.conn.sampled.closing_quiet = jiffies(3_000);
        (record.conn.sampled.closing_bytes, record.conn.sampled.closing_segs) = (40, 1);
        record.conn.sampled.last_payload = last_payload::PEERS;
        record
    }),
    ("closed_with_closing_message", || {
        let mut record = closed(3_000);
        record.conn.closing.sent_age = 0;
        record.conn.sampled.closing_quiet = jiffies(3_000);
        (record.conn.sampled.closing_bytes, record.conn.sampled.closing_segs) = (40, 1);
        record.conn.sampled.last_payload = last_payload::OURS;
        record
    }),
    // The end of a long stream.
    ("closed_then_data", || {
        let mut record = closed(3_000);
        record.conn.closing.sent_age = 0;
        record.conn.sampled.closing_quiet = jiffies(1_000);
        (record.conn.sampled.closing_bytes, record.conn.sampled.closing_segs) = (60_000, 40);
        record
    }),
    // Without reasons: a late segment of a killed process's connection, at the overloaded listener of its successor.
    ("after_close_killed", || {
        let mut record = exiting(closed(0), 9);
        record.sk_class = sk_class::LISTEN;
        record.reason = u32::MAX;
        (record.tcp.ack_backlog, record.tcp.max_ack_backlog) = (9, 8);
        record
    }),
    ("subflow_reset", || {
        let mut record = active("NOT_SPECIFIED", state::ESTABLISHED);
        record.subflow = 1;
        record
    }),
    // Without reasons: what a listener's close drops may be unread, too.
    ("never_accepted", || {
        let mut record = marked(own_abort("NOT_SPECIFIED"), mark::UNACCEPTED);
        record.tcp.rcv_nxt = 900;
        record.tcp.copied_seq = 800;
        record
    }),
    // Late segments of what ended without a reason: the marks tell.
    ("after_close_out_of_memory", || {
        aborted("NOT_SPECIFIED", mark::CLOSED_BY_OWNER | mark::ORPHANED, state::FIN_WAIT1)
    }),
    ("after_close_keepalive", || aborted("NOT_SPECIFIED", mark::PROBING, state::ESTABLISHED)),
    ("bad_last_ack", || {
        let mut record = answer_from(sk_class::LISTEN, "TCP_FLAGS", tcp_flag::ACK);
        record.segment.payload = 0;
        record.flags |= flags::HANDSHAKE;
        record
    }),
    ("linger2", || {
        let mut record = answer_from(sk_class::FULL, "TCP_ABORT_ON_DATA", tcp_flag::ACK);
        record.segment.payload = 0;
        record
    }),
    ("firewall", || {
        let mut record = fixture::sent_answer();
        record.kind = kind::FIREWALL;
        record
    }),
    ("firewall_inferred", || {
        let mut record = fixture::sent_answer();
        record.kind = kind::FIREWALL;
        record.flags |= flags::INFERRED;
        record
    }),
    ("refused", || answer_from(sk_class::NONE, "NO_SOCKET", tcp_flag::SYN)),
    ("queue_full", || {
        let mut record = answer_from(sk_class::LISTEN, "INVALID_SYN", tcp_flag::ACK);
        record.tcp.ack_backlog = 5;
        record.tcp.max_ack_backlog = 4;
        record
    }),
    ("child_failed", || answer_from(sk_class::LISTEN, "INVALID_SYN", tcp_flag::ACK)),
    ("bad_syn", || answer_from(sk_class::LISTEN, "INVALID_SYN", tcp_flag::SYN)),
    ("bad_syn", || {
        let mut record = answer_from(sk_class::FULL, "TCP_INVALID_ACK_SEQUENCE", tcp_flag::SYN | tcp_flag::ACK);
        record.state = state::SYN_SENT;
        record
    }),
    // A SYN-ACK is no handshake's last ACK.
    ("bad_syn", || answer_from(sk_class::LISTEN, "INVALID_SYN", tcp_flag::SYN | tcp_flag::ACK)),
    // The port is used again while this side still waits for the old connection's FIN.
    ("bad_syn", || answer_from(sk_class::TIME_WAIT, "TCP_TIMEWAIT_SOCKET", tcp_flag::SYN)),
    ("unexpected_syn_ack", || answer_from(sk_class::NONE, "NO_SOCKET", tcp_flag::SYN | tcp_flag::ACK)),
    ("mptcp", || active("MPTCP_RST_EMPTCP", state::ESTABLISHED)),
    ("mptcp_fastclose", || active("TCP_ABORT_ON_CLOSE", state::ESTABLISHED)),
    ("out_of_memory", || own_abort("TCP_ABORT_ON_MEMORY")),
    ("keepalive", || active("TCP_KEEPALIVE_TIMEOUT", state::ESTABLISHED)),
    ("fin_wait_expired", || marked(active("TCP_STATE", state::FIN_WAIT2), mark::UNACCEPTED)),
    ("fin_wait_expired", || marked(active("TCP_STATE", state::FIN_WAIT2), mark::CLOSED_BY_OWNER)),
    ("destroyed", || active("TCP_STATE", state::ESTABLISHED)),
    ("killed", || exiting(own_abort("TCP_ABORT_ON_CLOSE"), 9)),
    ("killed", || exiting(own_abort("TCP_ABORT_ON_CLOSE"), 1 << 8)),
    // Killed with unaccepted connections: the kill explains the close.
    ("killed", || exiting(marked(own_abort("TCP_STATE"), mark::UNACCEPTED), 15)),
    ("exited", || exiting(own_abort("TCP_ABORT_ON_CLOSE"), 0)),
    ("unread_on_close", || own_abort("TCP_ABORT_ON_CLOSE")),
    // A process for each connection: its exit is its close.
    ("unread_on_close", || {
        let mut record = exiting(own_abort("TCP_ABORT_ON_CLOSE"), 0);
        record.conn.role = role::SERVER;
        record.conn.owner.start_ns = record.conn.established_ns + 1;
        record
    }),
    ("never_accepted", || marked(own_abort("TCP_STATE"), mark::UNACCEPTED)),
    ("never_accepted", || exiting(marked(own_abort("TCP_STATE"), mark::UNACCEPTED), 0)),
    ("linger_zero", || marked(own_abort("TCP_STATE"), mark::LINGER0)),
    ("linger_zero", || own_abort("TCP_ABORT_ON_LINGER")),
    ("disconnected", || own_abort("TCP_STATE")),
    ("disconnected", || own_abort("TCP_DISCONNECT_WITH_DATA")),
    ("after_close_overflow", || marked(closed(0), mark::OVERFLOWED)),
    ("after_close_killed", || exiting(closed(60_000), 9)),
    // Killed with data unread: its exit aborted.
    ("after_close_killed", || exiting(aborted("TCP_ABORT_ON_CLOSE", 0, state::CLOSE), 9)),
    // Destroyed from outside while its owner was dying: the kill had not closed it.
    ("after_close_destroyed", || exiting(aborted("TCP_STATE", 0, state::ESTABLISHED), 9)),
    ("after_close_exited", || exiting(closed(0), 0)),
    ("after_close_unread", || aborted("TCP_ABORT_ON_CLOSE", 0, state::CLOSE)),
    ("after_close_never_accepted", || aborted("TCP_STATE", mark::UNACCEPTED, state::CLOSE)),
    ("after_close_linger", || aborted("TCP_STATE", mark::LINGER0, state::CLOSE)),
    ("after_close_keepalive", || aborted("TCP_KEEPALIVE_TIMEOUT", 0, state::ESTABLISHED)),
    ("after_close_destroyed", || aborted("TCP_STATE", 0, state::ESTABLISHED)),
    ("closed_when_idle", || closed(60_000)),
    // A process for each connection that ends on an idle timer reaps, it does not crash.
    ("closed_when_idle", || {
        let mut record = exiting(closed(60_000), 0);
        record.conn.owner.start_ns = record.conn.established_ns + 1;
        record
    }),
    // TLS says close_notify before an idle close.
    ("closed_unsampled", || {
        let mut record = closed(60_000);
        record.conn.closing.sent_age = 0;
        record.conn.closing.outstanding = 24;
        record
    }),
    // The client's request and the answer before it bear the same time, and the ACK too: most likely it was answered.
    ("closed_with_closing_message", || {
        let mut record = closed(5_000);
        record.conn.role = role::CLIENT;
        record.conn.closed.bytes_sent = 100;
        record.conn.closed.bytes_received = 100;
        record.conn.closing.ack_age = jiffies(5_000);
        record.conn.closing.received_age = record.conn.closing.sent_age;
        record
    }),
    // The ACK came later, for its own sake: for a request that was not answered, most likely.
    ("gave_up_or_closed", || {
        let mut record = closed(5_000);
        record.conn.role = role::CLIENT;
        record.conn.closed.bytes_sent = 100;
        record.conn.closed.bytes_received = 100;
        record.conn.closing.ack_age = jiffies(4_960);
        record.conn.closing.received_age = record.conn.closing.sent_age;
        record
    }),
    // A server's answer and the request bear the same time. An ACK of its own came later: no proof.
    ("closed_with_closing_message", || {
        let mut record = closed(5_000);
        record.conn.closed.bytes_sent = 100;
        record.conn.closed.bytes_received = 100;
        record.conn.closing.ack_age = jiffies(4_960);
        record.conn.closing.received_age = record.conn.closing.sent_age;
        record
    }),
    // The next request may have brought the ACK.
    ("closed_with_closing_message", || {
        let mut record = closed(5_000);
        record.conn.closed.bytes_sent = 100;
        record.conn.closed.bytes_received = 100;
        record.conn.closing.ack_age = jiffies(5_000);
        record.conn.closing.received_age = record.conn.closing.sent_age;
        record
    }),
    // An old connection, whose client delays its ACKs: this one came with a question.
    ("gave_up_or_closed", || {
        let mut record = closed(5_000);
        record.conn.closed.bytes_sent = 100;
        record.conn.closed.bytes_received = 100;
        record.conn.closing.ack_age = jiffies(5_000);
        record.conn.sampled.closing_quiet = jiffies(5_000);
        record.conn.sampled.segs_out = 50;
        record.conn.closing.received_age = record.conn.closing.sent_age;
        record
    }),
    // Asked, and never said a word.
    ("closed_then_data", || {
        let mut record = closed(5_000);
        record.conn.closed.bytes_received = 100;
        record
    }),
    // A page of farewell after a silence, too long for a goodbye: it may be one all the same.
    ("gave_up_or_closed", || {
        let mut record = closed(3_000);
        record.conn.closing.sent_age = 0;
        record.conn.sampled.closing_quiet = jiffies(3_000);
        (record.conn.sampled.closing_bytes, record.conn.sampled.closing_segs) = (700, 1);
        record.conn.sampled.last_payload = last_payload::OURS;
        record
    }),
    // inetd's child, in the middle of its work.
    ("after_close_killed", || {
        let mut record = exiting(closed(3_000), 1 << 8);
        record.conn.closed.bytes_received = 100;
        record.conn.owner.start_ns = record.conn.established_ns + SECOND;
        record
    }),
    // Its first request, never answered.
    ("closed_then_data", || {
        let mut record = closed(5_000);
        record.conn.role = role::CLIENT;
        record.conn.closed.bytes_sent = 100;
        record.conn.closing.received_age = record.conn.closing.sent_age;
        record
    }),
    ("closed_then_data", || closed(10)),
    // A client that gives up on a slow answer: the request was open, nothing was idle.
    ("closed_then_data", || {
        let mut record = closed(5_000);
        record.conn.role = role::CLIENT;
        record.conn.closed.bytes_sent = 100;
        record.conn.closed.bytes_received = 100;
        record.conn.closing.received_age = jiffies(5_004);
        record
    }),
    // A server that closes instead of answering.
    ("closed_then_data", || {
        let mut record = closed(60_000);
        record.conn.closing.received_age = jiffies(59_000);
        record
    }),
    // Stuck with data to deliver.
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
    // Nothing of ours was under way: socket repair took it away.
    ("unknown_here", || {
        let mut record = closed(60_000);
        record.conn.marks = 0;
        record
    }),
    ("after_close_out_of_memory", || aborted("TCP_ABORT_ON_MEMORY", 0, state::CLOSE)),
    ("after_close_disconnected", || aborted("TCP_STATE", 0, state::CLOSE)),
    // A farewell of MySQL's.
    ("closed_unsampled", || {
        let mut record = closed(60_000);
        record.conn.closing.sent_age = 0;
        record.conn.closing.outstanding = 155;
        record
    }),
    // A client's close_notify before it goes: the server's answer finds nobody. Not sure to be one.
    ("gave_up_or_closed", || {
        let mut record = closed(90_000);
        record.conn.role = role::CLIENT;
        record.conn.closed.bytes_sent = 100;
        record.conn.closed.bytes_received = 100;
        record.conn.closing.sent_age = 0;
        record
    }),
    // Our side had closed before the agent came.
    ("data_after_close", || {
        let mut record = closed(0);
        record.sk_class = sk_class::TIME_WAIT;
        record.conn.marks = 0;
        record.conn.closing.time_ns = 0;
        record.conn.old_state = state::FIN_WAIT2;
        record
    }),
    // The abort's RST was lost; what comes minutes later was not under way then.
    ("unknown_here", || {
        let mut record = aborted("TCP_STATE", mark::LINGER0, state::CLOSE);
        record.conn.closing.time_ns = NOW_NS - 60 * SECOND;
        record
    }),
    // FIN_WAIT2 ran out long ago.
    ("unknown_here", || {
        let mut record = aborted("TCP_STATE", mark::CLOSED_BY_OWNER, state::FIN_WAIT2);
        record.conn.closing.time_ns = NOW_NS - 60 * SECOND;
        record
    }),
    ("data_after_close", || answer_from(sk_class::TIME_WAIT, "TCP_TIMEWAIT_SOCKET", tcp_flag::ACK)),
    ("unknown_here", fixture::sent_answer),
    ("unknown_here", || answer_from(sk_class::LISTEN, "TCP_FLAGS", tcp_flag::ACK)),
    // Nothing but a FIN: both sides had closed, nobody was harmed.
    ("tail", || {
        let mut record = closed(60_000);
        record.segment.payload = 0;
        record
    }),
    // The peer's FIN comes just after FIN_WAIT2 ran out.
    ("tail", || {
        let mut record = aborted("TCP_STATE", mark::CLOSED_BY_OWNER, state::FIN_WAIT2);
        record.segment.payload = 0;
        record
    }),
    // An RST in the peer's name ended it, and the peer knows nothing of that.
    ("tail", || {
        let mut record = closed(0);
        record.conn.marks = 0;
        record.conn.reset.time_ns = NOW_NS - SECOND;
        record
    }),
    // A reason that this version does not know says something, but not what.
    ("undecided", || active("OF_THE_FUTURE", state::ESTABLISHED)),
];
