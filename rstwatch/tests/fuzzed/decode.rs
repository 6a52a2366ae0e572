//! Bytes of the ring, through all stages behind it, to JSON: nothing panics, and no reset is lost or invented.
//!
//! The input is records one behind another. What is left behind the last whole one is a script: its first byte says
//! how many phantoms the kernel counted whose second record was lost, the others how far time goes on after each
//! record, in steps of 10 ms; without a byte the ring is not empty, and nothing expires.

use std::collections::HashMap;
use std::net::SocketAddr;

use rstwatch_common::flow::{IPV4, IPV6};
use rstwatch_common::record::{MAGIC, ResetRecord, flags, kind};
use rstwatch_verdict::addresses;
use rstwatch_verdict::cause::Direction;
use rstwatch_verdict::decode::decode;
use rstwatch_verdict::event::Event;
use rstwatch_verdict::evidence;
use rstwatch_verdict::judged::Judged;
use rstwatch_verdict::stages::Stages;
use zerocopy::{FromBytes, IntoBytes};

use super::context::context;

const STEP_NS: u64 = 10_000_000;

/// The target's body; answers how many records of the input were of this wire as they stood.
pub fn run(input: &[u8]) -> usize {
    let _ = decode(input);
    let chunks = input.chunks_exact(size_of::<ResetRecord>());
    let mut script = chunks.remainder().iter();
    let lost = script.next().map_or(0, |count| u64::from(*count % 4));
    let mut capture = Capture::new(lost);
    let mut whole = 0;
    for chunk in chunks {
        whole += usize::from(decode(chunk).is_ok());
        capture.record(&repaired(chunk));
        if let Some(step) = script.next() {
            capture.expire(u64::from(*step) * STEP_NS);
        }
    }
    capture.finish();
    whole
}

/// The record, with those fields put right that `decode` would refuse: it would stop the fuzzer at the door.
fn repaired(bytes: &[u8]) -> ResetRecord {
    let mut record = ResetRecord::read_from_bytes(bytes).expect("a chunk is as long as a record");
    record.magic = MAGIC;
    if decode(record.as_bytes()).is_err() {
        record.kind = kind::SENT + record.kind % 3;
        record.flow.family = if record.flow.family % 2 == 0 { IPV4 } else { IPV6 };
    }
    decode(record.as_bytes()).expect("checked fields are in order")
}

/// Addresses of one end: enough to tell resets apart, and kept in the event.
type Ends = (SocketAddr, SocketAddr);

/// What went in and has not come out, for the resets of one end; and what may lawfully stay away.
#[derive(Default)]
struct Line {
    sent: i64,
    received: i64,
    /// Receives whose phantom the kernel's next record told of.
    told: i64,
    /// Receives that may be phantoms whose second record was lost.
    doubtful: i64,
}

struct Capture {
    stages: Stages,
    ledger: HashMap<Ends, Line>,
    /// Phantoms of which no record tells.
    lost: u64,
    /// All phantoms that the kernel counted so far.
    counted: u64,
    now_ns: u64,
}

impl Capture {
    fn new(lost: u64) -> Self {
        Self { stages: Stages::new(context()), ledger: HashMap::new(), lost, counted: lost, now_ns: 0 }
    }

    fn record(&mut self, record: &ResetRecord) {
        let line = self.ledger.entry(addresses::ends(&record.flow)).or_default();
        match record.kind {
            kind::SENT | kind::FIREWALL => {
                line.sent += 1;
                if record.flags & flags::PHANTOM != 0 {
                    line.told += 1;
                    self.counted += 1;
                }
            }
            kind::RECEIVED => {
                line.received += 1;
                line.doubtful += i64::from(evidence::is_phantom(record));
            }
            // Evidence for other records, without an event of its own.
            _ => {}
        }
        self.now_ns = record.time_ns;
        let counted = self.counted;
        self.stages.record(record, &|| counted);
        self.drain();
    }

    fn expire(&mut self, later_ns: u64) {
        let counted = self.counted;
        self.stages.expire(self.now_ns.saturating_add(later_ns), &|| counted);
        self.drain();
    }

    fn finish(mut self) {
        let counted = self.counted;
        self.stages.flush(&|| counted);
        self.drain();
        assert!(!self.stages.is_waiting(), "something stays behind");
        let mut unexplained = 0;
        for (ends, line) in &self.ledger {
            assert_eq!(line.sent, 0, "sent resets without an event of {ends:?}");
            let excess = (line.received - line.told).max(0);
            assert!(excess <= line.doubtful, "received resets lost of {ends:?}");
            unexplained += excess;
        }
        assert!(unexplained <= i64::try_from(self.lost).expect("small"), "more phantoms than the kernel counted");
    }

    fn drain(&mut self) {
        while let Some(Judged { event, .. }) = self.stages.pop() {
            let json = serde_json::to_string(&event).expect("an event is JSON");
            assert!(!json.contains('\n'), "one line for each event");
            self.settle(&event);
        }
    }

    /// Events come only of what went in.
    fn settle(&mut self, event: &Event) {
        let line = self.ledger.get_mut(&(event.local, event.remote)).expect("an event of an end that was put in");
        let due = match event.direction {
            Direction::Sent => &mut line.sent,
            Direction::Received => &mut line.received,
        };
        *due -= 1;
        assert!(*due >= 0, "an event too many of {:?}", (event.local, event.remote));
    }
}
