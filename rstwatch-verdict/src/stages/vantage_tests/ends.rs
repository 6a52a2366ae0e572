//! Both ends of each truth: the sender's record, and the record of the socket that accepts the RST.

use rstwatch_common::record::{ResetRecord, flags, kind, mark, present, role, sock_flag, state, tcp_flag};

use crate::cause::{Cause, Sender};
use crate::classify::{RULES, tests as golden};
use crate::evidence::MAX_CLOSING_BYTES;
use crate::pair::numbers::Numbers;
use crate::testing::fixture::{self, NOW_NS, jiffies};

/// One reset: the records around it, of which one is judged.
pub(super) struct Scene {
    pub(super) name: String,
    /// The true causes: what happened, and why.
    pub(super) truths: Vec<Cause>,
    /// The words that name its sender rightly, seen from the judged end.
    pub(super) senders: &'static [Sender],
    pub(super) records: Vec<ResetRecord>,
    /// The record that is judged.
    pub(super) judged: usize,
}

/// What the other end expects next, and what it has sent and seen acknowledged.
const EXPECTED: u32 = 5000;
const ACKNOWLEDGED: u32 = 900;

/// The sender's and the receiver's side of each golden case that names one cause.
pub(super) fn scenes() -> Vec<Scene> {
    golden::sent_cases().enumerate().flat_map(|(index, (rule, record))| of_case(index, rule, record())).collect()
}

fn of_case(index: usize, rule: &str, record: ResetRecord) -> Vec<Scene> {
    let rule = RULES.iter().find(|it| it.id == rule).filter(|it| it.among.is_none() && it.cause != Cause::Unknown);
    let Some(rule) = rule else { return Vec::new() };
    let truth = rule.cause;
    let mut sent = numbered(record);
    sent.time_ns += 10_000;
    complete(&mut sent, truth);
    let scene = |end: &str, senders, records, judged| Scene {
        name: format!("{} {index}, {end}", rule.id),
        truths: truths(truth, &sent),
        senders,
        records,
        judged,
    };
    let by_firewall = sent.kind == kind::FIREWALL;
    let here: &[Sender] = if by_firewall { &[Sender::LocalFirewall] } else { &[Sender::LocalApp, Sender::LocalKernel] };
    // To an agent that does not see the firewall it is a device on the path.
    let there: &[Sender] = if by_firewall { &[Sender::LocalFirewall, Sender::Middlebox] } else { &[Sender::Peer] };
    let mut scenes = vec![scene("sent", here, vec![sent], 0)];
    if let Some(received) = other_end(&sent, truth) {
        scenes.push(scene("received", there, vec![sent, received], 1));
    }
    scenes
}

/// A full conntrack table makes a rule reject, or a connection time out: both words are true.
fn truths(truth: Cause, sent: &ResetRecord) -> Vec<Cause> {
    match truth {
        Cause::ConntrackFull if sent.kind == kind::FIREWALL => vec![truth, Cause::FirewallReject],
        Cause::ConntrackFull => vec![truth, Cause::KeepaliveTimeout],
        // shutdown() by an idle timer.
        Cause::DataAfterClose if sent.conn.marks & mark::HALF_CLOSED != 0 => vec![truth, Cause::IdleReaped],
        _ => vec![truth],
    }
}

/// What is the case along with the cause, though the golden case leaves it out because the kernel's reason suffices.
fn complete(sent: &mut ResetRecord, truth: Cause) {
    let reason_is = |name| sent.conn.reset.reason == fixture::reason(name);
    let (aborts, died_idle) = (sent.flags & flags::SKB == 0, truth == Cause::ProcessDied);
    if reason_is("TCP_ABORT_ON_CLOSE") {
        sent.conn.reset.unread = 5;
        sent.tcp.copied_seq = sent.tcp.rcv_nxt.wrapping_sub(if aborts { 5 } else { 0 });
    } else if reason_is("TCP_KEEPALIVE_TIMEOUT") {
        (sent.conn.marks, sent.tcp.probes_out) = (sent.conn.marks | mark::PROBING, 9);
    } else if reason_is("TCP_ABORT_ON_MEMORY") {
        sent.conn.marks |= mark::CLOSED_BY_OWNER | mark::ORPHANED;
        sent.tcp.sk_flags |= sock_flag::DEAD;
    }
    // Nothing was heard of the peer while the probes went unanswered.
    if truth == Cause::KeepaliveTimeout && sent.conn.closing.received_age < jiffies(30_000) {
        (sent.conn.closing.sent_age, sent.conn.closing.received_age) = (jiffies(30_000), jiffies(30_000));
    }
    // A process dies at any time: at a whole second of silence only by chance, and then a timer is assumed.
    if died_idle && sent.conn.closing.sent_age > 0 {
        sent.conn.closing.sent_age += jiffies(400);
        sent.conn.closing.received_age += jiffies(400);
    }
}

/// With sequence numbers that fit those of [`other_end`].
fn numbered(mut sent: ResetRecord) -> ResetRecord {
    if sent.flags & flags::SKB == 0 {
        let unread = sent.tcp.rcv_nxt.wrapping_sub(sent.tcp.copied_seq);
        (sent.tcp.snd_nxt, sent.tcp.rcv_nxt) = (EXPECTED, ACKNOWLEDGED);
        sent.tcp.copied_seq = ACKNOWLEDGED.wrapping_sub(unread);
    } else {
        (sent.segment.seq, sent.segment.ack) = (ACKNOWLEDGED, EXPECTED);
    }
    sent
}

