//! Compares pairing with the naive model: resets of a few connections, reordered, duplicated, lost, with reused ports,
//! translated addresses and as phantoms, while time passes and the queues are short.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rstwatch_common::flow::{Flow, IPV6};
use rstwatch_common::record::{ResetRecord, flags, kind, present, state, tcp_flag};

use super::model::{Model, Numbers, Released, Reset, match_ends};
use super::{Pairing, Ready, has_expired};
use crate::evidence::SenderVerdict;
use crate::recent::Recent;
use crate::testing::fixture::{self, NOW_NS};

/// The socket of the first use of the ports.
const FIRST: u64 = 0x1000;

/// What an RST is, which decides its numbers.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A live socket's: both numbers.
    Abort,
    /// It answers a segment with ACK: a sequence number alone.
    Answer,
    /// It answers a SYN: an acknowledgement number, and a sequence number of 0.
    Refusal,
    /// It answers a segment with ACK and an acknowledgement number of 0.
    Zero,
}

/// What translation has changed in the sender's flow.
#[derive(Clone, Copy, Debug)]
struct Nat {
    /// The sender's own end: the receiver knows a virtual address.
    sender: bool,
    /// The receiver's end: masquerading.
    receiver: bool,
    /// The ports of these ends as well.
    ports: bool,
    /// NAT64.
    family: bool,
}

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
    kind: Kind,
    nat: Nat,
    /// Its numbers are those of other connections.
    collides: bool,
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
    let kind =
        prop_oneof![3 => Just(Kind::Abort), 3 => Just(Kind::Answer), 1 => Just(Kind::Refusal), 1 => Just(Kind::Zero)];
    let often = || prop::bool::weighted(0.3);
    let nat = [often(), often(), often(), rare()];
    let ends = (0u8..3, 0u8..3, prop::bool::weighted(0.3));
    let times = (0u32..6000, receive, copies(), copies());
    let packet = (kind, nat, [rare(), rare(), rare(), rare()]);
    (ends, times, packet).prop_map(|(ends, times, (kind, nat, [unseen, blind, collides, phantom]))| {
        let (connection, reuse, backwards) = ends;
        let (at_ms, receive_ms, sender, receiver) = times;
        let [of_sender, of_receiver, ports, family] = nat;
        let nat = Nat { sender: of_sender, receiver: of_receiver, ports, family };
        Rst {
            connection,
            reuse,
            backwards,
            at_ms,
            receive_ms,
            sender,
            receiver,
            unseen,
            blind,
            kind,
            nat,
            collides,
            phantom,
        }
    })
}

impl Nat {
    /// The flow of the other end, from the sender's side of the translation.
    fn translate(self, mut sender: Flow) -> Flow {
        if self.family {
            sender.family = IPV6;
            (sender.local[15], sender.remote[15]) = (1, 2);
        }
        if self.sender {
            sender.local[0] = 172;
            sender.local_port += if self.ports { 1000 } else { 0 };
        }
        if self.receiver {
            sender.remote[0] = 192;
            sender.remote_port += if self.ports { 2000 } else { 0 };
        }
        sender
    }
}

impl Kind {
    fn numbers(self, seq: u32) -> Numbers {
        match self {
            Self::Abort => (seq, Some(seq + 100_000)),
            Self::Answer => (seq, None),
            Self::Refusal => (0, Some(seq)),
            Self::Zero => (0, None),
        }
    }
}

fn milliseconds(ms: i64) -> u64 {
    // Far enough after boot for records that are moved back.
    NOW_NS + u64::try_from(ms + 10_000).expect("not before the boot") * 1_000_000
}

impl Rst {
    /// A number of this use of the connection and of this direction, or one that all share.
    fn number(&self) -> u32 {
        let own = u32::from(self.connection) * 6 + u32::from(self.reuse) * 2 + u32::from(self.backwards);
        if self.collides { 5000 } else { 10_000 + own * 1000 }
    }

