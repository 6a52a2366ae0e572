//! The idle gap before a received reset. How it is computed depends on what was outstanding and whether the peer had
//! closed.

use std::time::Duration;

use rstwatch_common::record::{ConnState, ResetRecord, TcpFacts, last_payload, role, sock_flag, tcp_flag};

use super::facts::since;
use super::sample::{self, LastMessages, MAX_CLOSING_SEGMENTS, Sample};
use super::{Context, GAP, facts};

/// An idle gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// Its length; `None` if the times do not show it.
    pub length: Option<Duration>,
    /// An operation of ours ended it, and the reset answered that; otherwise the reset itself ended it.
    pub ended_by_us: bool,
    /// How much of it had passed when the peer's FIN arrived.
    pub until_fin: Option<Duration>,
    /// A short message arrived with the peer's FIN after an idle period, and the periodic scan had not sampled the
    /// connection: a closing message, or a late response.
    pub unsampled_message: bool,
    /// A client sent something after a silence of this end's, and its FIN with it: a closing message, or a request that it gave
    /// up at once.
    pub message_or_request: bool,
    /// A closing message came with the peer's FIN: a program ended the connection, not the death of a process.
    pub closing_message: bool,
    /// Before the peer's FIN, a request and a response came within the same jiffy: this end may or may not have had one
    /// to answer.
    pub order_unknown: bool,
    /// The same, and the periodic scan had not sampled the connection since.
    pub order_unsampled: bool,
    /// Shorter gaps are normal for this connection: the maximum of one second, four round trips and the RTO.
    pub threshold: Duration,
}

impl Gap {
    /// Whether the connection was idle before the operation that was reset, or when the reset arrived.
    pub fn is_idle(&self) -> bool {
        self.length.is_some_and(|length| length >= self.threshold)
    }

    /// Whether the connection was idle when the peer closed. Idle time after the FIN alone means a late response, or an
    /// upload that the peer no longer reads.
    pub fn was_idle_at_fin(&self) -> bool {
        self.until_fin.map_or_else(|| self.is_idle(), |idle| idle >= self.threshold)
    }

    /// Whether a program of the peer's most likely closed the idle connection: with a closing message, or after a whole number
    /// of seconds. Programs set idle timers in seconds, while a process dies at any time and without a word.
    pub fn closed_by_program(&self) -> bool {
        let by_timer = |idle| is_timers(idle) && !self.order_unsampled;
        self.until_fin.is_some_and(|idle| self.was_idle_at_fin() && (by_timer(idle) || self.closing_message))
    }
}

/// Maximum length of a closing message: TLS close_notify and QUIT take some 30 bytes, GOAWAY 70, the closing messages
/// of MySQL and Postgres up to 200, an HTTP status 408 somewhat more.
pub const MAX_CLOSING_BYTES: u32 = 512;

/// A closing message arrives at most this long before the FIN.
const WITH_FIN: Duration = Duration::from_millis(200);

/// A timer fires at most this late: its own scheduling and the path's delay.
const TIMER_LATE: Duration = Duration::from_millis(60);
/// A timer seems to fire early by the resolution of the kernel's clocks.
const TIMER_EARLY: Duration = Duration::from_millis(20);

/// Whether an idle time is a whole number of seconds, as programs set their timers.
pub fn is_timers(idle: Duration) -> bool {
    let past = Duration::from_nanos(idle.subsec_nanos().into());
    past <= TIMER_LATE || past >= Duration::from_secs(1) - TIMER_EARLY
}

