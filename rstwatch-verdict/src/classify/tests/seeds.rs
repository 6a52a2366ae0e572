//! The seeds of the fuzz target `decode`: the golden cases, and some sequences of them.

use rstwatch_common::record::{ResetRecord, flags, state};
use zerocopy::IntoBytes;

use super::cases;
use crate::testing::fixture::{self, NOW_NS};
use crate::testing::seeds;

/// A name, a sequence of records, and the script that follows them (`tests/fuzzed/decode.rs`).
type Seed = (String, Vec<ResetRecord>, &'static [u8]);

/// No phantom was lost. Nothing expires before the end, or 60 ms pass after each record.
const AT_ONCE: &[u8] = &[0];
const SLOWLY: &[u8] = &[0, 6, 6, 6, 6];
/// The kernel counted one phantom without a record.
const ONE_LOST: &[u8] = &[1];

/// Numbered within each rule, so that a new case renames no other.
fn of_cases() -> impl Iterator<Item = Seed> {
    cases().enumerate().map(|(at, (rule, record))| {
        let number = cases().take(at).filter(|(id, _)| id == rule).count();
        (format!("case-{rule}-{number}"), vec![record()], SLOWLY)
    })
}

fn sequences() -> Vec<Seed> {
    let received = fixture::received();
    let mut sent = fixture::sent_active();
    sent.flow = received.flow.reversed();
    sent.tcp.snd_nxt = received.segment.seq;
    let mut phantom = fixture::received();
    phantom.state = state::FIN_WAIT2;
    phantom.tcp.shutdown = 3;
    phantom.segment.present = 0;
    let mut answer = fixture::sent_answer();
    (answer.sock, answer.flow) = (phantom.sock, phantom.flow);
    answer.flags |= flags::PHANTOM;
    let mut later = sent;
    later.time_ns = NOW_NS + 3_000_000_000;
    let named = |name: &str, records: &[ResetRecord], script| (format!("row-{name}"), records.to_vec(), script);
    vec![
        named("sender-first", &[sent, received], AT_ONCE),
        named("receiver-first", &[received, sent], AT_ONCE),
        named("phantom", &[phantom, answer], AT_ONCE),
        named("phantom-beside-a-reset", &[sent, phantom, answer, received], AT_ONCE),
        named("phantom-alone", &[phantom], ONE_LOST),
        named("header-unseen", &[phantom], AT_ONCE),
        named("too-late", &[received, later, received], SLOWLY),
        ("row-all".into(), cases().step_by(5).map(|(_, record)| record()).collect(), AT_ONCE),
    ]
}

#[test]
fn seeds_are_up_to_date() {
    let bytes = |records: &[ResetRecord], script: &[u8]| {
        let records = records.iter().flat_map(IntoBytes::as_bytes);
        records.chain(script).copied().collect::<Vec<u8>>()
    };
    let seeds = of_cases().chain(sequences()).map(|(name, records, script)| (name, bytes(&records, script)));
    seeds::are_kept("decode", |name| name.starts_with("case-") || name.starts_with("row-"), &seeds.collect());
}
