//! Evidence of received resets: times, connection state and the RST's header.

use std::time::Duration;

use rstwatch_common::record::{ResetRecord, Segment, role, state, tcp_flag};

use super::facts::{header, peer_closed, unanswered};
use super::forgery::Situation;
use super::{Context, Correlation, Received, facts, forgery, idle};

/// The shape of an RST segment. Linux sends two shapes, as do most other stacks.
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
    /// This end is a client that sends far more data segments than it receives.
    pub uploading: bool,
    /// This end is a client, or its role was not seen, and receives far more data segments than it sends: its ACKs draw answers
    /// too.
    pub downloading: bool,
    /// Data was retransmitted.
    pub retransmitted: bool,
    /// This end is the server, and had yet to respond to a request.
    pub response_pending: bool,
    /// This end is a client whose last request was not answered.
    pub request_open: bool,
    /// Time since the request that was in progress; `None` if none was.
    pub request_age: Option<Duration>,
    /// Payload bytes from the peer that this end had not read.
    pub unread: u32,
    /// This end is the server.
    pub we_serve: bool,
    /// This end has sent payload.
    pub sent_any: bool,
    /// The peer has sent payload.
    pub received_any: bool,
}

/// A download receives more than this many data segments for each one it sends.
const DOWNLOAD_RATIO: u32 = 8;

/// An ACK within this time of the handshake counts as the handshake's: jiffies are coarse. Shorter than any retransmission
/// timeout (TCP_RTO_MIN, include/net/tcp.h).
const HANDSHAKE_ACK_TOLERANCE: Duration = Duration::from_millis(100);

/// A keepalive probe from the peer is evidence only if it arrived within this time.
const PROBED_WITHIN: Duration = Duration::from_secs(60);

pub(super) fn evidence(record: &ResetRecord, context: &Context) -> Received {
    let tcp = &record.tcp;
    let (request_open, response_pending) = (idle::request_open(record), idle::response_pending(record));
    let request_age = if request_open { Some(tcp.sent_age) } else { response_pending.then_some(tcp.received_age) };
    let delivery = Delivery {
        outstanding: idle::payload_outstanding(record),
        unanswered: unanswered(record),
        nothing_acknowledged: acknowledged_nothing(record, context),
        uploading: idle::uploading(record),
        downloading: record.conn.role != role::SERVER && tcp.data_segs_in / DOWNLOAD_RATIO > tcp.data_segs_out,
        retransmitted: tcp.retransmits > 0,
        response_pending,
        request_open,
        request_age: request_age.and_then(|age| context.jiffies(age)),
        unread: facts::unread(record),
        we_serve: record.conn.role == role::SERVER,
        sent_any: tcp.data_segs_out > 0,
        received_any: tcp.data_segs_in > 0,
    };
    let header = header(record);
    let unheard = idle::shortest(context.jiffies(tcp.received_age), context.jiffies(tcp.ack_age));
    let gap = idle::gap(record, context);
    let received = context.jiffies(tcp.received_age);
    let situation = Situation { outstanding: delivery.outstanding > 0, heard: unheard, received };
    let mut forgery = header.map_or_else(Default::default, |rst| forgery::score(record, rst, &situation));
    if delivery.received_any && !delivery.downloading && gap.length.is_some() && !gap.is_idle() {
        forgery.add_use();
    }
    Received {
        sender_verdict: None,
        other_end_silent: false,
        connecting: record.state == state::SYN_SENT,
        role_seen: record.conn.role != role::UNKNOWN,
        we_closed: tcp.shutdown & 2 != 0,
        peer_closed: peer_closed(record),
        fin_ago: facts::since(record, record.conn.fin.time_ns),
        request_before_fin: idle::request_before_fin(record, context),
        gap,
        unheard,
        shape: header.map_or(Shape::Unseen, |rst| shape(record, rst)),
        forgery,
        correlation: Correlation::default(),
        delivery,
        subflow: record.subflow != 0,
        peer_probed: context.jiffies(tcp.oow_age).is_some_and(|age| age < PROBED_WITHIN),
        age: facts::since(record, record.conn.established_ns),
    }
}

/// Whether the last accepted ACK is the handshake's.
fn acknowledged_nothing(record: &ResetRecord, context: &Context) -> bool {
    let age = facts::since(record, record.conn.established_ns);
    let heard = context.jiffies(record.tcp.ack_age);
    let by_time = age.zip(heard).is_some_and(|(age, heard)| heard + HANDSHAKE_ACK_TOLERANCE >= age);
    by_time && !acknowledged_payload(record)
}

/// Whether the numbers prove that the peer has acknowledged payload: more was sent than is outstanding, and none of that can have
/// been sent twice yet: the first retransmission is a loss probe, two round trips and 2 ms after the first transmission at the
/// earliest (net/ipv4/tcp_output.c, tcp_schedule_loss_probe; TCP_TIMEOUT_MIN_US).
fn acknowledged_payload(record: &ResetRecord) -> bool {
    let tcp = &record.tcp;
    let first_probe_ns = u64::from(tcp.srtt_us >> 2) * 1000 + 2_000_000;
    let sent_once = tcp.retransmits == 0 && (1..first_probe_ns).contains(&tcp.operation_age_ns);
    sent_once && tcp.bytes_sent > idle::payload_outstanding(record).into()
}

fn shape(record: &ResetRecord, rst: &Segment) -> Shape {
    // An RST that answers a SYN also has ACK set (RFC 9293 section 3.10.7.1).
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