/// The idle gap before a received reset.
pub(super) fn gap(record: &ResetRecord, context: &Context) -> Gap {
    let tcp = &record.tcp;
    let outstanding = payload_outstanding(record) > 0;
    let fin_ago = since(record, record.conn.fin.time_ns);
    let until_fin = fin_ago.and_then(|_| idle_at_fin(record, context));
    let unsampled_message = fin_ago.is_some() && closing_message_unsampled(&record.conn, context);
    let message_or_request = fin_ago.is_some() && message_or_request(&record.conn, context);
    let length = match (outstanding, fin_ago) {
        (_, Some(_)) if unsampled_message || message_or_request => None,
        // The FIN itself is no activity: the gap begins before it, unless we have been writing ever since.
        (true, Some(_)) if wrote_before(record) => None,
        (true, Some(ago)) => until_fin.map(|idle| (idle + ago).saturating_sub(operation_age(record, context))),
        (true, None) if answering(record, context) => None,
        (true, None) => heard(tcp, context).map(|heard| heard.saturating_sub(operation_age(record, context))),
        (false, Some(ago)) => until_fin.map(|idle| idle + ago),
        // A request in progress is no idle time, and neither is data that we do not read.
        (false, None) if response_pending(record) || facts::unread(record) > MAX_CLOSING_BYTES => None,
        (false, None) if request_open(record) => silence_before_request(record, context),
        (false, None) => shortest(context.jiffies(tcp.sent_age), context.jiffies(tcp.received_age)),
    };
    Gap {
        length,
        ended_by_us: outstanding || (fin_ago.is_none() && request_open(record)),
        until_fin,
        unsampled_message,
        message_or_request,
        closing_message: fin_ago.is_some() && closing_message(record, context),
        order_unknown: fin_ago.is_some() && order_unknown(&record.conn, context),
        order_unsampled: fin_ago.is_some() && order_unknown(&record.conn, context) && !order_sampled(&record.conn),
        threshold: threshold(tcp, context),
    }
}

/// Whether the last payloads of both sides before the peer's FIN have the same time, after which the connection was idle.
fn order_unknown(conn: &ConnState, context: &Context) -> bool {
    let idle = context.jiffies(conn.fin.sent_age).is_some_and(|age| age >= GAP);
    idle && conn.fin.sent_age == conn.fin.received_age
}

/// Whether a sample shows which end sent the last payload before the peer's FIN.
fn order_sampled(conn: &ConnState) -> bool {
    sample_at_fin(conn).follows(conn.fin.received_age) && conn.sampled.last_payload != last_payload::UNKNOWN
}

/// An upload sends more than this many data segments for each one it receives.
const UPLOAD_RATIO: u32 = 8;

/// Whether this end is a client that sends far more data segments than it receives.
pub(super) fn uploading(record: &ResetRecord) -> bool {
    record.conn.role == role::CLIENT && record.tcp.data_segs_out / UPLOAD_RATIO > record.tcp.data_segs_in
}

/// Whether this end is a client whose last request was not answered.
pub(super) fn request_open(record: &ResetRecord) -> bool {
    record.conn.role == role::CLIENT && facts::unanswered(record) && !uploading(record)
}

/// Whether this end is a server that had yet to respond to a request. Before its first response its last payload has the
/// time of the handshake, which may be that of the request too.
pub(super) fn response_pending(record: &ResetRecord) -> bool {
    let tcp = &record.tcp;
    let pending = tcp.received_age < tcp.sent_age || tcp.data_segs_out == 0;
    record.conn.role == role::SERVER && tcp.data_segs_in > 0 && pending
}

/// Whether our outstanding data is the first response, or the response to a request that the periodic scan found open: the time
/// before it was work.
fn answering(record: &ResetRecord, context: &Context) -> bool {
    let tcp = &record.tcp;
    let first = tcp.data_segs_in > 0 && tcp.data_segs_out <= tcp.packets_out;
    record.conn.role == role::SERVER && (first || request_sampled(record, context))
}

/// Whether the last sample found a request open that our outstanding data answers. A sample that precedes our last response says
/// nothing: either we have sent only the outstanding segments since, or the request was so recent that no idle period can have
/// come after its response.
fn request_sampled(record: &ResetRecord, context: &Context) -> bool {
    let (tcp, sampled) = (&record.tcp, &record.conn.sampled);
    let open = sampled.jiffies != 0 && sampled.last_payload == last_payload::PEERS;
    let in_flight = tcp.packets_out.saturating_add(tcp.retransmits.into());
    open && (segments_since(tcp.data_segs_out, sampled.segs_out) <= in_flight || sampled_just_before(record, context))
}

