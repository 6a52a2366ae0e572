//! Writes the fuzz target `decode` its seeds: the golden cases, and some sequences of them.
//!
//! `cargo test -p rstwatch --lib write_seeds -- --ignored`; see CONTRIBUTING.md.

use std::fs;
use std::path::Path;

use rstwatch_common::record::{ResetRecord, flags};
use zerocopy::IntoBytes;

use super::cases;
use crate::fixture::{self, NOW_NS};

/// A name, and what comes one behind another.
type Seed = (String, Vec<ResetRecord>);

/// Behind the records: no phantom was lost, and 60 ms pass after each record.
const SCRIPT: [u8; 3] = [0, 6, 6];

fn of_cases() -> impl Iterator<Item = Seed> {
    cases().enumerate().map(|(number, (rule, record))| (format!("case-{number:03}-{rule}"), vec![record()]))
}

fn sequences() -> Vec<Seed> {
    let received = fixture::received();
    let mut sent = fixture::sent_active();
    sent.flow = received.flow.reversed();
    sent.tcp.snd_nxt = received.segment.seq;
    let mut phantom = fixture::received();
    phantom.tcp.shutdown = 3;
    phantom.segment.present = 0;
    let mut answer = fixture::sent_answer();
    (answer.sock, answer.flow) = (phantom.sock, phantom.flow);
    answer.flags |= flags::PHANTOM;
    let mut later = sent;
    later.time_ns = NOW_NS + 3_000_000_000;
    let named = |name: &str, records: &[ResetRecord]| (format!("row-{name}"), records.to_vec());
    vec![
        named("sender-first", &[sent, received]),
        named("receiver-first", &[received, sent]),
        named("phantom", &[phantom, answer]),
        named("phantom-beside-a-reset", &[sent, phantom, answer, received]),
        named("too-late", &[received, later, received]),
        ("row-all".into(), cases().step_by(5).map(|(_, record)| record()).collect()),
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
    for (name, records) in of_cases().chain(sequences()) {
        let mut bytes: Vec<u8> = records.iter().flat_map(|record| record.as_bytes().to_vec()).collect();
        bytes.extend(SCRIPT);
        fs::write(folder.join(name), bytes).expect("a seed");
    }
}
