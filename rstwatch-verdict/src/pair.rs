//! Pairs the two ends of a reset when both are on this host, and drops phantom receives.
//!
//! A received reset is held for a moment, because its sender's record may follow: an active RST is traced after its
//! transmission, and on loopback it has arrived by then. Of the sent resets only some answers are held ([`answers`]).
//!
//! The ends of one flow find each other by that flow. Where address translation has changed it, they do by the RST's
//! sequence and acknowledgement numbers.

use std::num::NonZeroU32;
use std::time::Duration;

use rstwatch_common::flow::Flow;
use rstwatch_common::record::{ResetRecord, Segment, flags, tcp_flag};

use crate::evidence::{self, Aftermath, SenderVerdict};
use crate::recent::Recent;
use numbers::{Numbers, is_translation};
use silence::{Proof, neither_sent, other_end_lives};

pub mod answers;
pub(crate) mod numbers;
pub mod silence;

/// How long a receive is held for its sender's record, and an answer for the abort that explains it.
pub const HOLD: Duration = Duration::from_millis(50);
/// How long a sender's record is kept for receives: a socket that is locked by its program takes an RST late, from its
/// backlog.
const KEEP_SENT: Duration = Duration::from_secs(2);
/// Capacity of both queues; beyond it the oldest are evicted.
pub(crate) const CAPACITY: usize = 8192;

/// A receive that is released.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The receive.
    pub record: ResetRecord,
    /// The verdict of the sending end, if it was seen.
    pub sender_verdict: Option<SenderVerdict>,
    /// What arrived on the flow during the hold.
    pub aftermath: Aftermath,
    /// The other end is on this host, and did not send the RST if no record was lost ([`silence`]).
    pub other_end_silent: bool,
}

/// A held receive.
#[derive(Clone, Copy)]
struct Held {
    record: ResetRecord,
    aftermath: Aftermath,
    /// It may be a phantom: it is not paired until the hold has expired without the record that would show it.
    suspect: bool,
    /// That the other end did not send it.
    silence: Option<Proof>,
}

impl Held {
    fn new(record: ResetRecord) -> Self {
        let suspect = evidence::is_phantom(&record);
        Self { record, aftermath: Aftermath::default(), suspect, silence: None }
    }

    /// Whether a sender's record may still explain it. Payload of the peer's beyond the RST rules that out.
    fn may_be_explained(&self) -> bool {
        !self.suspect && !self.aftermath.data_beyond
    }
}

struct SentReset {
    time_ns: u64,
    numbers: Option<Numbers>,
    verdict: SenderVerdict,
}

/// What of a received reset is compared with sent ones.
struct Receipt {
    flow: Flow,
    time_ns: u64,
    numbers: Option<Numbers>,
}

impl Receipt {
    fn of(record: &ResetRecord) -> Self {
        Self { flow: record.flow, time_ns: record.time_ns, numbers: Numbers::of_received(record) }
    }

    fn number(&self) -> Option<NonZeroU32> {
        self.numbers.and_then(Numbers::identifying)
    }
}

/// Recent received and sent resets, both by the flow as the receiver sees it, and by the number that identifies the RST.
pub struct Pairing {
    held: Recent<Held>,
    sent: Recent<SentReset>,
    /// The time of the newest sent reset that made room for another; 0: none has.
    forgotten_ns: u64,
}

impl Default for Pairing {
    fn default() -> Self {
        Self { held: Recent::new(CAPACITY), sent: Recent::new(CAPACITY), forgotten_ns: 0 }
    }
}

impl Pairing {
    /// Takes a sent reset with its verdict; returns the held receive that it explains.
    pub fn sent(&mut self, record: &ResetRecord, verdict: SenderVerdict) -> Option<Ready> {
        if record.flags & flags::PHANTOM != 0 {
            // The kernel called tcp_reset() because of data, and answered that data: no RST was received.
            self.held.take(&record.flow, |held| held.record.sock == record.sock);
        }
        let receiver = record.flow.reversed();
        let sent = SentReset { time_ns: record.time_ns, numbers: Numbers::of_sent(record), verdict };
        match self.receiver_of(&receiver, &sent) {
            Some(held) => Some(Ready { sender_verdict: Some(sent.verdict), ..without_sender(&held) }),
            None => {
                let number = sent.numbers.and_then(Numbers::identifying);
                if let Some(evicted) = self.sent.push_numbered(receiver, number, sent) {
                    self.forgotten_ns = self.forgotten_ns.max(evicted.time_ns);
                }
                None
            }
        }
    }

