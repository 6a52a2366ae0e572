//! Passes bytes of the ring through all stages to JSON: nothing panics, and no reset is lost or invented.
//!
//! The input is a sequence of records. The bytes after the last complete record are a script. Its first byte is the number
//! of phantoms that the kernel counted but of which the second record was lost. Each further byte belongs to one record: the
//! ring is empty after it, and time advances by this number of steps of 10 ms. After records without a byte nothing expires.

use std::collections::HashMap;
use std::net::SocketAddr;

use rstwatch_common::flow::{IPV4, IPV6};
use rstwatch_common::record::{MAGIC, ResetRecord, flags, kind};
use rstwatch_verdict::addresses;
use rstwatch_verdict::cause::Direction;
use rstwatch_verdict::decode::decode;
use rstwatch_verdict::event::Event;
use rstwatch_verdict::evidence;
use rstwatch_verdict::stages::Stages;
use zerocopy::{FromBytes, IntoBytes};

use super::context::context;

const STEP_NS: u64 = 10_000_000;

/// The body of the target. Returns how many records of the input are valid without repair.
pub fn run(input: &[u8]) -> usize {
    let _ = decode(input);
    let chunks = input.chunks_exact(size_of::<ResetRecord>());
    let mut script = chunks.remainder().iter();
    let lost = script.next().map_or(0, |count| u64::from(*count % 4));
    let mut capture = Capture::new(lost);
    let mut valid = 0;
    for chunk in chunks {
        valid += usize::from(decode(chunk).is_ok());
        capture.record(&repaired(chunk));
        if let Some(step) = script.next() {
            capture.expire(u64::from(*step) * STEP_NS);
        }
    }
    capture.finish();
    valid
}

/// The record with the fields corrected that `decode` checks, so that the fuzzer reaches the stages after it.
fn repaired(bytes: &[u8]) -> ResetRecord {
    let mut record = ResetRecord::read_from_bytes(bytes).expect("a chunk is as long as a record");
    record.magic = MAGIC;
    if decode(record.as_bytes()).is_err() {
        record.kind = kind::SENT + record.kind % 3;
        record.flow.family = if record.flow.family % 2 == 0 { IPV4 } else { IPV6 };
    }
    decode(record.as_bytes()).expect("checked fields are in order")
}

/// Local and remote address: they identify the resets of one end, and are part of the event.
type Ends = (SocketAddr, SocketAddr);

/// Resets of one end for which no event has come yet, and how many of them may be phantoms.
#[derive(Default)]
struct Due {
    sent: i64,
    received: i64,
    /// Receives that a later record marks as phantoms.
    marked: i64,
    /// Receives that may be phantoms of which the second record was lost.
    suspected: i64,
}

struct Capture {
    stages: Stages,
    due: HashMap<Ends, Due>,
    /// Phantoms of which the second record was lost.
    lost: u64,
    /// All phantoms that the kernel counted so far.
    counted: u64,
    now_ns: u64,
}

impl Capture {
    fn new(lost: u64) -> Self {
        Self { stages: Stages::new(context()), due: HashMap::new(), lost, counted: lost, now_ns: 0 }
    }

    fn record(&mut self, record: &ResetRecord) {
        let due = self.due.entry(addresses::ends(&record.flow)).or_default();
        match record.kind {
            kind::SENT | kind::FIREWALL => {
                due.sent += 1;
                if record.flags & flags::PHANTOM != 0 {
                    due.marked += 1;
                    self.counted += 1;
                }
            }
            kind::RECEIVED => {
                due.received += 1;
                due.suspected += i64::from(evidence::is_phantom(record));
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
        assert!(!self.stages.is_waiting(), "a record is still waiting");
        let mut unexplained = 0;
        for (ends, due) in &self.due {
            assert_eq!(due.sent, 0, "sent resets without an event: {ends:?}");
            let excess = (due.received - due.marked).max(0);
            assert!(excess <= due.suspected, "received resets lost: {ends:?}");
            unexplained += excess;
        }
        assert!(unexplained <= i64::try_from(self.lost).expect("small"), "more phantoms than the kernel counted");
    }

    fn drain(&mut self) {
        while let Some(event) = self.stages.pop().map(|judged| judged.event) {
            let json = serde_json::to_string(&event).expect("an event is JSON");
            assert!(!json.contains('\n'), "an event is one line");
            self.settle(&event);
        }
    }

    /// Matches an event with a record that was put in.
    fn settle(&mut self, event: &Event) {
        let due = self.due.get_mut(&(event.local, event.remote)).expect("an event of a recorded connection");
        let count = match event.direction {
            Direction::Sent => &mut due.sent,
            Direction::Received => &mut due.received,
        };
        *count -= 1;
        assert!(*count >= 0, "more events than records: {:?}", (event.local, event.remote));
    }
}