/// Whether the last sample was taken less than an idle gap before the operation that was reset. Segments of the peer's since then
/// hide its age.
fn sampled_just_before(record: &ResetRecord, context: &Context) -> bool {
    let (tcp, sampled) = (&record.tcp, &record.conn.sampled);
    let same_request = segments_since(tcp.data_segs_in, sampled.segs_in) == 0;
    let age = same_request.then(|| sample::age(sampled, tcp.received_age)).flatten();
    let age = age.and_then(|jiffies| context.jiffies(jiffies));
    age.is_some_and(|age| age < operation_age(record, context) + GAP)
}

/// Segments since their count was `then`, of which the connection state keeps the low half; modulo 2^16.
fn segments_since(now: u32, then: u16) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the connection state keeps the low half")]
    let since = (now as u16).wrapping_sub(then);
    since.into()
}

/// Time between the last payload before our last request, or the handshake, and that request.
fn silence_before_request(record: &ResetRecord, context: &Context) -> Option<Duration> {
    let tcp = &record.tcp;
    let asked = context.jiffies(tcp.sent_age)?;
    let before = if tcp.data_segs_in > 0 {
        context.jiffies(tcp.received_age)
    } else if tcp.data_segs_out == 1 {
        since(record, record.conn.established_ns)
    } else {
        None
    };
    before.map(|before| before.saturating_sub(asked))
}

/// How long the connection had been idle when the peer's FIN arrived; zero if a request was open, `None` if not seen.
fn idle_at_fin(record: &ResetRecord, context: &Context) -> Option<Duration> {
    let conn = &record.conn;
    let sample = sample_at_fin(conn);
    // Same jiffy: the periodic scan's sample decides who sent last.
    let tie = conn.fin.sent_age == conn.fin.received_age;
    let unanswered = conn.fin.sent_age < conn.fin.received_age || (tie && sample.is_open_after(conn.fin.sent_age));
    // Segments that were sent after the FIN do not count.
    let never_answered = record.tcp.data_segs_in == 0 && conn.fin.segs_out > 0;
    let request_open = conn.role == role::CLIENT && (unanswered || never_answered) && !crossed(record, context);
    // Same jiffy: assume an open request, because what a server writes after a FIN is nearly always a late response.
    let response_open = response_open_at_fin(record);
    let closing_message = closing_message(record, context);
    let last_messages = sample.last_messages(conn.fin.sent_age, context);
    // If the client was waiting when last sampled, the message is a response, though a late one.
    let late_response = closing_message && conn.role == role::CLIENT && last_messages == LastMessages::Response;
    if request_open || response_open || late_response {
        Some(Duration::ZERO)
    } else if crossed(record, context) {
        context.jiffies(conn.fin.received_age)
    } else if closing_message {
        context.jiffies(idle_before_closing_message(conn, last_messages))
    } else {
        context.jiffies(conn.fin.sent_age.min(conn.fin.received_age))
    }
}

/// Whether this end is a server that had not responded when the client's FIN came.
fn response_open_at_fin(record: &ResetRecord) -> bool {
    let conn = &record.conn;
    conn.role == role::SERVER && conn.fin.received_age <= conn.fin.sent_age && record.tcp.data_segs_in > 0
}

/// How long before the client's FIN the request came that was open then.
pub(super) fn request_before_fin(record: &ResetRecord, context: &Context) -> Option<Duration> {
    let fin = &record.conn.fin;
    // At the same time, the request may have been answered.
    let unanswered = fin.received_age < fin.sent_age || fin.segs_out == 0;
    let open = fin.time_ns != 0 && unanswered && response_open_at_fin(record);
    open.then(|| context.jiffies(record.conn.fin.received_age)).flatten()
}

