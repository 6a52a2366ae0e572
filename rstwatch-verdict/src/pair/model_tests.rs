//! Compares pairing with the naive model: resets of a few connections, reordered, duplicated, lost, with reused ports
//! and as phantoms, while time passes and the queues are short.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rstwatch_common::record::{ResetRecord, flags, kind, present, state, tcp_flag};

use super::model::{Model, Released, Reset};
use super::{Pairing, Ready};
use crate::evidence::SenderVerdict;
use crate::recent::Recent;
use crate::testing::fixture::{self, NOW_NS};

/// Sockets of the first use of the ports, and of the last: those do not abort, they answer segments.
const FIRST: u64 = 0x1000;
const ANSWERS: u64 = FIRST + 2;

/// One RST of a connection, and the records of its two ends.
#[derive(Clone, Debug)]
struct Rst {
    connection: u8,
    /// Which use of the ports. Each has other sequence numbers and sockets.
    reuse: u8,
    /// The other end sends; both may abort at once.
    backwards: bool,
    /// When the RST was sent.
    at_ms: u32,
    /// When the receiver's record is written; an active RST is traced after its receive.
    receive_ms: i32,
    sender: Copies,
    receiver: Copies,
    /// The header was not seen.
    unseen: bool,
    /// The sender's numbers were not seen.
    blind: bool,
    /// It answered a SYN, so its sequence number is 0.
    refused: bool,
    /// A phantom: the receiver's kernel reset the connection itself, and answers.
    phantom: bool,
}

/// How often a record arrives, and how far it is moved in the order of arrival.
#[derive(Clone, Debug)]
struct Copies {
    count: u8,
    moved_ms: i32,
}

/// One step of the test.
#[derive(Clone, Debug)]
enum Step {
    Sent(Reset),
    Received(Reset),
    /// The ring is empty at this time.
    Expire(u64),
}

fn copies() -> impl Strategy<Value = Copies> {
    let count = prop_oneof![6 => Just(1u8), 2 => Just(0), 1 => Just(2)];
    let moved = prop_oneof![4 => -3i32..4, 1 => -80i32..81, 1 => -2500i32..2501];
    (count, moved).prop_map(|(count, moved_ms)| Copies { count, moved_ms })
}

fn rst() -> impl Strategy<Value = Rst> {
    let receive = prop_oneof![6 => -1i32..3, 2 => 0i32..120, 1 => 1900i32..2100, 1 => Just(2000), 1 => Just(-2000)];
    let rare = || prop::bool::weighted(0.15);
    let ends = (0u8..3, 0u8..3, prop::bool::weighted(0.3));
    let times = (0u32..6000, receive, copies(), copies());
    (ends, times, [rare(), rare(), rare(), rare()]).prop_map(|(ends, times, [unseen, blind, refused, phantom])| {
        let (connection, reuse, backwards) = ends;
        let (at_ms, receive_ms, sender, receiver) = times;
        Rst { connection, reuse, backwards, at_ms, receive_ms, sender, receiver, unseen, blind, refused, phantom }
    })
}

fn milliseconds(ms: i64) -> u64 {
    // Far enough after boot for records that are moved back.
    NOW_NS + u64::try_from(ms + 10_000).expect("not before the boot") * 1_000_000
}

impl Rst {
    /// The records of both ends, with the time at which each leaves the ring.
    fn records(&self) -> Vec<(i64, Step)> {
        let mut flow = fixture::record().flow;
        flow.local_port = 40_000 + u16::from(self.connection);
        if self.backwards {
            flow = flow.reversed();
        }
        let sent_at = i64::from(self.at_ms);
        let received_at = sent_at + i64::from(self.receive_ms);
        let seq = if self.refused { 0 } else { 5000 + u32::from(self.reuse) * 10_000 };
        let received = Reset {
            id: 0,
            flow,
            time_ns: milliseconds(received_at),
            sock: FIRST + u64::from(self.reuse),
            seq: (!self.unseen && !self.phantom).then_some(seq),
            phantom: false,
            // Genuine receives without a header may be suspects too.
            suspect: self.phantom || (self.unseen && self.blind),
        };
        let sent = Reset {
            // Both records of a phantom are from the same end.
            flow: if self.phantom { flow } else { flow.reversed() },
            time_ns: milliseconds(sent_at),
            phantom: self.phantom,
            seq: (!self.blind || self.phantom || self.refused).then_some(seq),
            ..received
        };
        let come = |at: i64, copies: &Copies, step: Step| {
            let at = at + i64::from(copies.moved_ms);
            vec![(at, step); copies.count.into()]
        };
        let mut records = come(sent_at, &self.sender, Step::Sent(sent));
        records.extend(come(received_at, &self.receiver, Step::Received(received)));
        records
    }
}

/// Steps in order of arrival, numbered.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pauses = prop::collection::vec(0i64..9000, 0..12);
    (prop::collection::vec(rst(), 0..24), pauses).prop_map(|(resets, pauses)| {
        let mut steps: Vec<_> = resets.iter().flat_map(Rst::records).collect();
        steps.extend(pauses.into_iter().map(|at| (at, Step::Expire(milliseconds(at)))));
        steps.sort_by_key(|(at, _)| *at);
        let numbered = (1u32..).zip(steps).map(|(number, (_, step))| match step {
            Step::Sent(reset) => Step::Sent(Reset { id: number, ..reset }),
            Step::Received(reset) => Step::Received(Reset { id: number, ..reset }),
            expire @ Step::Expire(_) => expire,
        });
        numbered.collect()
    })
}

/// The record, with its number in a field that pairing does not read.
fn record(reset: &Reset, mut record: ResetRecord) -> ResetRecord {
    record.flow = reset.flow;
    record.time_ns = reset.time_ns;
    record.sock = reset.sock;
    record.netns = reset.id;
    record
}

