//! Facts of a record that need no others: what the end of a connection had sent and seen.

use std::time::Duration;

use rstwatch_common::record::{ConnState, ResetRecord, Segment, present, role, state, tcp_flag};

/// Whether this end has sent payload to which no response was seen.
pub(super) fn unanswered(record: &ResetRecord) -> bool {
    record.tcp.data_segs_out > 0 && (record.tcp.data_segs_in == 0 || sent_last(record))
}

/// Whether our last payload was sent after the peer's last. If both fall within the same jiffy, the server is assumed to
/// have sent last, or a client that has sent more data segments than it has received.
fn sent_last(record: &ResetRecord) -> bool {
    let tcp = &record.tcp;
    let tie_is_ours = record.conn.role == role::SERVER || tcp.data_segs_out > tcp.data_segs_in;
    tcp.sent_age < tcp.received_age || (tcp.sent_age == tcp.received_age && tie_is_ours)
}

/// Whether the peer's FIN had arrived. The TCP state shows it even if that was before the agent started.
pub(super) fn peer_closed(record: &ResetRecord) -> bool {
    after_fin(record.state) || fin_came(&record.conn)
}

/// The same, from the connection's state alone.
fn fin_came(conn: &ConnState) -> bool {
    conn.fin.time_ns != 0 || after_fin(conn.reset_state) || after_fin(conn.old_state)
}

/// Whether a socket reaches this state only by the peer's FIN.
fn after_fin(state: u8) -> bool {
    matches!(state, state::CLOSE_WAIT | state::LAST_ACK | state::CLOSING)
}

/// Payload bytes that this end had not read when it aborted. The kernel side counts the sequence number of the peer's FIN
/// too, which is not data.
pub(super) fn unread_at_abort(conn: &ConnState) -> u32 {
    conn.reset.unread.saturating_sub(fin_came(conn).into())
}

/// Payload bytes received and not read, as the socket's numbers say.
pub fn unread(record: &ResetRecord) -> u32 {
    let bytes = record.tcp.rcv_nxt.wrapping_sub(record.tcp.copied_seq);
    // Numbers read while the kernel changed them may be inconsistent: more than a window is no count.
    if bytes > 1 << 30 { 0 } else { bytes.saturating_sub(peer_closed(record).into()) }
}

/// The header of the accepted RST: the last RST that reached the socket, provided that the socket accepts its sequence
/// number (tcp_validate_incoming, net/ipv4/tcp_input.c).
pub fn header(record: &ResetRecord) -> Option<&Segment> {
    let rst = &record.segment;
    let seen = rst.present & present::SEGMENT != 0 && rst.flags & tcp_flag::RST != 0;
    if !seen || record.state == state::SYN_SENT {
        return seen.then_some(rst);
    }
    let behind = record.tcp.rcv_nxt.wrapping_sub(rst.seq);
    let ahead = rst.seq.wrapping_sub(record.tcp.rcv_nxt);
    // Exact, one behind after the peer's FIN, or at the right edge of a SACK block (above, within a window).
    let acceptable = behind == 0 || (behind == 1 && peer_closed(record)) || (ahead > 0 && ahead < 1 << 24);
    acceptable.then_some(rst)
}

/// Time from a timestamp of the record to the reset; `None` if it is not set.
pub(super) fn since(record: &ResetRecord, stamp_ns: u64) -> Option<Duration> {
    (stamp_ns != 0).then(|| Duration::from_nanos(record.time_ns.saturating_sub(stamp_ns)))
}
