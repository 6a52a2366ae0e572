//! Resets that a socket of this host accepted, without a record of the other end. Those after the peer's FIN are in
//! `received_after_fin`, unless a live socket sent them.

use rstwatch_common::record::{ResetRecord, present, role, state, tcp_flag};

use super::received_after_fin::after_fin;
use super::{Case, SECOND};
use crate::testing::fixture::{self, NOW_NS, jiffies};

pub(super) fn connecting() -> ResetRecord {
    let mut record = fixture::received();
    record.state = state::SYN_SENT;
    record
}

/// A bare RST in answer to 10 bytes from this host.
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

/// A bare RST while nothing from this host was outstanding.
fn unprovoked() -> ResetRecord {
    let mut record = bare();
    record.tcp.write_seq = record.tcp.snd_una;
    record.tcp.rtx_age_ns = 0;
    record
}

/// A bare RST after the peer had acknowledged the 10 bytes.
fn acknowledged() -> ResetRecord {
    let mut record = bare();
    record.tcp.snd_una = record.tcp.write_seq;
    record.tcp.rtx_age_ns = 0;
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

pub(super) fn from_next_door(record: ResetRecord) -> ResetRecord {
    with_ttl(record, 64)
}

fn with_ttl(mut record: ResetRecord, ttl: u8) -> ResetRecord {
    record.segment.ttl = ttl;
    record
}

fn without_timestamp(mut record: ResetRecord) -> ResetRecord {
    record.segment.present &= !present::TIMESTAMPS;
    record
}

/// Makes this host the server.
pub(super) fn to_server(mut record: ResetRecord) -> ResetRecord {
    record.conn.role = role::SERVER;
    record
}

/// A client's bare RST in answer to the challenge ACK that an RST with a wrong number had drawn.
pub(super) fn behind_a_challenge() -> ResetRecord {
    let mut record = unprovoked();
    record.conn.challenge.count = 1;
    record.conn.challenge.time_ns = NOW_NS - SECOND / 1000;
    record
}

/// A client's connection whose window is full, aborted by the server.
pub(super) fn window_is_full() -> ResetRecord {
    let mut record = fixture::received();
    record.tcp.copied_seq -= 4000;
    record
}

/// A bare RST in answer to the last ACK of the handshake.
pub(super) fn handshake_refused() -> ResetRecord {
    let mut record = unused(unprovoked());
    record.segment.ip_id = 0;
    record.conn.established_ns = NOW_NS - SECOND / 1000;
    (record.tcp.ack_age, record.tcp.received_age, record.tcp.sent_age) = (0, 0, 0);
    record
}

/// No payload went either way.
pub(super) fn unused(mut record: ResetRecord) -> ResetRecord {
    (record.tcp.data_segs_in, record.tcp.data_segs_out) = (0, 0);
    record
}

pub(super) const CASES: &[Case] = &[
    // An unprovoked bare RST on a quiet connection, and on a busy one.
    ("forgotten", || after_silence(unprovoked(), 60_000)),
    ("open_forgot", unprovoked),
    // After an RST with a wrong sequence number: the exact one may answer our challenge ACK, or be a second attempt.
    ("forgotten", || {
        let mut record = bare();
        record.conn.challenge.count = 1;
        record.conn.challenge.time_ns = NOW_NS - SECOND / 2;
        record
    }),
    // The number of an orphan's RST was one too high, because its FIN was lost; this one answers the challenge ACK.
    ("open_forgot", behind_a_challenge),
    // The abort's RST overtook the peer's last data, and drew the challenge ACK; this one answers our ACK of that data, sooner
    // than the challenge ACK can be answered.
    ("open_forgot", || {
        let mut record = behind_a_challenge();
        record.tcp.rtt_min_us = 1_500;
        record.conn.challenge.time_ns = NOW_NS - SECOND / 10_000;
        record.tcp.received_age = 0;
        record
    }),
    // An abort sends one RST; many that draw challenge ACKs are attempts.
    ("device_injected", || {
        let mut record = behind_a_challenge();
        record.conn.challenge.count = 40;
        record.conn.challenge.time_ns = NOW_NS - SECOND / 10_000;
        record.tcp.rtt_min_us = 1_500;
        record.tcp.received_age = 0;
        record
    }),
    // Its sequence number is one that we have not acknowledged yet.
    ("device_injected", || {
        let mut record = unprovoked();
        record.tcp.rcv_wup = record.segment.seq - 100;
        record
    }),
    // Its TTL differs much, yet its timestamp continues the peer's: the program set IP_TTL, or a device imitates the peer.
    ("open_abort", || {
        let mut record = fixture::received();
        record.segment.ttl = 200;
        record.segment.tsval = record.tcp.ts_recent + 90;
        record
    }),
    // A server whose stack sends no timestamp with its aborts, or a device.
    ("open_abort", || without_timestamp(fixture::received())),
    // A client nearby, a distant one, and a server with another initial TTL than Linux.
    ("open_abort", || without_timestamp(to_server(fixture::received()))),
    ("peer_aborted", || {
        let mut record = without_timestamp(to_server(fixture::received()));
        (record.conn.ttl, record.segment.ttl) = (52, 52);
        record
    }),
    ("peer_aborted", || {
        let mut record = without_timestamp(fixture::received());
        (record.conn.ttl, record.segment.ttl) = (120, 120);
        record
    }),
    // Timestamp, window and TTL of the peer, but payload.
    ("open_abort", || {
        let mut record = fixture::received();
        record.segment.payload = 12;
        record
    }),
    ("peer_aborted", || {
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
    // A server that pushes after an idle period: no client pool is involved.
    ("forgotten", || to_server(after_silence(bare(), 60_000))),
    // The first copy of our request was lost because the host was down, not because the connection was idle.
    ("forgotten", || {
        let mut record = after_silence(bare(), 60_000);
        record.tcp.retransmits = 2;
        record.tcp.operation_age_ns = 3 * SECOND;
        record
    }),
    // A client's last write has the time of the last response, and it has sent more segments: the write was not
    // answered.
    ("peer_aborted", || {
        let mut record = fixture::received();
        record.tcp.sent_age = record.tcp.received_age;
        record.tcp.data_segs_out = 9;
        record
    }),
    ("connect_refused", || from_next_door(connecting())),
    ("connect_refused", connecting),
    ("device_rejected_idle", || from_next_door(after_silence(bare(), 60_000))),
    ("device_injected", || from_next_door(bare())),
    ("device_injected", || with_ttl(acknowledged(), 200)),
    // Sent on this link while nothing was outstanding: not a reject, which answers a segment.
    ("device_injected", || from_next_door(acknowledged())),
    ("open_abort", || with_ttl(fixture::received(), 55)),
    ("device_injected", || without_timestamp(with_ttl(fixture::received(), 55))),
    ("peer_aborted", || {
        let mut record = after_fin(fixture::received(), 0);
        record.tcp.sent_age = 0;
        record.tcp.write_seq += 10;
        record
    }),
    // haproxy after it has read a server's response.
    ("peer_aborted", || {
        let mut record = to_server(after_fin(fixture::received(), 0));
        record.tcp.sent_age = record.tcp.received_age;
        record
    }),
    ("peer_aborted", || {
        let mut record = after_silence(fixture::received(), 25_000);
        record.tcp.oow_age = jiffies(2000);
        record
    }),
    ("peer_aborted", || {
        let mut record = fixture::received();
        record.tcp.data_segs_in = 0;
        record
    }),
    // A server's response has the time of the request and is the later of the two. Health checks end this way.
    ("peer_aborted", || {
        let mut record = to_server(fixture::received());
        record.tcp.sent_age = record.tcp.received_age;
        record
    }),
    ("peer_aborted", || {
        let mut record = fixture::received();
        record.tcp.write_seq += 100;
        record.tcp.snd_nxt += 100;
        record
    }),
    ("peer_aborted", || {
        let mut record = fixture::received();
        record.tcp.sent_age = jiffies(20);
        record
    }),
    // A log shipper sends, is acknowledged, then becomes idle. It never gets a response.
    ("peer_aborted", || {
        let mut record = after_silence(fixture::received(), 240_000);
        record.tcp.received_age = jiffies(300_000);
        record
    }),
    ("peer_aborted", || {
        let mut record = after_silence(fixture::received(), 47_000);
        record.tcp.received_age = jiffies(300_000);
        record
    }),
    ("peer_aborted", || after_silence(fixture::received(), 60_200)),
    ("peer_aborted", || unused(fixture::received())),
    ("peer_aborted", fixture::received),
    ("peer_aborted", window_is_full),
    // A health check that only connects.
    ("peer_probed_port", || to_server(unused(fixture::received()))),
    // A load balancer's stack resets the idle connection on its own: another initial TTL, another path.
    ("device_dropped_state", || with_ttl(after_silence(unprovoked(), 350_000), 250)),
    // An RST with payload: no stack sends one.
    ("open_abort", || {
        let mut record = fixture::received();
        record.segment.ttl = 127;
        record.segment.payload = 12;
        record
    }),
    // It acknowledges what this host never sent.
    ("device_injected", || {
        let mut record = fixture::received();
        record.segment.ack = 0x7000_0000;
        record.segment.ttl = 127;
        record
    }),
    ("open_forgot", || with_ttl(bare(), 55)),
    // The peer had half-closed, and had read our response.
    ("peer_aborted", || after_fin(fixture::received(), 0)),
    // A client that sends a request and aborts: it has no data from us to read.
    ("peer_aborted", || to_server(fixture::received())),
    // The idle time fits no well-known timeout, so no timer is assumed.
    ("peer_aborted", || after_silence(fixture::received(), 47_000)),
    ("never_completed", || {
        let mut record = bare();
        record.tcp.data_segs_in = 0;
        record.conn.established_ns = NOW_NS - SECOND;
        record.tcp.ack_age = jiffies(1000);
        record
    }),
    ("never_completed", handshake_refused),
    // The peer acknowledged a first message just after the handshake: it had accepted the connection.
    ("forgotten", || {
        let mut record = bare();
        record.tcp.data_segs_in = 0;
        record.conn.established_ns = NOW_NS - SECOND;
        record.tcp.ack_age = jiffies(1000);
        record.tcp.srtt_us = 8 * 500;
        record.tcp.operation_age_ns = 400_000;
        record.tcp.bytes_sent = u64::from(record.tcp.write_seq.wrapping_sub(record.tcp.snd_una)) + 1;
        record
    }),
    ("forgotten", || after_silence(bare(), 60_000)),
    ("forgotten", bare),
    // A one-way upload five seconds after the handshake: too late for a full accept queue.
    ("forgotten", || {
        let mut record = bare();
        record.tcp.data_segs_in = 0;
        record.conn.established_ns = NOW_NS - 5 * SECOND;
        record
    }),
    // In answer to our keepalive probe.
    ("forgotten", || {
        let mut record = acknowledged();
        record.tcp.probes_out = 1;
        record
    }),
    // Another initial TTL on the same path, or one hop of difference: still the peer.
    ("forgotten", || with_ttl(bare(), 127)),
    ("forgotten", || with_ttl(bare(), 62)),
    // Without the RST's header, no guess.
    ("undecided", || {
        let mut record = fixture::received();
        record.segment.present = 0;
        record
    }),
];
