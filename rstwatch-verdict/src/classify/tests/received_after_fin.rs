//! Resets that a socket of this host accepted after the peer's FIN: the cause is that of the close.

use rstwatch_common::record::last_payload::{OURS, PEERS, UNKNOWN};
use rstwatch_common::record::{ResetRecord, Sampled, role, state};

use super::received::{bare, to_server};
use super::sampled::{sample, sampled};
use super::{Case, SECOND, classify, evidence_of};
use crate::cause::Cause;
use crate::testing::fixture::{NOW_NS, jiffies};

/// The peer's FIN came 200 ms before the RST, after `idle_ms` without payload.
pub(super) fn after_fin(mut record: ResetRecord, idle_ms: u32) -> ResetRecord {
    record.state = state::CLOSE_WAIT;
    record.conn.fin.time_ns = NOW_NS - SECOND / 5;
    // A request, and its response a moment later.
    record.conn.fin.sent_age = jiffies(idle_ms) + 1;
    record.conn.fin.received_age = jiffies(idle_ms);
    record
}

/// The last request before the FIN has the time of the last response.
fn within_a_tick(mut record: ResetRecord) -> ResetRecord {
    record.conn.fin.sent_age = record.conn.fin.received_age;
    record
}

/// A message came with the FIN, `silence_ms` after this host's last payload. It and the FIN left `unread` sequence numbers
/// unread.
fn with_message(silence_ms: u32, unread: u32) -> ResetRecord {
    let mut record = after_fin(bare(), silence_ms);
    record.conn.fin.received_age = 0;
    record.conn.fin.unread = unread;
    record
}

/// A message of 24 bytes came from a client 3 s after this server's last response, and its FIN with it. `shows`: what the sample
/// of half a second before shows, unless it has a time of its own.
fn clients_message(shows: Sampled) -> ResetRecord {
    let mut record = to_server(with_message(3_000, 25));
    record.conn.fin.segs_out = 1;
    let taken = if shows.jiffies == 0 { jiffies(2_500) } else { shows.jiffies };
    let segments = shows.fin_segs.max(1);
    sampled(record, Sampled { jiffies: taken, fin_segs: segments, fin_quiet: jiffies(3_010), ..shows })
}

/// A client that had received nothing for 1.5 s wrote just before the peer's FIN came, 200 ms before the RST. What is outstanding
/// was first sent `sent_ms` before the RST.
fn wrote_just_before(sent_ms: u64) -> ResetRecord {
    let mut record = after_fin(bare(), 1_500);
    record.conn.fin.sent_age = 0;
    record.tcp.operation_age_ns = sent_ms * SECOND / 1_000;
    record
}

