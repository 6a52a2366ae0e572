//! Records for tests.

use std::sync::Arc;
use std::time::Duration;

use rstwatch_common::flow::{Flow, IPV4};
use rstwatch_common::record::{MAGIC, ResetRecord, flags, kind, present, role, sk_class, state, tcp_flag};
use zerocopy::FromZeros;

use crate::cause::{Cause, Confidence, Sender};
use crate::evidence::{Context, SenderVerdict, Shape};
use crate::reasons::Reasons;
use crate::text::Sentence;

/// Time of the tests' resets, nanoseconds after boot.
pub const NOW_NS: u64 = 1_000_000_000_000;

/// Some reasons of Linux 6.18.
pub const REASONS: &[(&str, u32)] = &[
    ("SK_RST_REASON_NOT_SPECIFIED", 0),
    ("SK_RST_REASON_NO_SOCKET", 1),
    ("SK_RST_REASON_TCP_INVALID_ACK_SEQUENCE", 2),
    ("SK_RST_REASON_TCP_FLAGS", 5),
    ("SK_RST_REASON_TCP_ABORT_ON_DATA", 8),
    ("SK_RST_REASON_TCP_TIMEWAIT_SOCKET", 9),
    ("SK_RST_REASON_INVALID_SYN", 10),
    ("SK_RST_REASON_TCP_ABORT_ON_CLOSE", 11),
    ("SK_RST_REASON_TCP_ABORT_ON_LINGER", 12),
    ("SK_RST_REASON_TCP_ABORT_ON_MEMORY", 13),
    ("SK_RST_REASON_TCP_STATE", 14),
    ("SK_RST_REASON_TCP_KEEPALIVE_TIMEOUT", 15),
    ("SK_RST_REASON_TCP_DISCONNECT_WITH_DATA", 16),
    ("SK_RST_REASON_MPTCP_RST_EMPTCP", 18),
    ("SK_RST_REASON_OF_THE_FUTURE", 40),
];

/// A context with [`REASONS`] and a tick of 4 ms.
pub fn context() -> Context {
    Context {
        reasons: Reasons::new(REASONS.iter().map(|(name, value)| (*value, name))),
        jiffy: Duration::from_millis(4),
        wall_offset_ns: 1_790_000_000_000_000_000,
        node: Arc::from("node-a"),
    }
}

/// The number of a reason by its name without prefix.
pub fn reason(name: &str) -> u32 {
    let full = format!("SK_RST_REASON_{name}");
    REASONS.iter().find(|(known, _)| *known == full).map(|(_, value)| *value).expect("a reason of the fixture")
}

/// A time in jiffies.
pub fn jiffies(milliseconds: u32) -> u32 {
    milliseconds / 4
}

/// A minimal record: an active reset of an established connection.
pub fn record() -> ResetRecord {
    let mut record = ResetRecord::new_zeroed();
    record.magic = MAGIC;
    record.time_ns = NOW_NS;
    record.kind = kind::SENT;
    record.sk_class = sk_class::FULL;
    record.netns = 4_026_531_840;
    record.sock = 0x1000;
    record.state = state::ESTABLISHED;
    record.flow = flow();
    record.flags = flags::TCP | flags::CONN_STATE;
    record.conn.established_ns = NOW_NS - 5_000_000_000;
    record.conn.role = role::CLIENT;
    record.conn.owner.tgid = 4121;
    record.conn.owner.comm[..10].copy_from_slice(b"orders-api");
    record.tcp.oow_age = u32::MAX;
    record
}

fn flow() -> Flow {
    let mut flow = Flow { local_port: 48_732, remote_port: 5432, family: IPV4, ..Flow::EMPTY };
    flow.local[..4].copy_from_slice(&[10, 0, 3, 41]);
    flow.remote[..4].copy_from_slice(&[10, 0, 7, 12]);
    flow
}

/// An active reset.
pub fn sent_active() -> ResetRecord {
    let mut sent = record();
    sent.conn.marks = rstwatch_common::record::mark::ABORTED;
    sent.conn.closing.time_ns = NOW_NS;
    sent.conn.reset.time_ns = NOW_NS;
    (sent.tcp.data_segs_in, sent.tcp.data_segs_out) = (3, 3);
    sent
}

/// An answer to a data segment for which there is no socket.
pub fn sent_answer() -> ResetRecord {
    let mut sent = record();
    sent.sk_class = sk_class::NONE;
    sent.sock = 0;
    sent.state = 0;
    sent.flags = flags::SKB;
    sent.reason = reason("NO_SOCKET");
    sent.conn = FromZeros::new_zeroed();
    sent.segment.present = present::SEGMENT | present::IPV4;
    sent.segment.flags = tcp_flag::ACK | tcp_flag::PSH;
    sent.segment.payload = 10;
    sent.segment.ttl = 63;
    sent
}

/// The verdict of a sender that aborted on purpose.
pub fn linger_abort(because: Sentence) -> SenderVerdict {
    SenderVerdict {
        cause: Cause::LingerAbort,
        sender: Sender::LocalApp,
        sender_confidence: Confidence::Certain,
        confidence: Confidence::Certain,
        candidates: [Cause::LingerAbort].into(),
        shape: Shape::Abort,
        after_rst: false,
        because,
    }
}

/// A received RST with the header of a live Linux socket's abort, on a connection that has exchanged data.
pub fn received() -> ResetRecord {
    let mut received = record();
    received.kind = kind::RECEIVED;
    received.reason = u32::MAX;
    received.tcp.rcv_nxt = 5000;
    received.tcp.copied_seq = 5000;
    received.tcp.snd_una = 900;
    received.tcp.snd_nxt = 900;
    received.tcp.write_seq = 900;
    received.tcp.data_segs_in = 3;
    received.tcp.data_segs_out = 3;
    received.tcp.bytes_sent = 300;
    received.tcp.bytes_received = 500;
    received.tcp.sent_age = jiffies(104);
    received.tcp.received_age = jiffies(100);
    received.tcp.ack_age = jiffies(100);
    received.tcp.ts_recent = 77;
    received.tcp.rto = jiffies(204);
    received.conn.ttl = 63;
    received.segment.present = present::SEGMENT | present::IPV4 | present::TIMESTAMPS;
    received.segment.flags = tcp_flag::RST | tcp_flag::ACK;
    received.segment.seq = 5000;
    received.segment.ack = 900;
    received.segment.window = 501;
    received.segment.ttl = 63;
    received
}
