//! Resets that a socket of this host accepted, with nothing known of the other end.

use rstwatch_common::record::{ResetRecord, last_payload, present, role, state, tcp_flag};

use super::{Case, SECOND};
use crate::testing::fixture::{self, NOW_NS, jiffies};

pub(super) fn connecting() -> ResetRecord {
    let mut record = fixture::received();
    record.state = state::SYN_SENT;
    record
}

/// A bare RST that answers 10 bytes of ours.
pub(super) fn bare() -> ResetRecord {
    let mut record = fixture::received();
    record.segment.flags = tcp_flag::RST;
    record.segment.present &= !present::TIMESTAMPS;
    record.segment.window = 0;
    record.tcp.snd_nxt += 10;
    record.tcp.write_seq += 10;
    record.tcp.sent_age = 0;
    record.tcp.rtx_age_ns = SECOND / 1000;
    record
}

pub(super) fn after_silence(mut record: ResetRecord, ms: u32) -> ResetRecord {
    record.tcp.received_age = jiffies(ms);
    record.tcp.ack_age = jiffies(ms);
    if record.tcp.snd_una == record.tcp.write_seq {
        record.tcp.sent_age = jiffies(ms);
    }
    record
}

pub(super) fn from_next_door(mut record: ResetRecord) -> ResetRecord {
    record.segment.ttl = 64;
    record
}

pub(super) fn after_fin(mut record: ResetRecord, idle_ms: u32) -> ResetRecord {
    record.state = state::CLOSE_WAIT;
    record.conn.fin.time_ns = NOW_NS - SECOND / 5;
    record.conn.fin.sent_age = jiffies(idle_ms);
    record.conn.fin.received_age = jiffies(idle_ms);
    record
}