/// What the socket that accepts the RST shows. `None`: only a request socket accepts it, which makes no event.
fn other_end(sent: &ResetRecord, truth: Cause) -> Option<ResetRecord> {
    let answers = sent.flags & flags::SKB != 0;
    let (syn, ack) = (sent.segment.flags & tcp_flag::SYN != 0, sent.segment.flags & tcp_flag::ACK != 0);
    if answers && syn && ack {
        return None;
    }
    let mut it = fixture::received();
    it.flow = sent.flow.reversed();
    it.netns = sent.netns + 1;
    it.sock = 0x2000;
    it.time_ns = sent.time_ns + 20_000;
    it.conn.role = if sent.conn.role == role::CLIENT { role::SERVER } else { role::CLIENT };
    it.conn.established_ns = NOW_NS - 5_000_000_000;
    let numbers = Numbers::of_sent(sent)?;
    it.segment.seq = numbers.seq;
    it.segment.ack = numbers.ack.unwrap_or_default();
    ages(&mut it, sent);
    // A timer or a command resets a socket before it closes it.
    if !answers && sent.state != state::CLOSE {
        it.flags |= flags::OTHER_END_ALIVE;
    }
    if truth == Cause::Probe {
        (it.tcp.data_segs_in, it.tcp.data_segs_out) = (0, 0);
    }
    if answers {
        answered(&mut it, sent);
    }
    if answers && syn {
        it.state = state::SYN_SENT;
        it.segment.flags = tcp_flag::RST | tcp_flag::ACK;
    }
    Some(it)
}

/// The same silences, seen from the other end.
fn ages(it: &mut ResetRecord, sent: &ResetRecord) {
    let closing = &sent.conn.closing;
    let answers = sent.flags & flags::SKB != 0;
    let ended_ns = if !answers || closing.time_ns == 0 { sent.time_ns } else { closing.time_ns };
    let since = jiffies(u32::try_from((sent.time_ns - ended_ns) / 1_000_000).expect("short"));
    it.tcp.received_age = closing.sent_age + since;
    it.tcp.sent_age = closing.received_age + since;
    it.tcp.ack_age = it.tcp.received_age.min(it.tcp.sent_age);
    if !answers && sent.tcp.data_segs_in == 0 && sent.tcp.data_segs_out == 0 {
        (it.tcp.data_segs_in, it.tcp.data_segs_out) = (0, 0);
    }
    let finished = sent.conn.marks & (mark::CLOSED_BY_OWNER | mark::HALF_CLOSED) != 0;
    // Only its own FIN takes an orphan to FIN_WAIT2, and only the answer to that has TCP_ABORT_ON_DATA.
    let orphan = sent.conn.reset_state == state::FIN_WAIT2 || sent.reason == fixture::reason("TCP_ABORT_ON_DATA");
    if answers && (orphan || (finished && sent.conn.marks & mark::ABORTED == 0)) {
        it.state = state::CLOSE_WAIT;
        it.conn.fin.time_ns = if closing.time_ns == 0 { sent.time_ns } else { closing.time_ns };
        (it.conn.fin.sent_age, it.conn.fin.received_age) = (closing.received_age, closing.sent_age);
        it.conn.fin.unread = 1;
        it.conn.sampled.fin_quiet = sent.conn.sampled.closing_quiet;
        it.conn.sampled.fin_segs = sent.conn.sampled.closing_segs;
        open_request(it, sent);
    }
}

/// What the other end shows of a request that was open, or of a response on its way, when this end closed.
fn open_request(it: &mut ResetRecord, sent: &ResetRecord) {
    let (conn, fin) = (&sent.conn, &mut it.conn.fin);
    let server = conn.role == role::SERVER && sent.flags & flags::TOMBSTONE != 0;
    if server && conn.closed.bytes_received > 0 && conn.closed.bytes_sent == 0 {
        it.tcp.data_segs_in = 0;
        fin.segs_out = 1;
    }
    // The FIN comes after all data.
    if conn.closing.outstanding > MAX_CLOSING_BYTES {
        fin.received_age = 0;
    }
}

/// The RST answers a segment that this end has just sent.
fn answered(it: &mut ResetRecord, sent: &ResetRecord) {
    it.segment.flags = tcp_flag::RST;
    it.segment.present &= !present::TIMESTAMPS;
    it.segment.window = 0;
    it.segment.ip_id = 0;
    let payload = sent.segment.payload;
    (it.tcp.snd_nxt, it.tcp.write_seq) = (ACKNOWLEDGED + payload, ACKNOWLEDGED + payload);
    if payload > 0 {
        it.tcp.sent_age = 0;
        it.tcp.rtx_age_ns = 1_000_000;
        it.tcp.packets_out = 1;
    } else if it.conn.fin.time_ns != 0 && sent.reason != fixture::reason("TCP_ABORT_ON_DATA") {
        // Its FIN.
        it.state = state::LAST_ACK;
        it.tcp.shutdown = 3;
        (it.tcp.snd_nxt, it.tcp.write_seq) = (ACKNOWLEDGED + 1, ACKNOWLEDGED + 1);
        it.tcp.rtx_age_ns = 1_000_000;
    }
    if sent.flags & flags::HANDSHAKE != 0 {
        (it.tcp.data_segs_in, it.tcp.data_segs_out) = (0, 0);
        it.conn.established_ns = sent.time_ns - 1_000_000;
    }
}
