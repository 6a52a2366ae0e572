//! Benchmarks of the stages after the ring buffer, on records captured from a real kernel. Run them with `cargo bench`.
//!
//! Compare the results before and after a change. `cargo xtask bench` enforces the limit for all stages together: 2 µs per
//! event.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use rstwatch::stats::{aggregate, history};
use rstwatch_common::record::{ResetRecord, kind};
use rstwatch_verdict::assemble;
use rstwatch_verdict::classify::classify;
use rstwatch_verdict::decode::decode;
use rstwatch_verdict::evidence;
use rstwatch_verdict::pair::Pairing;
use rstwatch_verdict::stages::Stages;

#[path = "../tests/fuzzed/context.rs"]
pub mod context;

const CAPTURED: &[u8] = include_bytes!("../tests/records/loopback-6.18.bin");

fn main() {
    divan::main();
}

fn raw_records() -> impl Iterator<Item = &'static [u8]> {
    CAPTURED.chunks_exact(size_of::<ResetRecord>())
}

fn records() -> Vec<ResetRecord> {
    raw_records().map(|chunk| decode(chunk).expect("a valid record")).collect()
}

/// A flood: the captured records, repeated with different ports and increasing times.
fn flood(rounds: u16) -> Vec<ResetRecord> {
    let captured = records();
    let mut all = Vec::new();
    for round in 0..rounds {
        for record in &captured {
            let mut record = *record;
            let shifted = |port: u16| port ^ (round << 3);
            let (local, remote) = (record.flow.local_port, record.flow.remote_port);
            (record.flow.local_port, record.flow.remote_port) = (shifted(local), shifted(remote));
            record.time_ns += u64::from(round) * 1_000_000;
            all.push(record);
        }
    }
    all
}

#[divan::bench]
fn decode_records(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(raw_records().count())).bench(|| {
        raw_records().for_each(|bytes| _ = black_box(decode(black_box(bytes))));
    });
}

#[divan::bench]
fn gather_evidence(bencher: Bencher<'_, '_>) {
    let (records, context) = (records(), context::context());
    bencher.counter(ItemsCount::new(records.len())).bench(|| {
        records.iter().for_each(|record| _ = black_box(evidence::of_record(record, &context)));
    });
}

#[divan::bench]
fn classify_evidence(bencher: Bencher<'_, '_>) {
    let context = context::context();
    let evidence: Vec<_> = records().iter().map(|record| evidence::of_record(record, &context)).collect();
    bencher.counter(ItemsCount::new(evidence.len())).bench(|| {
        evidence.iter().for_each(|evidence| _ = black_box(classify(evidence)));
    });
}

/// Bytes to event, without the flow table.
#[divan::bench]
fn bytes_to_event(bencher: Bencher<'_, '_>) {
    let context = context::context();
    bencher.counter(ItemsCount::new(raw_records().count())).bench(|| {
        for bytes in raw_records() {
            let record = decode(bytes).expect("a valid record");
            let evidence = evidence::of_record(&record, &context);
            let verdict = classify(&evidence);
            black_box(assemble::judged(&record, &evidence, verdict, &context));
        }
    });
}

/// The flow table alone, fed both ends of each reset until it is full.
#[divan::bench]
fn pair_records(bencher: Bencher<'_, '_>) {
    let (records, context) = (flood(2_000), context::context());
    let sent = evidence::of_record(&records[0], &context);
    let sender_verdict = classify(&sent).to_receiver(&sent);
    bencher.counter(ItemsCount::new(records.len())).with_inputs(Pairing::default).bench_local_refs(|pairing| {
        for record in &records {
            if record.kind == kind::RECEIVED {
                black_box(pairing.received(*record));
            } else {
                black_box(pairing.sent(record, sender_verdict.clone()));
            }
        }
        while black_box(pairing.release_if(|_| true)).is_some() {}
    });
}

/// Everything between the ring buffer and the totals.
#[divan::bench]
fn all_stages(bencher: Bencher<'_, '_>) {
    let records = flood(2_000);
    let counter = ItemsCount::new(records.len());
    bencher.counter(counter).with_inputs(|| Stages::new(context::context())).bench_local_refs(|stages| {
        let (totals, history) = (aggregate::Aggregate::new(1_000), history::History::default());
        for record in &records {
            stages.record(record, &|| 0);
            while let Some(judged) = stages.pop() {
                totals.record(&judged.event);
                history.push(judged.into());
            }
        }
    });
}