    /// The records of both ends, with the time at which each leaves the ring.
    fn records(&self) -> Vec<(i64, Step)> {
        let mut flow = fixture::record().flow;
        flow.local_port = 40_000 + u16::from(self.connection);
        if self.backwards {
            flow = flow.reversed();
        }
        let sent_at = i64::from(self.at_ms);
        let received_at = sent_at + i64::from(self.receive_ms);
        let numbers = self.kind.numbers(self.number());
        let received = Reset {
            id: 0,
            flow,
            time_ns: milliseconds(received_at),
            sock: FIRST + u64::from(self.reuse),
            numbers: (!self.unseen && !self.phantom).then_some(numbers),
            phantom: false,
            // Genuine receives without a header may be suspects too.
            suspect: self.phantom || (self.unseen && self.blind),
        };
        let answered = if self.phantom { Kind::Answer.numbers(self.number()) } else { numbers };
        let sent = Reset {
            // Both records of a phantom are from the same end.
            flow: if self.phantom { flow } else { self.nat.translate(flow.reversed()) },
            time_ns: milliseconds(sent_at),
            phantom: self.phantom,
            // Those of an answer are always seen.
            numbers: (!self.blind || self.phantom || !matches!(self.kind, Kind::Abort)).then_some(answered),
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
    steps_of(prop::collection::vec(rst(), 0..24))
}

fn steps_of(resets: impl Strategy<Value = Vec<Rst>>) -> impl Strategy<Value = Vec<Step>> {
    let pauses = prop::collection::vec(0i64..9000, 0..12);
    (resets, pauses).prop_map(|(resets, pauses)| {
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
    match reset.numbers {
        Some((seq, Some(ack))) if seq != 0 && !reset.phantom => {
            let mut sent = record(reset, fixture::sent_active());
            (sent.tcp.snd_nxt, sent.tcp.rcv_nxt) = (seq, ack);
            sent
        }
        Some(numbers) => answer(reset, numbers),
        None => {
            let mut sent = record(reset, fixture::sent_active());
            sent.flags &= !flags::TCP;
            sent
        }
    }
}

/// An answer has its numbers from the answered segment.
fn answer(reset: &Reset, (seq, ack): Numbers) -> ResetRecord {
    let mut answer = record(reset, fixture::sent_answer());
    if reset.phantom {
        answer.flags |= flags::PHANTOM;
    }
    match ack {
        Some(ack) if seq == 0 => {
            (answer.segment.flags, answer.segment.payload) = (tcp_flag::SYN, 0);
            // Counts only with ACK.
            (answer.segment.seq, answer.segment.ack) = (ack - 1, 7);
        }
        _ => answer.segment.ack = seq,
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
    match reset.numbers {
        Some((seq, ack)) => {
            (received.segment.seq, received.tcp.rcv_nxt) = (seq, seq);
            received.segment.flags = tcp_flag::RST | if ack.is_some() { tcp_flag::ACK } else { 0 };
            received.segment.ack = ack.unwrap_or(7);
        }
        None => received.segment.present &= !present::SEGMENT,
    }
    received
}

/// A verdict that carries its sender's number.
fn verdict(reset: &Reset) -> SenderVerdict {
    fixture::linger_abort(reset.id.to_string().into())
}

fn released(ready: Ready) -> Released {
    let sender = ready.sender_verdict.map(|saw| saw.because.parse().expect("a number"));
    (ready.record.netns, sender)
}

fn all_due(pairing: &mut Pairing, due: impl Fn(&ResetRecord) -> bool) -> Vec<Released> {
    std::iter::from_fn(|| pairing.release_if(&due).map(released)).collect()
}

fn short(bound: usize) -> Pairing {
    Pairing { held: Recent::new(bound), sent: Recent::new(bound), forgotten_ns: 0 }
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
        Step::Expire(now_ns) => (all_due(pairing, |record| has_expired(record, *now_ns)), model.expired(*now_ns)),
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
        prop_assert_eq!(all_due(&mut pairing, |_| true), model.flush());
    }

    /// Each receive is released once, or dropped by a phantom's record; each sender explains at most one receive.
    #[test]
    fn no_receive_is_lost_or_duplicated(steps in steps(), bound in prop_oneof![1usize..5, Just(64)]) {
        let mut pairing = short(bound);
        let mut model = Model::new(bound);
        let mut out: Vec<Released> = steps.iter().flat_map(|step| both(&mut pairing, &mut model, step).0).collect();
        out.extend(all_due(&mut pairing, |_| true));
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever is lost, repeated or late: as long as connections do not share numbers, a pair that only translation
    /// explains is of one connection, one use of its ports and one direction.
    #[test]
    fn a_translated_pair_is_of_one_connection(steps in steps_of(prop::collection::vec(distinct(), 0..24))) {
        let (mut pairing, mut model) = (short(64), Model::new(64));
        let ends = by_id(&steps);
        for step in &steps {
            for released in both(&mut pairing, &mut model, step).0 {
                if is_translated(&ends, released) {
                    let (receive, sender) = (&ends[&released.0], &ends[&released.1.expect("a pair")]);
                    prop_assert_eq!(receive.numbers, sender.numbers);
                    prop_assert_eq!(receive.sock, sender.sock, "another use of the ports");
                    prop_assert!(matches!(receive.numbers, Some((1.., _) | (0, Some(1..)))), "nothing identifies it");
                }
            }
        }
    }
}

fn distinct() -> impl Strategy<Value = Rst> {
    rst().prop_map(|rst| Rst { collides: false, ..rst })
}

/// The sequences above are useful only if they reach each way in which a receive ends.
#[test]
fn the_sequences_reach_every_rule() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut at_once, mut after_a_wait, mut by_age, mut evicted, mut phantoms) = (0, 0, 0, 0, 0);
    let (mut translated_at_once, mut translated_after_a_wait) = (0, 0);
    for _ in 0..300 {
        let (mut pairing, mut model) = (short(3), Model::new(3));
        let steps = steps().new_tree(&mut runner).expect("steps").current();
        let ends = by_id(&steps);
        for step in &steps {
            let held = pairing.held.len();
            let out = both(&mut pairing, &mut model, step).0;
            let translated = out.first().is_some_and(|released| is_translated(&ends, *released));
            match (step, out.first()) {
                (Step::Received(_), Some((_, Some(_)))) if translated => translated_at_once += 1,
                (Step::Received(_), Some((_, Some(_)))) => at_once += 1,
                (Step::Sent(_), Some((_, Some(_)))) if translated => translated_after_a_wait += 1,
                (Step::Sent(_), Some((_, Some(_)))) => after_a_wait += 1,
                (Step::Expire(_), Some(_)) => by_age += 1,
                (Step::Received(_), Some((_, None))) => evicted += 1,
                (Step::Sent(_), None) if pairing.held.len() < held => phantoms += 1,
                _ => {}
            }
        }
    }
    let reached = [at_once, after_a_wait, translated_at_once, translated_after_a_wait, by_age, evicted, phantoms];
    assert!(reached.iter().all(|count| *count > 50), "{reached:?}");
}

fn by_id(steps: &[Step]) -> BTreeMap<u32, Reset> {
    let of_step = |step: &Step| match step {
        Step::Sent(reset) | Step::Received(reset) => Some((reset.id, *reset)),
        Step::Expire(_) => None,
    };
    steps.iter().filter_map(of_step).collect()
}

/// Whether the flows of a pair are not each other's reverse.
fn is_translated(ends: &BTreeMap<u32, Reset>, (receive, sender): Released) -> bool {
    sender.is_some_and(|sender| !match_ends(&ends[&sender], &ends[&receive]))
}