pub(super) const CASES: &[Case] = &[
    ("peer_did_not_linger", || {
        let mut record = after_fin(bare(), 0);
        record.tcp.write_seq = record.tcp.snd_una;
        record
    }),
    // A bare RST that nothing of ours provoked.
    ("unexplained", || {
        let mut record = bare();
        record.tcp.write_seq = record.tcp.snd_una;
        record.tcp.rtx_age_ns = 0;
        record
    }),
    // An RST with a wrong number came before it: the exact one may answer our challenge, or be the second try.
    ("unexplained", || {
        let mut record = bare();
        record.conn.challenge.count = 1;
        record.conn.challenge.time_ns = NOW_NS - SECOND / 2;
        record
    }),
    // It answers a number that we have not sent yet.
    ("path_injected", || {
        let mut record = bare();
        record.tcp.write_seq = record.tcp.snd_una;
        record.tcp.rtx_age_ns = 0;
        record.tcp.rcv_wup = record.segment.seq - 100;
        record
    }),
    // Far off by its TTL, but its timestamp goes on from the peer's: the program set IP_TTL.
    ("peer_aborted", || {
        let mut record = fixture::received();
        record.segment.ttl = 200;
        record.segment.tsval = record.tcp.ts_recent + 90;
        record
    }),
    // A stack that sends no timestamp with its aborts, or somebody else.
    ("path_doubtful", || {
        let mut record = fixture::received();
        record.segment.present &= !present::TIMESTAMPS;
        record
    }),
    ("peer_cut_upload", || {
        let mut record = fixture::received();
        record.tcp.data_segs_out = 90;
        record
    }),
    ("never_completed", || {
        let mut record = bare();
        record.tcp.data_segs_in = 0;
        record.tcp.retransmits = 3;
        record.conn.established_ns = NOW_NS - 2 * SECOND;
        record.tcp.ack_age = jiffies(2000);
        record
    }),
    // A server that pushes after a silence: no pool reuses anything there.
    ("pushed_after_idle", || {
        let mut record = after_silence(bare(), 60_000);
        record.conn.role = role::SERVER;
        record
    }),
    // Closed while we were uploading; the silence is that since the FIN.
    ("wrote_after_fin", || {
        let mut record = after_fin(bare(), 0);
        record.conn.fin.time_ns = NOW_NS - 5 * SECOND;
        record
    }),
    // The question bears the time of the answer before it; somebody looked while it was open.
    ("wrote_after_fin", || {
        let mut record = after_fin(bare(), 3_000);
        record.conn.sampled.last_payload = last_payload::OURS;
        record
    }),
    // Before Linux 5.11 nobody looks.
    ("unsampled_closing_message", || {
        let mut record = after_fin(bare(), 60_000);
        record.conn.fin.received_age = 0;
        record.conn.fin.unread = 25;
        record
    }),
    // Pushed to until the end, and the program did not read: no goodbye after a silence.
    ("wrote_after_fin", || {
        let mut record = after_fin(bare(), 3_000);
        record.conn.fin.received_age = 0;
        record.conn.fin.unread = 300;
        record.conn.sampled.fin_quiet = jiffies(1_200);
        record.conn.sampled.fin_segs = 5;
        record
    }),
    // A short answer that came late, with the FIN: not read yet, but no goodbye.
    ("wrote_after_fin", || {
        let mut record = after_fin(bare(), 3_000);
        record.conn.fin.received_age = 0;
        record.conn.fin.unread = 25;
        record.conn.sampled.fin_quiet = jiffies(3_000);
        record.conn.sampled.last_payload = last_payload::OURS;
        record
    }),
    // The first copy of our request was lost on a host that was away, not idle.
    ("forgotten", || {
        let mut record = after_silence(bare(), 60_000);
        record.tcp.retransmits = 2;
        record.tcp.operation_age_ns = 3 * SECOND;
        record
    }),
    // A client whose last write bears the time of the last answer, and that has sent more often: it was not answered.
    ("peer_left_unread", || {
        let mut record = fixture::received();
        record.tcp.sent_age = record.tcp.received_age;
        record.tcp.data_segs_out = 9;
        record
    }),
    ("refused_nearby", || from_next_door(connecting())),
    ("connect_refused", connecting),
    ("path_dropped_state", || from_next_door(after_silence(bare(), 60_000))),
    ("path_rejected", || from_next_door(bare())),
    ("path_injected", || {
        let mut record = bare();
        record.segment.ttl = 200;
        record.tcp.snd_una = record.tcp.write_seq;
        record.tcp.rtx_age_ns = 0;
        record
    }),
    // Made next door while nothing of ours was under way: no reject, which answers.
    ("path_injected", || {
        let mut record = from_next_door(bare());
        record.tcp.snd_una = record.tcp.write_seq;
        record.tcp.rtx_age_ns = 0;
        record
    }),
    ("path_doubtful", || {
        let mut record = fixture::received();
        record.segment.ttl = 55;
        record.segment.present &= !present::TIMESTAMPS;
        record
    }),
    ("reused_after_fin", || after_fin(bare(), 60_000)),
    ("wrote_after_fin", || after_fin(bare(), 0)),
    ("half_closed_unread", || {
        let mut record = after_fin(fixture::received(), 0);
        record.tcp.sent_age = 0;
        record.tcp.write_seq += 10;
        record
    }),
    // haproxy, done with a server's answer.
    ("half_closed_aborted", || {
        let mut record = after_fin(fixture::received(), 0);
        record.conn.role = role::SERVER;
        record.tcp.sent_age = record.tcp.received_age;
        record
    }),
    ("fin_to_unknown_connection", || {
        let mut record = after_fin(bare(), 60_000);
        record.state = state::LAST_ACK;
        record.tcp.shutdown = 3;
        record.tcp.snd_nxt = record.tcp.snd_una + 1;
        record.tcp.write_seq = record.tcp.snd_una + 1;
        record
    }),
    // TLS: close_notify came with the FIN and lies unread.
    ("reused_after_fin", || {
        let mut record = after_fin(bare(), 60_000);
        record.conn.fin.received_age = 0;
        record.conn.fin.unread = 25;
        record.conn.sampled.fin_quiet = jiffies(60_000);
        record
    }),
    // A stream that only the peer spoke on, to its last moment: the FIN is no goodbye.
    ("wrote_after_fin", || {
        let mut record = after_fin(bare(), 60_000);
        record.conn.fin.received_age = 0;
        record.conn.fin.unread = 1;
        record
    }),
    // The peer closed instead of answering.
    ("wrote_after_fin", || {
        let mut record = after_fin(bare(), 5_000);
        record.conn.fin.received_age = jiffies(5_004);
        record
    }),
    // The FIN came before the agent did.
    ("fin_to_unknown_connection", || {
        let mut record = bare();
        record.state = state::LAST_ACK;
        record.tcp.shutdown = 3;
        record.tcp.write_seq = record.tcp.snd_una + 1;
        record
    }),
    ("peer_gave_up_probing", || {
        let mut record = after_silence(fixture::received(), 25_000);
        record.tcp.oow_age = jiffies(2000);
        record
    }),
    ("peer_never_spoke", || {
        let mut record = fixture::received();
        record.tcp.data_segs_in = 0;
        record
    }),
    // A server's answer bears the time of the request: it is the later of the two. Health checks end so.
    ("peer_left_answer", || {
        let mut record = fixture::received();
        record.conn.role = role::SERVER;
        record.tcp.sent_age = record.tcp.received_age;
        record
    }),
    // A late answer to a client that gave up.
    ("wrote_after_fin", || {
        let mut record = after_fin(bare(), 5_000);
        record.conn.role = role::SERVER;
        record
    }),
    ("peer_left_unread", || {
        let mut record = fixture::received();
        record.tcp.write_seq += 100;
        record.tcp.snd_nxt += 100;
        record
    }),
    ("peer_left_unread", || {
        let mut record = fixture::received();
        record.tcp.sent_age = jiffies(20);
        record
    }),
    // A log shipper: sends, is acknowledged, falls silent. Nothing is ever answered.
    ("peer_reaped_idle", || {
        let mut record = after_silence(fixture::received(), 240_000);
        record.tcp.received_age = jiffies(300_000);
        record
    }),
    ("peer_left_unread_long", || {
        let mut record = after_silence(fixture::received(), 47_000);
        record.tcp.received_age = jiffies(300_000);
        record
    }),
    ("peer_reaped_idle", || after_silence(fixture::received(), 60_200)),
    ("peer_silent", || {
        let mut record = fixture::received();
        record.tcp.data_segs_in = 0;
        record.tcp.data_segs_out = 0;
        record
    }),
    ("peer_aborted", fixture::received),
    // It had half-closed, and had read our answer.
    ("half_closed_aborted", || after_fin(fixture::received(), 0)),
    // A client that asks and aborts: nothing of ours can be unread.
    ("peer_aborted", || {
        let mut record = fixture::received();
        record.conn.role = role::SERVER;
        record
    }),
    // Idle for a while that no well-known timeout has: no timer is invented.
    ("peer_aborted", || after_silence(fixture::received(), 47_000)),
    ("handshake_only", || {
        let mut record = bare();
        record.tcp.data_segs_in = 0;
        record.conn.established_ns = NOW_NS - SECOND;
        record
    }),
    ("reused_idle", || after_silence(bare(), 60_000)),
    ("forgotten", bare),
    // A one-way upload, its handshake five seconds ago: too old to be that of a full queue.
    ("forgotten", || {
        let mut record = bare();
        record.tcp.data_segs_in = 0;
        record.conn.established_ns = NOW_NS - 5 * SECOND;
        record
    }),
    // Our keepalive probe was answered so.
    ("forgotten", || {
        let mut record = bare();
        record.tcp.snd_una = record.tcp.write_seq;
        record.tcp.rtx_age_ns = 0;
        record.tcp.probes_out = 1;
        record
    }),
    // Initial TTL changed, path did not; one hop more or less: still the peer.
    ("forgotten", || {
        let mut record = bare();
        record.segment.ttl = 127;
        record
    }),
    ("forgotten", || {
        let mut record = bare();
        record.segment.ttl = 62;
        record
    }),
    // No header, no guess.
    ("undecided", || {
        let mut record = fixture::received();
        record.segment.present = 0;
        record
    }),
];
