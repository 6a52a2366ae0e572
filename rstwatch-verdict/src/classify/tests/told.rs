//! Resets whose verdict takes more than their own record: what came after, and what became of other connections.

use super::{evidence_of, received, sent};
use crate::evidence::{Aftermath, Company, EndedBy, Evidence};
use crate::testing::fixture;
use rstwatch_common::record::{ResetRecord, present, tcp_flag};

/// The peer's data go on after the RST.
fn outlived(record: &ResetRecord) -> Evidence {
    let mut evidence = evidence_of(record);
    if let Evidence::Received(received) = &mut evidence {
        received.forgery.add_aftermath(Aftermath { data_beyond: true, repeated: false });
    }
    evidence
}

fn in_company(record: &ResetRecord, company: Company) -> Evidence {
    let mut evidence = evidence_of(record);
    if let Evidence::Received(received) = &mut evidence {
        received.company = company;
    }
    evidence
}

/// Data of the peer's, beyond an RST that ended the connection here.
fn resumed() -> ResetRecord {
    let mut record = sent::late(0);
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
type Told = (&'static str, fn() -> Evidence);

pub(super) const CASES: &[Told] = &[
    ("outlived", || after(&resumed(), EndedBy::Busy)),
    ("outlived_idle", || after(&resumed(), EndedBy::Idle)),
    // Our own firewall had made it.
    ("outlived_reject", || after(&resumed(), EndedBy::LocalFirewall)),
    // Perhaps somebody else's: no surer than that.
    ("tail", || after(&resumed(), EndedBy::AnotherFirewall)),
    // The RST's own record was lost: whether the connection was idle is not known.
    ("tail", || evidence_of(&resumed())),
    // Data that was under way before the RST.
    ("tail", || {
        let mut record = resumed();
        record.segment.seq = 4990;
        after(&record, EndedBy::Busy)
    }),
    // Its own host's rule made the RST: same distance, and a reject's shape.
    ("tail", || {
        let mut record = resumed();
        record.conn.rst.segment.ttl = 63;
        after(&record, EndedBy::Busy)
    }),
    ("peers_firewall", || outlived(&received::bare())),
    ("path_injected", || {
        let mut record = received::bare();
        record.segment.ip_id = 7;
        outlived(&record)
    }),
    ("path_dropped_state", || {
        let mut record = received::after_silence(received::bare(), 60_000);
        record.segment.ip_id = 7;
        outlived(&record)
    }),
    // Disguised in every respect, and yet the data go on: it stays open.
    ("path_doubtful", || outlived(&fixture::received())),
    ("died_together", || {
        in_company(&received::after_fin(received::bare(), 60_000), Company { died_together: 2, refused_since: true })
    }),
    ("reused_after_fin", || {
        in_company(&received::after_fin(received::bare(), 60_000), Company { died_together: 2, refused_since: false })
    }),
    ("reused_after_fin", || {
        in_company(&received::after_fin(received::bare(), 60_000), Company { died_together: 0, refused_since: true })
    }),
];
