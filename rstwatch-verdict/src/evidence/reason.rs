//! The kernel's reasons that verdicts distinguish, by name: numbers differ between kernels.

use rstwatch_common::record::{ConnState, ResetRecord, flags, mark, sk_class, sock_flag, state, tcp_flag};

use super::facts;
use crate::reasons::Reasons;

/// `enum sk_rst_reason` (include/net/rstreason.h), as far as verdicts need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kernel's")]
pub enum Reason {
    NoSocket,
    TcpFlags,
    TimewaitSocket,
    InvalidSyn,
    InvalidAckSequence,
    OldAck,
    TooOldAck,
    AckUnsentData,
    Rfc7323Paws,
    AbortOnData,
    AbortOnClose,
    AbortOnLinger,
    AbortOnMemory,
    KeepaliveTimeout,
    DisconnectWithData,
    TcpState,
    Mptcp,
    /// Any other reason, or none that can be derived.
    Other,
}

impl Reason {
    /// By the kernel's name without `SK_RST_REASON_`.
    pub fn named(name: &str) -> Self {
        // include/net/rstreason.h: some names have a TCP_ prefix, in some versions.
        match name.strip_prefix("TCP_").unwrap_or(name) {
            "NO_SOCKET" => Self::NoSocket,
            "FLAGS" => Self::TcpFlags,
            "TIMEWAIT_SOCKET" => Self::TimewaitSocket,
            "INVALID_SYN" => Self::InvalidSyn,
            "INVALID_ACK_SEQUENCE" => Self::InvalidAckSequence,
            "OLD_ACK" => Self::OldAck,
            "TOO_OLD_ACK" => Self::TooOldAck,
            "ACK_UNSENT_DATA" => Self::AckUnsentData,
            "RFC7323_PAWS" => Self::Rfc7323Paws,
            "ABORT_ON_DATA" => Self::AbortOnData,
            "ABORT_ON_CLOSE" => Self::AbortOnClose,
            "ABORT_ON_LINGER" => Self::AbortOnLinger,
            "ABORT_ON_MEMORY" => Self::AbortOnMemory,
            "KEEPALIVE_TIMEOUT" => Self::KeepaliveTimeout,
            "DISCONNECT_WITH_DATA" => Self::DisconnectWithData,
            "STATE" => Self::TcpState,
            mptcp if mptcp.starts_with("MPTCP_RST_") => Self::Mptcp,
            _ => Self::Other,
        }
    }

    /// The reason of a record, and whether the kernel gave it. Without one (active resets before Linux 6.12) it is
    /// derived from the fields. A name that this version does not know is never replaced by a derived reason.
    pub fn of(record: &ResetRecord, reasons: &Reasons) -> (Self, bool) {
        match reasons.name(record.reason).map(AsRef::as_ref) {
            Some(name) if name != "NOT_SPECIFIED" => (Self::named(name), true),
            _ if record.flags & flags::SKB != 0 => (passive_from_fields(record), false),
            _ => (active_from_fields(record), false),
        }
    }
}

fn passive_from_fields(record: &ResetRecord) -> Reason {
    let syn = record.segment.flags & tcp_flag::SYN != 0;
    // A full queue affects only the segment that completes a handshake.
    let completes = record.flags & flags::HANDSHAKE != 0;
    let full = completes && record.tcp.ack_backlog > record.tcp.max_ack_backlog;
    match record.sk_class {
        sk_class::NONE => Reason::NoSocket,
        sk_class::TIME_WAIT => Reason::TimewaitSocket,
        sk_class::LISTEN if syn || full => Reason::InvalidSyn,
        sk_class::LISTEN => Reason::TcpFlags,
        _ if record.state == state::SYN_SENT => Reason::InvalidAckSequence,
        _ if record.state == state::CLOSE => Reason::AbortOnData,
        _ => Reason::Other,
    }
}

/// For an active reset, from its connection state and its socket.
fn active_from_fields(record: &ResetRecord) -> Reason {
    let tcp = &record.tcp;
    let mut conn = record.conn;
    conn.reset_state = record.state;
    conn.reset.unread = tcp.rcv_nxt.wrapping_sub(tcp.copied_seq);
    if tcp.sk_flags & sock_flag::DEAD != 0 {
        conn.marks |= mark::ORPHANED;
    }
    if tcp.probes_out > 0 && tcp.packets_out == 0 {
        conn.marks |= mark::PROBING;
    }
    of_abort(&conn)
}

/// Why our side aborted, if the kernel gave no reason. The order matters, because each arm excludes those above it
/// (net/ipv4/tcp.c and tcp_timer.c).
pub(super) fn of_abort(conn: &ConnState) -> Reason {
    let marked = |mark| conn.marks & mark != 0;
    let unread = facts::unread_at_abort(conn) > 0;
    match conn.reset_state {
        // A child that was never accepted is disconnected with its listener, unread data or not.
        state::CLOSE if unread && !marked(mark::UNACCEPTED) => Reason::AbortOnClose,
        state::ESTABLISHED | state::CLOSE_WAIT if marked(mark::PROBING) => Reason::KeepaliveTimeout,
        // tcp_check_oom and tcp_out_of_resources end orphans; so does linger2 below zero, from FIN_WAIT2.
        state::CLOSE if marked(mark::ORPHANED) && conn.old_state == state::FIN_WAIT2 => Reason::AbortOnLinger,
        state::CLOSE if marked(mark::ORPHANED) && marked(mark::CLOSED_BY_OWNER) => Reason::AbortOnMemory,
        state::FIN_WAIT1 | state::LAST_ACK | state::CLOSING if marked(mark::ORPHANED) => Reason::AbortOnMemory,
        // linger 0, a listener's close, ss -K, disconnect(): the state and the marks distinguish them.
        _ => Reason::TcpState,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_names_of_6_10_to_7_1() {
        let cases = [
            ("NO_SOCKET", Reason::NoSocket),
            ("TCP_FLAGS", Reason::TcpFlags),
            ("TIMEWAIT_SOCKET", Reason::TimewaitSocket),
            ("TCP_TIMEWAIT_SOCKET", Reason::TimewaitSocket),
            ("TCP_ABORT_ON_DATA", Reason::AbortOnData),
            ("TCP_STATE", Reason::TcpState),
            ("TCP_KEEPALIVE_TIMEOUT", Reason::KeepaliveTimeout),
            ("MPTCP_RST_EMPTCP", Reason::Mptcp),
            ("NOT_SPECIFIED", Reason::Other),
            ("ERROR", Reason::Other),
        ];
        for (name, reason) in cases {
            assert_eq!(Reason::named(name), reason, "{name}");
        }
    }
}
