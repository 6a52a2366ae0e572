//! Resets whose verdict depends on more than their own record: later segments and other connections.

use super::received_after_fin::after_fin;
use super::{after_close, evidence_of, received};
use crate::evidence::{Aftermath, Correlation, EndedBy, Evidence};
use crate::testing::fixture;
use rstwatch_common::record::{ResetRecord, present, tcp_flag};

/// The peer's data continues after the RST.
fn data_beyond(record: &ResetRecord) -> Evidence {
    let mut evidence = evidence_of(record);
    if let Evidence::Received(received) = &mut evidence {
        received.forgery.add_aftermath(Aftermath { data_beyond: true, repeated: false });
    }
    evidence
}

fn correlated(record: &ResetRecord, correlation: Correlation) -> Evidence {
    let mut evidence = evidence_of(record);
    if let Evidence::Received(received) = &mut evidence {
        received.correlation = correlation;
    }
    evidence
}

/// Data from the peer, beyond an RST that had ended the connection here.
fn resumed() -> ResetRecord {
    let mut record = after_close::closed(0);
    record.conn.marks = 0;
    record.conn.reset.time_ns = record.conn.closed.time_ns;
    record.conn.rst.segment.present = present::SEGMENT | present::IPV4;
    record.conn.rst.segment.flags = tcp_flag::RST;
    record.conn.rst.segment.seq = 5000;
    record.conn.rst.segment.ttl = 200;
    record.segment.seq = 5000;
    record.segment.ttl = 63;
    record
}

fn after(record: &ResetRecord, ended_by: EndedBy) -> Evidence {
    let mut evidence = evidence_of(record);
    if let Evidence::Sent(sent) = &mut evidence {
        sent.ended_by = Some(ended_by);
    }
    evidence
}

/// A rule, and evidence that it decides.
type EvidenceCase = (&'static str, fn() -> Evidence);

pub(super) const CASES: &[EvidenceCase] = &[
    ("resumed", || after(&resumed(), EndedBy::Busy)),
    ("resumed_after_idle", || after(&resumed(), EndedBy::Idle)),
    // This host's firewall had sent the RST.
    ("resumed_after_reject", || after(&resumed(), EndedBy::LocalFirewall)),
    // Possibly another firewall's.
    ("tail_of_reset", || after(&resumed(), EndedBy::AnotherFirewall)),
    // The RST's record was lost, so it is unknown whether the connection was idle.
    ("tail_of_reset", || evidence_of(&resumed())),
    // Data that was in flight before the RST.
    ("tail_of_reset", || {
        let mut record = resumed();
        record.segment.seq = 4990;
        after(&record, EndedBy::Busy)
    }),
    // A firewall rule on the peer's host sent the RST: same hop count, and a reject's shape.
    ("tail_of_reset", || {
        let mut record = resumed();
        record.conn.rst.segment.ttl = 63;
        after(&record, EndedBy::Busy)
    }),
    ("open_continued", || data_beyond(&received::bare())),
    ("device_injected", || {
        let mut record = received::bare();
        record.segment.ip_id = 7;
        data_beyond(&record)
    }),
    ("device_dropped_state", || {
        let mut record = received::after_silence(received::bare(), 60_000);
        record.segment.ip_id = 7;
        data_beyond(&record)
    }),
    // A perfect imitation of an abort, yet the data continues: a socket aborts after its last byte.
    ("device_injected", || data_beyond(&fixture::received())),
    ("aborted_together", || correlated(&fixture::received(), Correlation { ended_together: 2, refused_since: true })),
    ("ended_together", || {
        correlated(&after_fin(received::bare(), 60_000), Correlation { ended_together: 2, refused_since: true })
    }),
    ("reused_after_timer", || {
        correlated(&after_fin(received::bare(), 60_000), Correlation { ended_together: 2, refused_since: false })
    }),
    ("reused_after_fin", || {
        correlated(&after_fin(received::bare(), 60_000), Correlation { ended_together: 0, refused_since: true })
    }),
];