/// Whether our request crossed the peer's FIN: it was sent within a round trip before the FIN came, after an idle period, and
/// the peer had not acknowledged it when it reset the connection.
fn crossed(record: &ResetRecord, context: &Context) -> bool {
    let fin = &record.conn.fin;
    let round_trip = Duration::from_micros(u64::from(record.tcp.srtt_us >> 3)) + 2 * context.jiffy;
    let just_sent = context.jiffies(fin.sent_age).is_some_and(|age| age <= round_trip);
    let idle_before = context.jiffies(fin.received_age).is_some_and(|age| age >= GAP);
    // What was sent later is another operation.
    let sent_before =
        since(record, fin.time_ns).is_some_and(|ago| operation_age(record, context) + 2 * context.jiffy >= ago);
    record.conn.role == role::CLIENT && just_sent && idle_before && sent_before && payload_outstanding(record) > 0
}

/// Whether a closing message, such as TLS close_notify, arrived with the FIN; it stays unread in a pooled connection. The
/// FIN itself takes one sequence number, which is included.
fn closing_message(record: &ResetRecord, context: &Context) -> bool {
    let fin = &record.conn.fin;
    let unread = fin.unread.saturating_sub(1);
    let with_fin = context.jiffies(fin.received_age).is_some_and(|age| age < WITH_FIN);
    with_fin && unread > 0 && unread <= MAX_CLOSING_BYTES
}

fn closing_message_unsampled(conn: &ConnState, context: &Context) -> bool {
    let is_gap = |jiffies| context.jiffies(jiffies).is_some_and(|length| length >= GAP);
    // Where the role was not seen, it may be a client.
    let client = conn.role != role::SERVER && conn.fin.unread > 1;
    let unknown = sample_at_fin(conn).last_messages(conn.fin.sent_age, context) == LastMessages::Unknown;
    client && unknown && is_gap(conn.fin.sent_age) && !is_gap(conn.fin.received_age)
}

/// Whether what a client sent last may be a closing message, as TLS and SMTP have one: it came with the FIN after this end had
/// been silent, and no sample shows that it belongs to a request.
fn message_or_request(conn: &ConnState, context: &Context) -> bool {
    let (fin, sample) = (&conn.fin, sample_at_fin(conn));
    let with_fin = context.jiffies(fin.received_age).is_some_and(|age| age < WITH_FIN);
    let silent = context.jiffies(fin.sent_age).is_some_and(|age| age >= GAP);
    let asked = conn.sampled.last_payload == last_payload::PEERS || sample.segments > MAX_CLOSING_SEGMENTS;
    let of_request = sample.follows(fin.sent_age) && asked;
    conn.role == role::SERVER && fin.segs_out > 0 && with_fin && silent && !of_request
}

/// The last sample, seen from the peer's FIN.
fn sample_at_fin(conn: &ConnState) -> Sample {
    Sample {
        age: sample::age(&conn.sampled, conn.sampled.fin_quiet),
        quiet: sample::quiet_at(&conn.sampled),
        // Before the first response, our request may have the time of the handshake.
        request_open: conn.sampled.last_payload == last_payload::OURS
            || (conn.sampled.segs_out != 0 && conn.sampled.segs_in == 0),
        segments: conn.sampled.fin_segs,
    }
}

/// Idle jiffies before the unread message that came with the FIN. It is a closing message only if a sample found the
/// connection idle; a peer that kept pushing has sent more segments.
fn idle_before_closing_message(conn: &ConnState, last_messages: LastMessages) -> u32 {
    let fin = &conn.fin;
    match last_messages {
        LastMessages::Few => fin.sent_age.min(conn.sampled.fin_quiet.saturating_sub(fin.received_age)),
        LastMessages::Response | LastMessages::Stream => fin.received_age,
        LastMessages::Unknown => fin.sent_age,
    }
}