pub(super) const CASES: &[Case] = &[
    // The request crossed the FIN.
    ("reused_after_fin", || wrote_just_before(201)),
    // The peer had that; it reset what was written after the FIN, by a program that writes all the time.
    ("wrote_after_fin", || wrote_just_before(1)),
    ("peer_did_not_linger", || {
        let mut record = after_fin(bare(), 0);
        record.tcp.write_seq = record.tcp.snd_una;
        record
    }),
    // Closed during our upload; the idle time began with the FIN.
    ("wrote_after_fin", || {
        let mut record = after_fin(bare(), 0);
        record.conn.fin.time_ns = NOW_NS - 5 * SECOND;
        record
    }),
    // The request has the time of the response before it; a sample was taken while it was open.
    ("wrote_after_fin", || {
        sampled(
            within_a_tick(after_fin(bare(), 3_000)),
            Sampled { jiffies: jiffies(500), fin_quiet: jiffies(3_000), ..sample(OURS) },
        )
    }),
    // The same without a sample: a timer of the peer's, or its timeout for the response.
    ("reused_after_fin", || within_a_tick(after_fin(bare(), 3_000))),
    // A sample was taken since: the request had been answered.
    ("reused_after_timer", || {
        sampled(
            within_a_tick(after_fin(bare(), 3_000)),
            Sampled { jiffies: jiffies(1_000), fin_quiet: jiffies(3_000), ..sample(PEERS) },
        )
    }),
    // Before Linux 5.11 connections are not sampled.
    ("unsampled_closing_message", || with_message(60_000, 25)),
    // The peer pushed until the end and the program did not read: no closing message after an idle period.
    ("wrote_after_fin", || {
        sampled(
            with_message(3_000, 300),
            Sampled { jiffies: jiffies(600), fin_segs: 5, fin_quiet: jiffies(1_200), ..sample(UNKNOWN) },
        )
    }),
    // Sampled so early that an idle period may have followed the response.
    ("unsampled_closing_message", || {
        sampled(with_message(1_500, 113), Sampled { fin_segs: 4, fin_quiet: jiffies(1_490), ..sample(UNKNOWN) })
    }),
    // Sampled before our last request: a slow response, or a closing message.
    ("unsampled_closing_message", || {
        sampled(with_message(1_500, 25), Sampled { fin_segs: 2, fin_quiet: jiffies(1_600), ..sample(UNKNOWN) })
    }),
    // A short, late response that came with the FIN and is unread, but not a closing message.
    ("wrote_after_fin", || {
        sampled(
            with_message(3_000, 25),
            Sampled { jiffies: jiffies(2_500), fin_segs: 1, fin_quiet: jiffies(3_000), ..sample(OURS) },
        )
    }),
    // The same, where our request has the time of the handshake: nothing had come back when the sample was taken.
    ("wrote_after_fin", || {
        sampled(
            with_message(1_000, 234),
            Sampled { jiffies: jiffies(400), segs_out: 1, fin_segs: 1, fin_quiet: jiffies(1_000), ..sample(PEERS) },
        )
    }),
    ("reused_after_timer", || after_fin(bare(), 60_000)),
    // No timer is set to 47.4 s: the process may have ended as well.
    ("reused_after_fin", || after_fin(bare(), 47_400)),
    ("wrote_after_fin", || after_fin(bare(), 0)),
    ("fin_to_unknown_connection", || {
        let mut record = after_fin(bare(), 60_000);
        record.state = state::LAST_ACK;
        record.tcp.shutdown = 3;
        record.tcp.snd_nxt = record.tcp.snd_una + 1;
        record.tcp.write_seq = record.tcp.snd_una + 1;
        record
    }),
    // TLS close_notify came with the FIN and is unread.
    ("reused_after_timer", || {
        sampled(
            with_message(60_000, 25),
            Sampled { jiffies: jiffies(59_500), fin_segs: 1, fin_quiet: jiffies(60_000), ..sample(UNKNOWN) },
        )
    }),
    // A stream from the peer until the end: the FIN carries no closing message.
    ("wrote_after_fin", || with_message(60_000, 1)),
    // The peer closed instead of responding.
    ("wrote_after_fin", || {
        let mut record = after_fin(bare(), 5_000);
        record.conn.fin.received_age = jiffies(5_008);
        record
    }),
    // The FIN arrived before the agent started.
    ("fin_to_unknown_connection", || {
        let mut record = bare();
        record.state = state::LAST_ACK;
        record.tcp.shutdown = 3;
        record.tcp.write_seq = record.tcp.snd_una + 1;
        record
    }),
    // A client's close_notify after an idle period; this server answers with its own.
    ("closing_message_or_request", || clients_message(sample(OURS))),
    // The same where no sample was taken since our last response.
    ("closing_message_or_request", || clients_message(Sampled { jiffies: jiffies(4), ..sample(PEERS) })),
    // A sample had found the request open, or segment after segment of an upload.
    ("wrote_after_fin", || clients_message(sample(PEERS))),
    ("wrote_after_fin", || clients_message(Sampled { fin_segs: 40, ..sample(OURS) })),
    // A late response to a client that gave up.
    ("wrote_after_fin", || {
        let mut record = after_fin(bare(), 5_000);
        record.conn.role = role::SERVER;
        record
    }),
];

/// A process may die at a timer's time, but sends no closing message.
#[test]
fn a_death_at_a_timers_time_remains_possible() {
    use Cause::{IdleReaped, ProcessDied};
    let message = sampled(
        with_message(60_000, 25),
        Sampled { jiffies: jiffies(59_500), fin_segs: 1, fin_quiet: jiffies(60_000), ..sample(UNKNOWN) },
    );
    for (record, expected) in [(after_fin(bare(), 60_000), vec![IdleReaped, ProcessDied]), (message, vec![IdleReaped])]
    {
        let verdict = classify(&evidence_of(&record));
        assert_eq!((verdict.rule, verdict.cause), ("reused_after_timer", IdleReaped));
        assert_eq!(verdict.candidates[..], expected);
    }
}
