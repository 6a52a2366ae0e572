//! Writes the fuzz target `decode` its seeds: the golden cases, and some sequences of them.
//!
//! `cargo test -p rstwatch --lib write_seeds -- --ignored`; see CONTRIBUTING.md.

use std::fs;
use std::path::Path;

use rstwatch_common::record::{ResetRecord, flags, state};
use zerocopy::IntoBytes;

use super::cases;
use crate::fixture::{self, NOW_NS};

/// A name, what comes one behind another, and the script behind it (`tests/fuzzed/decode.rs`).
type Seed = (String, Vec<ResetRecord>, &'static [u8]);

/// No phantom was lost, and nothing expires before the end; or 60 ms pass after each record.
const AT_ONCE: &[u8] = &[0];
const SLOWLY: &[u8] = &[0, 6, 6, 6, 6];
/// One phantom was counted of which no record tells.
const ONE_LOST: &[u8] = &[1];

/// Numbered rule by rule, so that a new case renames no other.
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
#[ignore = "writes into the source tree"]
fn write_seeds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/decode");
    for entry in fs::read_dir(&folder).expect("the folder of seeds") {
        let path = entry.expect("an entry").path();
        // What a fuzzer found stays.
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.starts_with("case-") || name.starts_with("row-") {
            fs::remove_file(path).expect("an old seed");
        }
    }
    for (name, records, script) in of_cases().chain(sequences()) {
        let mut bytes: Vec<u8> = records.iter().flat_map(|record| record.as_bytes().to_vec()).collect();
        bytes.extend(script);
        fs::write(folder.join(name), bytes).expect("a seed");
    }
}