/// Whether we had written between the peer's FIN and the data that is now outstanding.
fn wrote_before(record: &ResetRecord) -> bool {
    let tcp = &record.tcp;
    let since = segments_since(tcp.data_segs_out, record.conn.fin.segs_out);
    tcp.retransmits == 0 && since > tcp.packets_out.max(1)
}

/// Our unacknowledged and unsent bytes, without our FIN. The RST's own ACK counts.
pub(super) fn payload_outstanding(record: &ResetRecord) -> u32 {
    let tcp = &record.tcp;
    let bytes = tcp.write_seq.wrapping_sub(acknowledged(record));
    let fin = u32::from(tcp.shutdown & 2 != 0 && bytes > 0);
    // Numbers read while the kernel changed them may be inconsistent: more than a window is no count.
    if bytes > 1 << 30 { 0 } else { bytes - fin }
}

/// The first byte that the peer has not acknowledged, its RST included.
fn acknowledged(record: &ResetRecord) -> u32 {
    let tcp = &record.tcp;
    let in_flight = tcp.snd_nxt.wrapping_sub(tcp.snd_una);
    let by_rst = facts::header(record)
        .filter(|rst| rst.flags & tcp_flag::ACK != 0 && rst.ack.wrapping_sub(tcp.snd_una) <= in_flight);
    by_rst.map_or(tcp.snd_una, |rst| rst.ack)
}

/// Time since the start of the operation that was reset.
fn operation_age(record: &ResetRecord, context: &Context) -> Duration {
    let tcp = &record.tcp;
    let oldest = Duration::from_nanos(tcp.rtx_age_ns);
    let last = context.jiffies(tcp.sent_age).unwrap_or_default();
    // If several writes form the operation, its first is the oldest unacknowledged segment.
    let latest = oldest.max(last);
    match (tcp.operation_age_ns, tcp.retransmits) {
        (0, 0) => latest,
        (0, _) => first_transmission_age(record, context),
        (age, _) => latest.max(Duration::from_nanos(age)),
    }
}

/// Approximate, for kernels that do not keep the time of the first transmission: one RTO before `retrans_stamp`, the
/// time of the first retransmission in milliseconds of TCP's clock.
fn first_transmission_age(record: &ResetRecord, context: &Context) -> Duration {
    let tcp = &record.tcp;
    #[expect(clippy::cast_possible_truncation, reason = "the kernel keeps the low 32 bits")]
    let now_ms = (record.time_ns / 1_000_000) as u32;
    let since_retransmission = Duration::from_millis(now_ms.wrapping_sub(tcp.retrans_stamp).into());
    let first_rto = context.jiffies(tcp.rto >> tcp.backoff.min(31)).unwrap_or_default();
    since_retransmission + first_rto
}

/// Time since the peer was last heard. ACKs count because one-way uploads get nothing else, but not those that answer
/// our keepalives.
fn heard(tcp: &TcpFacts, context: &Context) -> Option<Duration> {
    let payload = context.jiffies(tcp.received_age);
    let one_way = tcp.data_segs_out / 4 > tcp.data_segs_in;
    if tcp.sk_flags & sock_flag::KEEPOPEN != 0 && tcp.data_segs_in > 0 && !one_way {
        return payload;
    }
    shortest(payload, context.jiffies(tcp.ack_age))
}

pub(super) fn shortest(left: Option<Duration>, right: Option<Duration>) -> Option<Duration> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (left, right) => left.or(right),
    }
}

fn threshold(tcp: &TcpFacts, context: &Context) -> Duration {
    let round_trips = Duration::from_micros(u64::from(tcp.srtt_us >> 3) * 4);
    let rto = context.jiffies(tcp.rto >> tcp.backoff.min(31)).unwrap_or_default();
    // An RTO is at most two minutes (TCP_RTO_MAX, include/net/tcp.h).
    GAP.max(round_trips).max(rto.min(Duration::from_secs(120)))
}
