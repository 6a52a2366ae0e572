//! What the last sample of the periodic scan shows, and what it does not.

use rstwatch_common::record::last_payload::{OURS, PEERS, UNKNOWN};
use rstwatch_common::record::{ResetRecord, Sampled, sock_flag};

use super::received::{after_silence, bare, to_server};
use super::{classify, evidence_of};
use crate::cause::Cause;
use crate::testing::fixture::{self, jiffies};

/// Adds a sample of the periodic scan. Where its `active` is 0, its `jiffies` say how long the connection had been quiet.
pub(super) fn sampled(mut record: ResetRecord, sample: Sampled) -> ResetRecord {
    record.conn.sampled = sample;
    record
}

/// A sample that found `last_payload`.
pub(super) fn sample(last_payload: u16) -> Sampled {
    Sampled { last_payload, ..fixture::record().conn.sampled }
}

/// This server wrote after 60 s without payload, and a bare RST answered. Three requests and their responses had passed before.
fn pushed() -> ResetRecord {
    let mut record = to_server(after_silence(bare(), 60_000));
    (record.tcp.data_segs_in, record.tcp.data_segs_out, record.tcp.packets_out) = (3, 4, 1);
    record
}

/// A sample of it, taken `quiet_ms` after the peer's last payload, when this host had sent `segs_out` segments.
fn sampled_at(quiet_ms: u32, segs_out: u16, last_payload: u16) -> Sampled {
    Sampled { jiffies: jiffies(quiet_ms), segs_in: 3, segs_out, ..sample(last_payload) }
}

fn was_idle(record: &ResetRecord) -> bool {
    classify(&evidence_of(record)).candidates.first() == Some(&Cause::IdleReaped)
}

/// A response that took long ends no idle period. A sample shows the request, unless a response has been sent since.
#[test]
fn a_sample_before_the_last_response_says_nothing() {
    let last = pushed();
    for (what, sample, idle) in [
        ("no sample", sample(UNKNOWN), true),
        ("the request was open", sampled_at(59_000, 3, PEERS), false),
        ("the request was open, and no scan came after", sampled_at(500, 3, PEERS), false),
        ("the response had been sent", sampled_at(59_000, 3, OURS), true),
        ("the response followed the sample", sampled_at(500, 2, PEERS), true),
        ("the sample was of another socket", Sampled { jiffies: 0, ..sampled_at(0, 3, PEERS) }, true),
    ] {
        assert_eq!(was_idle(&sampled(last, sample)), idle, "{what}");
    }
}

/// Part of a long response was acknowledged, or its last segment was sent again: more segments than the outstanding ones went
/// out since the sample, but it shows the request.
#[test]
fn a_recent_sample_shows_the_request_of_a_long_response() {
    let mut long = pushed();
    (long.tcp.data_segs_out, long.tcp.packets_out) = (8, 2);
    // ACKs do not count: this host sends keepalives.
    long.tcp.sk_flags = sock_flag::KEEPOPEN;
    assert!(!was_idle(&sampled(long, sampled_at(59_500, 3, PEERS))));
    assert!(was_idle(&sampled(long, sampled_at(40_000, 3, PEERS))), "a response and an idle period may have followed");
    let mut next = sampled(long, sampled_at(59_500, 3, PEERS));
    next.conn.sampled.segs_in = 2;
    assert!(was_idle(&next), "the peer has sent a segment since, which hides the age of the sample");
    let mut again = pushed();
    (again.tcp.data_segs_out, again.tcp.retransmits) = (6, 2);
    assert!(!was_idle(&sampled(again, sampled_at(40_000, 3, PEERS))), "timeouts sent the segment again");
}