fn sent_record(reset: &Reset) -> ResetRecord {
    let answers = reset.phantom || reset.seq == Some(0) || reset.sock == ANSWERS;
    if answers && reset.seq.is_some() {
        return answer(reset);
    }
    let mut sent = record(reset, fixture::sent_active());
    match reset.seq {
        Some(seq) => sent.tcp.snd_nxt = seq,
        None => sent.flags &= !flags::TCP,
    }
    sent
}

/// An answer has its sequence number from the answered segment; a SYN provides none.
fn answer(reset: &Reset) -> ResetRecord {
    let mut answer = record(reset, fixture::sent_answer());
    if reset.phantom {
        answer.flags |= flags::PHANTOM;
    }
    match reset.seq.expect("an answer's number is known") {
        0 => (answer.segment.flags, answer.segment.ack) = (tcp_flag::SYN, 7),
        seq => answer.segment.ack = seq,
    }
    answer
}

fn received_record(reset: &Reset) -> ResetRecord {
    let mut received = record(reset, fixture::received());
    received.kind = kind::RECEIVED;
    if reset.suspect {
        received.state = state::FIN_WAIT2;
        received.tcp.shutdown = 3;
    }
    match reset.seq {
        Some(seq) => (received.segment.seq, received.tcp.rcv_nxt) = (seq, seq),
        None => received.segment.present &= !present::SEGMENT,
    }
    received
}

/// A verdict that carries its sender's number.
fn verdict(reset: &Reset) -> SenderVerdict {
    fixture::linger_abort(reset.id.to_string())
}

fn released(ready: Ready) -> Released {
    let sender = ready.sender_verdict.map(|saw| saw.because.parse().expect("a number"));
    (ready.record.netns, sender)
}

fn short(bound: usize) -> Pairing {
    Pairing { held: Recent::new(bound), sent: Recent::new(bound) }
}

/// The results of pairing and of the model.
fn both(pairing: &mut Pairing, model: &mut Model, step: &Step) -> (Vec<Released>, Vec<Released>) {
    match step {
        Step::Sent(reset) => {
            let real = pairing.sent(&sent_record(reset), verdict(reset));
            (real.map(released).into_iter().collect(), model.sent(*reset).into_iter().collect())
        }
        Step::Received(reset) => {
            let real = pairing.received(received_record(reset));
            (real.into_iter().map(released).collect(), model.received(*reset).into_iter().collect())
        }
        Step::Expire(now_ns) => (pairing.expired(*now_ns).into_iter().map(released).collect(), model.expired(*now_ns)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn pairing_matches_the_model(steps in steps(), bound in prop_oneof![1usize..5, Just(64)]) {
        let (mut pairing, mut model) = (short(bound), Model::new(bound));
        for (index, step) in steps.iter().enumerate() {
            let (real, expected) = both(&mut pairing, &mut model, step);
            prop_assert_eq!(real, expected, "step {}: {:?}", index, step);
            prop_assert_eq!(pairing.is_waiting(), model.is_waiting());
            prop_assert!(pairing.held.len() <= bound && pairing.sent.len() <= bound);
        }
        let real: Vec<_> = pairing.flush().into_iter().map(released).collect();
        prop_assert_eq!(real, model.flush());
    }

    /// Each receive is released once, or dropped by a phantom's record; each sender explains at most one receive.
    #[test]
    fn no_receive_is_lost_or_duplicated(steps in steps(), bound in prop_oneof![1usize..5, Just(64)]) {
        let mut pairing = short(bound);
        let mut model = Model::new(bound);
        let mut out: Vec<Released> = steps.iter().flat_map(|step| both(&mut pairing, &mut model, step).0).collect();
        out.extend(pairing.flush().into_iter().map(released));
        let receives: BTreeSet<_> = steps.iter().filter_map(|step| match step {
            Step::Received(reset) => Some(reset.id),
            _ => None,
        }).collect();
        let gone: BTreeSet<_> = out.iter().map(|(receive, _)| *receive).collect();
        prop_assert_eq!(gone.len(), out.len(), "a receive was released twice");
        prop_assert!(gone.is_subset(&receives));
        let phantoms = steps.iter().filter(|step| matches!(step, Step::Sent(reset) if reset.phantom)).count();
        prop_assert!(receives.len() - gone.len() <= phantoms, "a receive was lost");
        let senders: Vec<_> = out.iter().filter_map(|(_, sender)| *sender).collect();
        let distinct: BTreeSet<_> = senders.iter().collect();
        prop_assert_eq!(distinct.len(), senders.len(), "a sender explains two receives");
    }
}

/// The sequences above are useful only if they reach each way in which a receive ends.
#[test]
fn the_sequences_reach_every_rule() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut at_once, mut after_a_wait, mut by_age, mut evicted, mut phantoms) = (0, 0, 0, 0, 0);
    for _ in 0..300 {
        let (mut pairing, mut model) = (short(3), Model::new(3));
        for step in steps().new_tree(&mut runner).expect("steps").current() {
            let held = pairing.held.len();
            let out = both(&mut pairing, &mut model, &step).0;
            match (&step, out.first()) {
                (Step::Received(_), Some((_, Some(_)))) => at_once += 1,
                (Step::Sent(_), Some((_, Some(_)))) => after_a_wait += 1,
                (Step::Expire(_), Some(_)) => by_age += 1,
                (Step::Received(_), Some((_, None))) => evicted += 1,
                (Step::Sent(_), None) if pairing.held.len() < held => phantoms += 1,
                _ => {}
            }
        }
    }
    let reached = [at_once, after_a_wait, by_age, evicted, phantoms];
    assert!(reached.iter().all(|count| *count > 50), "{reached:?}");
}
