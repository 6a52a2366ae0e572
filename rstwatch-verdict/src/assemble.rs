//! Stage 5: assembles an event from record, evidence and verdict.

use std::borrow::Cow;
use std::time::Duration;

use crate::addresses::ends;
use crate::classify::Verdict;
use crate::event::{Event, Family, Follows, LAST_MESSAGE, Role, Rst, TimeoutCandidate};
use crate::evidence::{self, Context, Ending, Evidence, Sent};
use crate::identity::Identity;
use crate::judged::Judged;
use crate::known_timeouts::Closer;
use crate::pair::seq_of_sent;
use crate::text::Sentence;
use crate::{decide, identity, known_timeouts, timing};
use rstwatch_common::record::{ConnState, ResetRecord, Segment, flags, kind, present, role, sk_class, tcp_flag};

/// One classified record, with its timing and the ids of its owner.
pub fn judged(record: &ResetRecord, evidence: &Evidence, verdict: Verdict, context: &Context) -> Judged {
    let timing = timing::of(evidence);
    let mut event = event(record, evidence, verdict, context);
    // If both ends were seen, no other observation could narrow the verdict.
    event.decide = if timing.repeats_sent { None } else { decide::observation(&event, timing.timer) };
    Judged { event, timing, identity: Identity::of(record) }
}

fn event(record: &ResetRecord, evidence: &Evidence, verdict: Verdict, context: &Context) -> Event {
    let (local, remote) = ends(&record.flow);
    let idle = idle(evidence);
    let bytes = byte_counts(record);
    let conn = (record.flags & (flags::CONN_STATE | flags::TOMBSTONE) != 0).then_some(&record.conn);
    let role = conn.map_or(Role::Unknown, role_of);
    let process = identity::owner(record).and_then(identity::process);
    let comm = process.as_ref().map(|process| &*process.comm);
    let leading = verdict.candidates.first().copied().unwrap_or(verdict.cause);
    let closer = Closer::of(leading, evidence.direction(), role, comm);
    Event {
        time: wall_time(record.time_ns, context),
        node: context.node.clone(),
        direction: evidence.direction(),
        cause: verdict.cause,
        sender: verdict.sender,
        confidence: verdict.confidence,
        sender_confidence: verdict.sender_confidence,
        candidates: verdict.candidates,
        because: std::iter::once(verdict.because).chain(unread_bytes_note(evidence).map(Sentence::from)).collect(),
        decide: None,
        family: Family::of(local.ip()),
        local,
        remote,
        netns: record.netns,
        role,
        state: state(record),
        kernel_reason: context.reasons.name(record.reason).cloned(),
        idle_ms: idle.map(millis),
        age_ms: conn.and_then(|conn| age(record, conn)),
        bytes_sent: bytes.map(|bytes| bytes.sent),
        bytes_received: bytes.map(|bytes| bytes.received),
        unacked_bytes: bytes.and_then(|bytes| bytes.unacked),
        unread_bytes: bytes.and_then(|bytes| bytes.unread),
        timeout_candidates: closer.map(|closer| candidates(evidence, closer)).unwrap_or_default(),
        rst: rst(record),
        workload: process.as_ref().map(identity::workload),
        remote_workload: None,
        process,
        follows: follows(evidence),
    }
}

fn follows(evidence: &Evidence) -> Option<Follows> {
    let Evidence::Sent(Sent { answered: Some(_), end: Some(end), ended_because, .. }) = evidence else { return None };
    match end.ending {
        Ending::Abandoned => Some(Follows::GivingUp { ago_ms: millis(end.ago) }),
        Ending::ResetByPeer => ended_because.as_ref().map(|because| Follows::Rst { sender: because.sender }),
        _ => None,
    }
}

/// Says how many bytes from the peer were unread here when the peer's RST arrived.
fn unread_bytes_note(evidence: &Evidence) -> Option<String> {
    let Evidence::Received(received) = evidence else { return None };
    say_unread(received.delivery.unread)
}