    /// The held receive of a sent reset. The exactly reversed flow comes first.
    fn receiver_of(&mut self, receiver: &Flow, sent: &SentReset) -> Option<Held> {
        let exact = |held: &Held| held.may_be_explained() && matches(sent, &Receipt::of(&held.record));
        if let Some(held) = self.held.take(receiver, exact) {
            return Some(held);
        }
        let translated = |_: &Flow, held: &Held| {
            held.may_be_explained() && matches_translated(receiver, sent, &Receipt::of(&held.record))
        };
        self.held.take_numbered(sent.numbers?.identifying()?, translated)
    }

    /// Takes a received reset; returns it at once if its sender was seen before.
    pub fn received(&mut self, record: ResetRecord) -> Vec<Ready> {
        let limit = nanos(KEEP_SENT);
        while self.sent.pop_front_if(|sent| record.time_ns.saturating_sub(sent.time_ns) >= limit).is_some() {}
        let (mut held, receipt) = (Held::new(record), Receipt::of(&record));
        held.silence = self.compare_ends(&record).max(other_end_lives(&record));
        match if held.suspect { None } else { self.sender_of(&receipt) } {
            Some(saw) => vec![Ready { sender_verdict: Some(saw), ..without_sender(&held) }],
            None => {
                let evicted = self.held.push_numbered(record.flow, receipt.number(), held);
                // Too early to tell that no sender's record follows.
                evicted.map(|held| self.release(Held { silence: None, ..held })).into_iter().collect()
            }
        }
    }

    /// The verdict of a receive's sender. The exactly reversed flow comes first.
    fn sender_of(&mut self, receipt: &Receipt) -> Option<SenderVerdict> {
        if let Some(sent) = self.sent.take(&receipt.flow, |sent| matches(sent, receipt)) {
            return Some(sent.verdict);
        }
        let translated = |flow: &Flow, sent: &SentReset| matches_translated(flow, sent, receipt);
        self.sent.take_numbered(receipt.number()?, translated).map(|sent| sent.verdict)
    }

    /// Ends a hold. A suspect whose hold has expired is genuine; look for its sender.
    fn release(&mut self, held: Held) -> Ready {
        let sender_verdict = if held.suspect { self.sender_of(&Receipt::of(&held.record)) } else { None };
        Ready { sender_verdict, other_end_silent: self.is_silent(&held), ..without_sender(&held) }
    }

    /// Whether the other end did not send the RST, when the hold has expired.
    fn is_silent(&self, held: &Held) -> bool {
        let (flow, receipt) = (&held.record.flow, Receipt::of(&held.record));
        // Perhaps this RST, although the numbers differ: a closed window changes the one that is sent (net/ipv4/tcp_output.c,
        // tcp_acceptable_seq).
        let sent_one = || self.sent.contains(flow, |sent| is_near(sent, &receipt));
        let proven = match held.silence {
            Some(Proof::Socket) => true,
            Some(Proof::NoRecord) => !sent_one(),
            None => false,
        };
        proven && receipt.time_ns.saturating_sub(self.forgotten_ns) >= nanos(KEEP_SENT)
    }

    /// Takes a repeated RST: evidence about the first one, if that is still held.
    ///
    /// An RST with ACK after a bare one is no repetition: the stack has answered segments in flight before the abort's own
    /// RST was sent.
    pub fn repeated(&mut self, record: &ResetRecord) {
        let has_ack = |segment: &Segment| segment.flags & tcp_flag::ACK != 0;
        if let Some(held) = self.held.newest_mut(&record.flow)
            && (has_ack(&held.record.segment) || !has_ack(&record.segment))
        {
            held.aftermath.repeated = true;
        }
    }

    /// Whether a receive of this flow is held.
    pub fn holds(&self, flow: &Flow) -> bool {
        self.held.contains(flow, |_| true)
    }

    /// Takes data from the peer for a connection that an RST had ended. Returns whether it lies beyond that RST, and the
    /// RST's receive is held: the peer did not send the RST, and no sender's record will follow.
    pub fn data_beyond(&mut self, record: &ResetRecord) -> bool {
        let beyond = |held: &Held| {
            evidence::rst_header(&held.record).is_some_and(|rst| evidence::is_beyond(&record.segment, rst))
        };
        let Some(held) = self.held.find_mut(&record.flow, beyond) else { return false };
        held.aftermath.data_beyond = true;
        true
    }

    /// Compares a receive with that of the other end, if that is held. Returns what proves that the other end did not send this
    /// one, and marks the held one likewise. Translation keeps the number that the other end would send next.
    fn compare_ends(&mut self, record: &ResetRecord) -> Option<Proof> {
        let flow = record.flow.reversed();
        let proves = |held: &Held| neither_sent(&held.record, record) != (None, None);
        let other = if self.held.contains(&flow, proves) {
            self.held.find_mut(&flow, proves)
        } else {
            let next = NonZeroU32::new(record.tcp.snd_nxt);
            next.and_then(|number| self.held.find_numbered_mut(number, |_, held| proves(held)))
        };
        let other = other?;
        let (of_other, of_this) = neither_sent(&other.record, record);
        other.silence = other.silence.max(of_other);
        of_this
    }

