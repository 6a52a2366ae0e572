//! The cost per reset of each stage after the ring, with records captured from a real kernel: `cargo bench`.
//!
//! Compare the results with those from before a change. `cargo xtask bench` checks the limit for the whole, 2 µs per event.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use rstwatch::stats::{aggregate, history};
use rstwatch_common::record::{ResetRecord, kind};
use rstwatch_verdict::assemble;
use rstwatch_verdict::classify::classify;
use rstwatch_verdict::decode::decode;
use rstwatch_verdict::evidence::{self, SenderVerdict};
use rstwatch_verdict::pair::Pairing;
use rstwatch_verdict::stages::Stages;

#[path = "../tests/fuzzed/context.rs"]
pub mod context;

const CAPTURED: &[u8] = include_bytes!("../tests/records/loopback-6.18.bin");

fn main() {
    divan::main();
}

fn chunks() -> impl Iterator<Item = &'static [u8]> {
    CAPTURED.chunks_exact(size_of::<ResetRecord>())
}

fn records() -> Vec<ResetRecord> {
    chunks().map(|chunk| decode(chunk).expect("a record of this wire")).collect()
}

/// A flood: the captured records many times, each time with other ports and a later time.
fn flood(rounds: u16) -> Vec<ResetRecord> {
    let once = records();
    let mut all = Vec::new();
    for round in 0..rounds {
        for record in &once {
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
fn decoding(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(chunks().count())).bench(|| {
        chunks().for_each(|bytes| _ = black_box(decode(black_box(bytes))));
    });
}

#[divan::bench]
fn gathering_evidence(bencher: Bencher<'_, '_>) {
    let (records, context) = (records(), context::context());
    bencher.counter(ItemsCount::new(records.len())).bench(|| {
        records.iter().for_each(|record| _ = black_box(evidence::of_record(record, &context)));
    });
}

#[divan::bench]
fn classifying(bencher: Bencher<'_, '_>) {
    let context = context::context();
    let evidence: Vec<_> = records().iter().map(|record| evidence::of_record(record, &context)).collect();
    bencher.counter(ItemsCount::new(evidence.len())).bench(|| {
        evidence.iter().for_each(|evidence| _ = black_box(classify(evidence)));
    });
}

/// From bytes to the event, without the flow table.
#[divan::bench]
fn bytes_to_verdict(bencher: Bencher<'_, '_>) {
    let context = context::context();
    bencher.counter(ItemsCount::new(chunks().count())).bench(|| {
        for bytes in chunks() {
            let record = decode(bytes).expect("a record of this wire");
            let evidence = evidence::of_record(&record, &context);
            let verdict = classify(&evidence);
            black_box(assemble::judged(&record, &evidence, verdict, &context));
        }
    });
}

/// The flow table alone, with both ends of each reset, in a flood that fills it.
#[divan::bench]
fn pairing(bencher: Bencher<'_, '_>) {
    let (records, context) = (flood(2_000), context::context());
    let verdict = classify(&evidence::of_record(&records[0], &context));
    let saw = SenderVerdict {
        cause: verdict.cause,
        sender: verdict.sender,
        confidence: verdict.confidence,
        because: verdict.because,
    };
    bencher.counter(ItemsCount::new(records.len())).with_inputs(Pairing::default).bench_local_refs(|pairing| {
        for record in &records {
            if record.kind == kind::RECEIVED {
                black_box(pairing.received(*record));
            } else {
                black_box(pairing.sent(record, saw.clone()));
            }
        }
        black_box(pairing.expired(u64::MAX));
    });
}

/// Everything between the ring and the totals.
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
                history.push(std::sync::Arc::new(judged));
            }
        }
    });
}