fn say_unread(bytes: u32) -> Option<String> {
    match bytes {
        0 => None,
        unread @ ..=LAST_MESSAGE => Some(format!("{unread} bytes from the peer lie unread here: they may say why")),
        unread => Some(format!("{unread} bytes from the peer lie unread here: this host did not keep up with reading")),
    }
}

fn wall_time(monotonic_ns: u64, context: &Context) -> jiff::Timestamp {
    // 64 bits last until 2262, and 128 take long to divide.
    let nanoseconds = i64::try_from(i128::from(monotonic_ns) + context.wall_offset_ns).unwrap_or(0);
    jiff::Timestamp::from_microsecond(nanoseconds / 1000).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The idle time that belongs to the verdict.
fn idle(evidence: &Evidence) -> Option<Duration> {
    match evidence {
        Evidence::Received(received) if !received.connecting => received.gap.length,
        Evidence::Sent(sent) if sent.silence_before_unread.is_some() => sent.silence_before_unread,
        Evidence::Sent(sent) => {
            // A half-closed connection may have been busy since.
            let measured = sent.end.as_ref().filter(|end| !end.unsampled && end.ending != Ending::HalfClosed);
            measured.and_then(|end| Some(end.idle?.saturating_add(end.ago)))
        }
        _ => None,
    }
}

/// Known timeouts that may have caused the reset: those that fit the idle time, or, if an operation of this host ended the idle
/// gap, the longest that it exceeded.
fn candidates(evidence: &Evidence, closer: Closer<'_>) -> Vec<TimeoutCandidate> {
    let closer = Some(closer);
    match evidence {
        Evidence::Sent(sent) => {
            let idle = sent.end.as_ref().and_then(|end| end.idle);
            idle.map(|idle| known_timeouts::fitting(idle, closer)).unwrap_or_default()
        }
        Evidence::Received(received) if received.gap.is_idle() => match received.gap {
            evidence::Gap { until_fin: Some(idle), .. } => known_timeouts::fitting(idle, closer),
            evidence::Gap { length: Some(length), ended_by_us: true, .. } => {
                known_timeouts::exceeded_by(length, closer)
            }
            evidence::Gap { length: Some(length), .. } => known_timeouts::fitting(length, closer),
            evidence::Gap { length: None, .. } => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn role_of(conn: &ConnState) -> Role {
    match conn.role {
        role::CLIENT => Role::Client,
        role::SERVER | role::LISTENER => Role::Server,
        _ => Role::Unknown,
    }
}

fn age(record: &ResetRecord, conn: &ConnState) -> Option<u64> {
    (conn.established_ns != 0).then(|| record.time_ns.saturating_sub(conn.established_ns) / 1_000_000)
}

/// The state before the reset. The kernel sets CLOSE before it sends the RST of an abort.
fn state(record: &ResetRecord) -> Option<&'static str> {
    use rstwatch_common::record::state as s;
    let gone = record.flags & flags::TOMBSTONE != 0 || record.state == s::CLOSE;
    let state = if gone && record.conn.old_state != 0 { record.conn.old_state } else { record.state };
    Some(match state {
        s::ESTABLISHED => "ESTABLISHED",
        s::SYN_SENT => "SYN_SENT",
        s::SYN_RECV => "SYN_RECV",
        s::FIN_WAIT1 => "FIN_WAIT1",
        s::FIN_WAIT2 => "FIN_WAIT2",
        s::TIME_WAIT => "TIME_WAIT",
        s::CLOSE => "CLOSE",
        s::CLOSE_WAIT => "CLOSE_WAIT",
        s::LAST_ACK => "LAST_ACK",
        s::LISTEN => "LISTEN",
        s::CLOSING => "CLOSING",
        s::NEW_SYN_RECV => "NEW_SYN_RECV",
        _ => return None,
    })
}

#[derive(Clone, Copy)]
struct ByteCounts {
    sent: u64,
    received: u64,
    unacked: Option<u32>,
    unread: Option<u32>,
}

/// Byte counts of the live socket, or those that its connection state kept when it was closed.
fn byte_counts(record: &ResetRecord) -> Option<ByteCounts> {
    let (tcp, conn) = (&record.tcp, &record.conn);
    if record.flags & flags::TOMBSTONE != 0 && conn.closed.time_ns != 0 {
        return Some(ByteCounts {
            sent: conn.closed.bytes_sent,
            received: conn.closed.bytes_received,
            unacked: None,
            unread: None,
        });
    }
    if record.flags & flags::TCP == 0 || record.sk_class != sk_class::FULL {
        return None;
    }
    Some(ByteCounts {
        sent: tcp.bytes_sent,
        received: tcp.bytes_received,
        unacked: Some(tcp.snd_nxt.wrapping_sub(tcp.snd_una)),
        unread: Some(evidence::unread(record)),
    })
}

fn rst(record: &ResetRecord) -> Option<Rst> {
    if record.kind == kind::RECEIVED {
        return evidence::rst_header(record).map(|header| received_rst(header, record));
    }
    let answers = record.flags & flags::SKB != 0;
    // RFC 9293 section 3.10.7.1: an answer to a segment with ACK is a bare RST.
    let bare = answers && record.segment.flags & tcp_flag::ACK != 0;
    Some(Rst {
        flags: Some(if bare { "R" } else { "RA" }.into()),
        seq: seq_of_sent(record),
        ack: if bare { None } else { ack_of_sent(record, answers) },
        ..Rst::default()
    })
}

fn ack_of_sent(record: &ResetRecord, answers: bool) -> Option<u32> {
    if answers {
        let segment = &record.segment;
        let syn_and_fin = (segment.flags & (tcp_flag::SYN | tcp_flag::FIN)).count_ones();
        return Some(segment.seq.wrapping_add(segment.payload).wrapping_add(syn_and_fin));
    }
    (record.flags & flags::TCP != 0).then_some(record.tcp.rcv_nxt)
}

fn received_rst(header: &Segment, record: &ResetRecord) -> Rst {
    let has_ack = header.flags & tcp_flag::ACK != 0;
    let delay_us = record.tcp.rtx_age_ns / 1000;
    Rst {
        ttl: Some(header.ttl),
        ttl_expected: (record.conn.ttl != 0).then_some(record.conn.ttl),
        flags: Some(flag_letters(header.flags)),
        seq: Some(header.seq),
        ack: has_ack.then_some(header.ack),
        ip_id: (header.present & present::IPV4 != 0).then_some(header.ip_id),
        window: Some(header.window),
        timestamps: Some(header.present & present::TIMESTAMPS != 0),
        delay_us: (delay_us != 0).then_some(delay_us),
    }
}

fn flag_letters(flags: u8) -> Cow<'static, str> {
    const BARE: u8 = tcp_flag::RST;
    const ABORT: u8 = tcp_flag::RST | tcp_flag::ACK;
    match flags {
        BARE => "R".into(),
        ABORT => "RA".into(),
        unusual => all_flag_letters(unusual).into(),
    }
}

fn all_flag_letters(flags: u8) -> String {
    let letters =
        [(tcp_flag::SYN, 'S'), (tcp_flag::FIN, 'F'), (tcp_flag::RST, 'R'), (tcp_flag::PSH, 'P'), (tcp_flag::ACK, 'A')];
    letters.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, letter)| letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_unread_bytes_may_be_a_last_message() {
        assert_eq!(say_unread(0), None);
        for (bytes, ending) in [(1, "may say why"), (LAST_MESSAGE, "may say why"), (LAST_MESSAGE + 1, "with reading")] {
            let said = say_unread(bytes).expect("bytes are unread");
            assert!(said.starts_with(&format!("{bytes} bytes")) && said.ends_with(ending), "{said}");
        }
    }
}
