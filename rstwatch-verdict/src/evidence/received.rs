//! Evidence of received resets: times, state and the RST's own header.

use std::time::Duration;

use rstwatch_common::record::{ResetRecord, Segment, present, role, state, tcp_flag};

use super::{Context, Correlation, Received, forgery, idle};

/// The shape of an RST segment. Linux sends two, and most other stacks do likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// RST and ACK, with the numbers of a live socket: that socket was aborted.
    Abort,
    /// A bare RST with the sequence number of our ACK: the stack does not know the connection.
    NoConnection,
    /// The header was not seen.
    Unseen,
}

/// What happened to our data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Our payload bytes that the peer had not acknowledged, unsent bytes included.
    pub outstanding: u32,
    /// Our last payload was sent after the peer's last: no response to it was seen.
    pub unanswered: bool,
    /// The peer has acknowledged nothing since the handshake.
    pub nothing_acknowledged: bool,
    /// This end is a client with a long one-way request; hardly any segments came back.
    pub uploading: bool,
    /// Data was retransmitted.
    pub retransmitted: bool,
    /// This end is the server, and a request was unanswered.
    pub owing: bool,
    /// This end is the server.
    pub we_serve: bool,
    /// This end has sent payload.
    pub sent_any: bool,
    /// The peer has sent payload.
    pub received_any: bool,
}

/// An upload sends at least this many data segments for each that comes back.
const UPLOAD: u32 = 8;

/// Shorter than any retransmission timeout (TCP_RTO_MIN, include/net/tcp.h).
const MOMENTS: Duration = Duration::from_millis(100);

/// How recent a keepalive probe from the peer must be.
const PROBED_WITHIN: Duration = Duration::from_secs(60);

pub(super) fn evidence(record: &ResetRecord, context: &Context) -> Received {
    let tcp = &record.tcp;
    let delivery = Delivery {
        outstanding: idle::payload_outstanding(record),
        unanswered: tcp.data_segs_out > 0 && (tcp.data_segs_in == 0 || sent_last(record)),
        nothing_acknowledged: acknowledged_nothing(record, context),
        uploading: record.conn.role == role::CLIENT && tcp.data_segs_out / UPLOAD > tcp.data_segs_in,
        retransmitted: tcp.retransmits > 0,
        owing: record.conn.role == role::SERVER && tcp.received_age < tcp.sent_age,
        we_serve: record.conn.role == role::SERVER,
        sent_any: tcp.data_segs_out > 0,
        received_any: tcp.data_segs_in > 0,
    };
    let header = header(record);
    Received {
        sender_verdict: None,
        connecting: record.state == state::SYN_SENT,
        we_closed: tcp.shutdown & 2 != 0,
        peer_closed: peer_closed(record),
        fin_ago: idle::since(record, record.conn.fin.time_ns),
        gap: idle::gap(record, context),
        shape: header.map_or(Shape::Unseen, |rst| shape(record, rst)),
        forgery: header.map_or_else(Default::default, |rst| {
            let heard = idle::shortest(context.jiffies(tcp.received_age), context.jiffies(tcp.ack_age));
            forgery::score(record, rst, delivery.outstanding > 0, heard)
        }),
        correlation: Correlation::default(),
        delivery,
        peer_probed: context.jiffies(tcp.oow_age).is_some_and(|age| age < PROBED_WITHIN),
        age: idle::since(record, record.conn.established_ns),
    }
}

/// Whether the last accepted ACK is the handshake's. Jiffies are coarse, so an ACK shortly after the handshake passes
/// too.
fn acknowledged_nothing(record: &ResetRecord, context: &Context) -> bool {
    let age = idle::since(record, record.conn.established_ns);
    let heard = context.jiffies(record.tcp.ack_age);
    age.zip(heard).is_some_and(|(age, heard)| heard + MOMENTS >= age)
}

/// Whether our last payload was sent after the peer's last. If both have the same time, the server's was the later one,
/// or that of a client which has sent more data segments than it received.
fn sent_last(record: &ResetRecord) -> bool {
    let tcp = &record.tcp;
    let tie_is_ours = record.conn.role == role::SERVER || tcp.data_segs_out > tcp.data_segs_in;
    tcp.sent_age < tcp.received_age || (tcp.sent_age == tcp.received_age && tie_is_ours)
}

/// Whether the peer's FIN had arrived. The state shows it even if the FIN arrived before the agent started.
fn peer_closed(record: &ResetRecord) -> bool {
    let closed = matches!(record.state, state::CLOSE_WAIT | state::LAST_ACK | state::CLOSING);
    closed || record.conn.fin.time_ns != 0
}

/// The header of the RST that was accepted: the last one that reached the socket, if it is one that the socket accepts
/// (net/ipv4/tcp_input.c, tcp_validate_incoming).
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

fn shape(record: &ResetRecord, rst: &Segment) -> Shape {
    // An answer to a SYN has ACK set too (RFC 9293 section 3.10.7.1).
    if record.state == state::SYN_SENT || rst.flags & tcp_flag::ACK == 0 { Shape::NoConnection } else { Shape::Abort }
}

/// Whether this may be a phantom: no RST header was seen, and in this state the kernel calls tcp_reset() itself when
/// data arrives after RCV_SHUTDOWN.
pub fn is_phantom(record: &ResetRecord) -> bool {
    let possible = matches!(
        record.state,
        state::FIN_WAIT1 | state::FIN_WAIT2 | state::CLOSE_WAIT | state::CLOSING | state::LAST_ACK
    );
    possible && record.tcp.shutdown & 1 != 0 && header(record).is_none()
}
