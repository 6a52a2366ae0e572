//! Resets that this host sent: from its firewall, in answer to handshakes, from live sockets.

use rstwatch_common::record::{PF_EXITING, ResetRecord, flags, kind, mark, role, sk_class, state, tcp_flag};

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

/// An owner's abort, which is traced after the state has become CLOSE.
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

/// An answer to the SYN-ACK of an attempt that this host gave up 250 ms ago.
pub(super) fn abandoned_connect() -> ResetRecord {
    let mut record = answer_from(sk_class::NONE, "NO_SOCKET", tcp_flag::SYN | tcp_flag::ACK);
    record.flags |= flags::TOMBSTONE;
    record.conn.role = role::CLIENT;
    record.conn.old_state = state::SYN_SENT;
    record.conn.closed.time_ns = NOW_NS - SECOND / 4;
    record
}

/// netfilter rejected a SYN.
fn rejected() -> ResetRecord {
    let mut record = fixture::sent_answer();
    record.kind = kind::FIREWALL;
    record.segment.flags = tcp_flag::SYN;
    record
}

/// The conntrack table was full this long before.
pub(super) fn full(mut record: ResetRecord, ago_ns: u64) -> ResetRecord {
    record.conntrack_full_ns = NOW_NS - ago_ns;
    record
}

/// A server that had answered 2 s before.
pub(super) fn idle_at_close(mut record: ResetRecord) -> ResetRecord {
    record.conn.role = role::SERVER;
    (record.conn.closed.bytes_sent, record.conn.closed.bytes_received) = (100, 100);
    (record.conn.closing.sent_age, record.conn.closing.received_age) = (jiffies(2_000), jiffies(2_000) + 2);
    record
}

/// A server's abort on purpose, 2 s after its last answer.
pub(super) fn idle_abort() -> ResetRecord {
    idle_at_close(marked(own_abort("TCP_STATE"), mark::LINGER0))
}

/// The answered segment belongs to a live connection to another address.
fn untranslated(mut record: ResetRecord) -> ResetRecord {
    record.flags |= flags::UNTRANSLATED;
    record.set_true_remote(&[10, 96, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 443);
    record
}

pub(super) const CASES: &[Case] = &[
    // The rule accepts established connections by their conntrack entry, which this one had lost.
    ("firewall_while_full", || {
        let mut record = rejected();
        record.segment.flags = tcp_flag::ACK | tcp_flag::PSH;
        full(record, 2 * SECOND)
    }),
    // A new connection has no entry to lose, and a table that was full long ago is no cause.
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
    // A router's conntrack considered the reply invalid.
    ("untranslated", || untranslated(fixture::sent_answer())),
    // The reply to a server: its client's router did not translate.
    ("untranslated", || untranslated(answer_from(sk_class::LISTEN, "TCP_FLAGS", tcp_flag::ACK))),
    // The server's SYN-ACK bypassed the router.
    ("untranslated", || untranslated(answer_from(sk_class::NONE, "NO_SOCKET", tcp_flag::SYN | tcp_flag::ACK))),
    ("subflow_reset", || {
        let mut record = active("NOT_SPECIFIED", state::ESTABLISHED);
        record.subflow = 1;
        record
    }),
    // A kernel without reasons: a connection that a listener's close drops may have unread data too.
    ("never_accepted", || {
        let mut record = marked(own_abort("NOT_SPECIFIED"), mark::UNACCEPTED);
        record.tcp.rcv_nxt = 900;
        record.tcp.copied_seq = 800;
        record
    }),
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
    // A SYN-ACK is not a handshake's last ACK.
    ("bad_syn", || answer_from(sk_class::LISTEN, "INVALID_SYN", tcp_flag::SYN | tcp_flag::ACK)),
    // The port is reused while this side still waits for the old connection's FIN.
    ("bad_syn", || answer_from(sk_class::TIME_WAIT, "TCP_TIMEWAIT_SOCKET", tcp_flag::SYN)),
    ("unexpected_syn_ack", || answer_from(sk_class::NONE, "NO_SOCKET", tcp_flag::SYN | tcp_flag::ACK)),
    ("abandoned_connect", abandoned_connect),
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
    // A process per connection: its exit is the close.
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
    // A kernel without reasons: what was not read is the peer's FIN, which came before the state was created.
    ("linger_zero", || {
        let mut record = marked(own_abort("NOT_SPECIFIED"), mark::LINGER0);
        record.conn.old_state = state::CLOSE_WAIT;
        (record.tcp.rcv_nxt, record.tcp.copied_seq) = (901, 900);
        record
    }),
    // A message came just before, after a silence of the client's: what is aborted at once was no closing message.
    ("linger_zero", || {
        let mut record = idle_abort();
        record.conn.closing.sent_age = 0;
        record
    }),
    ("probe", || {
        let mut record = marked(own_abort("TCP_STATE"), mark::LINGER0);
        (record.tcp.data_segs_in, record.tcp.data_segs_out) = (0, 0);
        record
    }),
    ("idle_abort", idle_abort),
    // On an old connection, a request has the time of the last response: it may have been open.
    ("linger_unclear", || {
        let mut record = idle_abort();
        record.conn.closing.received_age = record.conn.closing.sent_age;
        record.conn.closing.ack_age = record.conn.closing.sent_age;
        record.conn.sampled.closing_quiet = jiffies(2_000);
        record.conn.sampled.segs_out = 50;
        record
    }),
    // Opened in advance and never used: its timer ended it.
    ("idle_abort", || {
        let mut record = idle_at_close(marked(own_abort("TCP_STATE"), mark::LINGER0));
        (record.tcp.data_segs_in, record.tcp.data_segs_out) = (0, 0);
        record
    }),
    ("disconnected", || own_abort("TCP_STATE")),
    ("disconnected", || own_abort("TCP_DISCONNECT_WITH_DATA")),
    // A reason that this version does not know: nothing is derived instead.
    ("undecided", || active("OF_THE_FUTURE", state::ESTABLISHED)),
];