    /// Releases the oldest receive, if it is due.
    pub fn release_if(&mut self, due: impl Fn(&ResetRecord) -> bool) -> Option<Ready> {
        self.held.pop_front_if(|held| due(&held.record)).map(|held| self.release(held))
    }

    /// Whether a receive is held.
    pub fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }
}

fn without_sender(held: &Held) -> Ready {
    let Held { record, aftermath, .. } = *held;
    Ready { record, sender_verdict: None, aftermath, other_end_silent: false }
}

/// Whether the hold of a record has expired at this monotonic time.
pub fn has_expired(record: &ResetRecord, now_ns: u64) -> bool {
    now_ns.saturating_sub(record.time_ns) >= nanos(HOLD)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether two records of the same flow describe one RST: at about the same time, and if both know its numbers, with the
/// same sequence number and either both or neither with an acknowledgement number.
fn matches(sent: &SentReset, received: &Receipt) -> bool {
    let same = match (sent.numbers, received.numbers) {
        (Some(sent), Some(received)) => sent.seq == received.seq && sent.ack.is_some() == received.ack.is_some(),
        _ => true,
    };
    is_near(sent, received) && same
}

/// Whether two records describe one RST that was translated on its way: at about the same time, and with the same
/// numbers, which both must know. `flow` is the sent reset's, as its receiver would see it without translation.
fn matches_translated(flow: &Flow, sent: &SentReset, received: &Receipt) -> bool {
    let Some(numbers) = sent.numbers else { return false };
    is_near(sent, received) && received.numbers == Some(numbers) && is_translation(flow, &received.flow, numbers)
}

fn is_near(sent: &SentReset, received: &Receipt) -> bool {
    sent.time_ns.abs_diff(received.time_ns) < nanos(KEEP_SENT)
}

/// The sequence number of a sent RST, if known.
pub fn seq_of_sent(record: &ResetRecord) -> Option<u32> {
    Numbers::of_sent(record).map(|numbers| numbers.seq)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod silence_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fixture;

    fn verdict() -> SenderVerdict {
        fixture::linger_abort("linger".into())
    }

    fn sent() -> ResetRecord {
        let received = fixture::received();
        let mut sent = fixture::sent_active();
        sent.flow = received.flow.reversed();
        sent.time_ns = received.time_ns;
        sent.tcp.snd_nxt = received.segment.seq;
        sent
    }

    #[test]
    fn pairs_in_either_order() {
        let mut pairing = Pairing::default();
        assert!(pairing.received(fixture::received()).is_empty());
        let ready = pairing.sent(&sent(), verdict()).expect("explained");
        assert_eq!(ready.sender_verdict, Some(verdict()));

        assert!(pairing.sent(&sent(), verdict()).is_none());
        let ready = pairing.received(fixture::received());
        assert_eq!(ready[0].sender_verdict, Some(verdict()));
        assert!(!pairing.is_waiting());
    }

    #[test]
    fn another_sequence_number_is_another_reset() {
        let mut pairing = Pairing::default();
        let mut other = sent();
        other.tcp.snd_nxt += 1;
        assert!(pairing.sent(&other, verdict()).is_none());
        assert!(pairing.received(fixture::received()).is_empty());
    }

    /// A device's RST with the peer's numbers, and the answer of the peer's stack to a segment that was under way.
    #[test]
    fn another_shape_is_another_reset() {
        let mut pairing = Pairing::default();
        let received = fixture::received();
        let mut answer = fixture::sent_answer();
        (answer.flow, answer.segment.ack) = (received.flow.reversed(), received.segment.seq);
        assert!(pairing.sent(&answer, verdict()).is_none());
        assert!(pairing.received(received).is_empty());
    }

    #[test]
    fn one_sender_explains_one_receive() {
        let mut pairing = Pairing::default();
        pairing.sent(&sent(), verdict());
        assert_eq!(pairing.received(fixture::received()).len(), 1);
        assert!(pairing.received(fixture::received()).is_empty());
    }

    /// The sender behind a virtual address.
    fn translated() -> ResetRecord {
        let mut sent = sent();
        (sent.flow.local[0], sent.flow.local_port) = (172, 8080);
        sent.tcp.rcv_nxt = fixture::received().segment.ack;
        sent
    }

    #[test]
    fn pairs_through_translation_in_either_order() {
        let mut pairing = Pairing::default();
        pairing.received(fixture::received());
        let ready = pairing.sent(&translated(), verdict()).expect("explained");
        assert_eq!(ready.sender_verdict, Some(verdict()));

        assert!(pairing.sent(&translated(), verdict()).is_none());
        assert_eq!(pairing.received(fixture::received())[0].sender_verdict, Some(verdict()));
        assert!(pairing.received(fixture::received()).is_empty(), "one sender explains one receive");
    }

    #[test]
    fn the_reversed_flow_comes_before_a_translated_one() {
        let mut pairing = Pairing::default();
        pairing.sent(&translated(), verdict());
        let direct = SenderVerdict { because: "direct".into(), ..verdict() };
        pairing.sent(&sent(), direct.clone());
        assert_eq!(pairing.received(fixture::received())[0].sender_verdict, Some(direct));

        let mut behind = fixture::received();
        behind.flow.remote[0] = 172;
        let mut pairing = Pairing::default();
        pairing.received(behind);
        pairing.received(fixture::received());
        let mut abort = sent();
        abort.tcp.rcv_nxt = fixture::received().segment.ack;
        assert_eq!(pairing.sent(&abort, verdict()).expect("explained").record.flow, fixture::received().flow);
    }

    /// The server's abort was lost on its way, and so was the record of its stack's answer, which the client received.
    #[test]
    fn an_abort_is_not_the_answer_with_its_number() {
        let mut pairing = Pairing::default();
        pairing.sent(&translated(), verdict());
        let mut bare = fixture::received();
        bare.segment.flags = tcp_flag::RST;
        assert!(pairing.received(bare).is_empty());
    }

    #[test]
    fn phantoms_are_dropped() {
        let mut pairing = Pairing::default();
        let phantom = fixture::received();
        pairing.received(phantom);
        let mut answer = fixture::sent_answer();
        answer.sock = phantom.sock;
        answer.flow = phantom.flow;
        answer.flags |= flags::PHANTOM;
        assert!(pairing.sent(&answer, verdict()).is_none());
        assert!(pairing.release_if(|_| true).is_none());
    }

    /// Answers to segments in flight may arrive before the abort's own RST.
    #[test]
    fn an_abort_after_an_answer_is_no_repetition() {
        let bare = ResetRecord {
            segment: Segment { flags: tcp_flag::RST, ..fixture::received().segment },
            ..fixture::received()
        };
        let repeated = |first: ResetRecord, second: &ResetRecord| {
            let mut pairing = Pairing::default();
            pairing.received(first);
            pairing.repeated(second);
            pairing.release_if(|_| true).expect("held").aftermath.repeated
        };
        assert!(!repeated(bare, &fixture::received()));
        assert!(repeated(bare, &bare));
        assert!(repeated(fixture::received(), &fixture::received()));
    }

    #[test]
    fn an_unpaired_receive_is_released_after_the_hold() {
        let mut pairing = Pairing::default();
        let record = fixture::received();
        pairing.received(record);
        let at = |now_ns| move |record: &ResetRecord| has_expired(record, now_ns);
        assert!(pairing.release_if(at(record.time_ns + nanos(HOLD) - 1)).is_none());
        let ready = pairing.release_if(at(record.time_ns + nanos(HOLD))).expect("released");
        assert_eq!(ready.sender_verdict, None);
        assert!(!pairing.is_waiting());
    }

    #[test]
    fn what_a_full_queue_evicts_proves_no_silence() {
        let mut alive = fixture::received();
        alive.flags |= flags::OTHER_END_ALIVE;
        let silent = |mut pairing: Pairing| {
            pairing.received(alive);
            pairing.release_if(|_| true).expect("held").other_end_silent
        };
        assert!(silent(Pairing::default()));
        let mut forgets = Pairing { sent: Recent::new(1), ..Pairing::default() };
        for port in [1, 2] {
            let mut unrelated = sent();
            unrelated.flow.local_port = port;
            unrelated.tcp.snd_nxt += 1;
            assert!(forgets.sent(&unrelated, verdict()).is_none());
        }
        assert!(!silent(forgets), "the sender's record may have been the one that was evicted");
        let mut short = Pairing { held: Recent::new(1), ..Pairing::default() };
        short.received(alive);
        assert!(!short.received(fixture::received())[0].other_end_silent, "its sender's record may still come");
    }

    #[test]
    fn both_queues_are_bounded() {
        let mut pairing = Pairing::default();
        let mut released = 0;
        for index in 0..2 * CAPACITY {
            let mut record = fixture::received();
            record.segment.seq = u32::try_from(index).expect("small");
            released += pairing.received(record).len();
            let mut unrelated = sent();
            unrelated.flow.local_port += 1;
            pairing.sent(&unrelated, verdict());
        }
        assert_eq!((pairing.held.len(), pairing.sent.len(), released), (CAPACITY, CAPACITY, CAPACITY));
    }
}
