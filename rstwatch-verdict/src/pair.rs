//! Pairs the two ends of a reset when both are on this host, and drops phantom receives.
//!
//! A received reset is held for a moment, because its sender's record may follow: an active RST is traced after its
//! transmission, and on loopback it has arrived by then. Of the sent resets only some answers are held ([`answers`]).

use std::time::Duration;

use rstwatch_common::record::{ResetRecord, flags, kind, tcp_flag};

use crate::evidence::{self, Aftermath, SenderVerdict};
use crate::recent::Recent;

pub mod answers;

/// How long a receive is held for its sender's record, and an answer for the abort that explains it.
pub const HOLD: Duration = Duration::from_millis(50);
/// How long a sender's record is kept for receives: a socket that is locked by its program takes an RST late, from its
/// backlog.
const KEEP_SENT: Duration = Duration::from_secs(2);
/// Capacity of both queues; beyond it the oldest are evicted.
const CAPACITY: usize = 8192;

/// A receive that is released.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The receive.
    pub record: ResetRecord,
    /// The verdict of the sending end, if it was seen.
    pub sender_verdict: Option<SenderVerdict>,
    /// What arrived on the flow during the hold.
    pub aftermath: Aftermath,
}

/// A held receive.
#[derive(Clone, Copy)]
struct Held {
    record: ResetRecord,
    aftermath: Aftermath,
    /// It may be a phantom: it is not paired until the hold has expired without the record that would show it.
    suspect: bool,
}

impl Held {
    fn new(record: ResetRecord) -> Self {
        Self { record, aftermath: Aftermath::default(), suspect: evidence::is_phantom(&record) }
    }
}

struct SentReset {
    time_ns: u64,
    seq: Option<u32>,
    verdict: SenderVerdict,
}

/// Recent received and sent resets, both by the flow as the receiver sees it.
pub struct Pairing {
    held: Recent<Held>,
    sent: Recent<SentReset>,
}

impl Default for Pairing {
    fn default() -> Self {
        Self { held: Recent::new(CAPACITY), sent: Recent::new(CAPACITY) }
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
        let sent = SentReset { time_ns: record.time_ns, seq: seq_of_sent(record), verdict };
        match self.held.take(&receiver, |held| !held.suspect && matches(&sent, &held.record)) {
            Some(held) => Some(Ready { sender_verdict: Some(sent.verdict), ..without_sender(&held) }),
            None => {
                self.sent.push(receiver, sent);
                None
            }
        }
    }

    /// Takes a received reset; returns it at once if its sender was seen before.
    pub fn received(&mut self, record: ResetRecord) -> Vec<Ready> {
        let limit = nanos(KEEP_SENT);
        while self.sent.pop_front_if(|sent| record.time_ns.saturating_sub(sent.time_ns) >= limit).is_some() {}
        let held = Held::new(record);
        match if held.suspect { None } else { self.sender_of(&record) } {
            Some(saw) => vec![Ready { sender_verdict: Some(saw), ..without_sender(&held) }],
            None => {
                let evicted = self.held.push(record.flow, held);
                evicted.map(|held| self.release(held)).into_iter().collect()
            }
        }
    }

    fn sender_of(&mut self, record: &ResetRecord) -> Option<SenderVerdict> {
        self.sent.take(&record.flow, |sent| matches(sent, record)).map(|sent| sent.verdict)
    }

    /// Ends a hold. A suspect whose hold has expired is genuine; look for its sender.
    fn release(&mut self, held: Held) -> Ready {
        let sender_verdict = if held.suspect { self.sender_of(&held.record) } else { None };
        Ready { sender_verdict, ..without_sender(&held) }
    }

    /// Takes a repeated RST: evidence about the first one, if that is still held.
    pub fn repeated(&mut self, record: &ResetRecord) {
        if let Some(held) = self.held.newest_mut(&record.flow) {
            held.aftermath.repeated = true;
        }
    }

    /// Takes data from the peer for a connection that an RST had ended. If it lies beyond that RST, the peer did not
    /// send the RST and no sender's record will follow, so the receive is released.
    pub fn data_beyond(&mut self, record: &ResetRecord) -> Option<Ready> {
        let beyond = |held: &Held| {
            evidence::rst_header(&held.record).is_some_and(|rst| evidence::is_beyond(&record.segment, rst))
        };
        let mut held = self.held.take(&record.flow, beyond)?;
        held.aftermath.data_beyond = true;
        Some(without_sender(&held))
    }

    /// Releases the receives whose hold has expired.
    pub fn expired(&mut self, now_ns: u64) -> Vec<Ready> {
        let limit = nanos(HOLD);
        let due = |held: &Held| now_ns.saturating_sub(held.record.time_ns) >= limit;
        std::iter::from_fn(|| self.held.pop_front_if(due).map(|held| self.release(held))).collect()
    }

    /// Releases all receives.
    pub fn flush(&mut self) -> Vec<Ready> {
        std::iter::from_fn(|| self.held.pop_front_if(|_| true).map(|held| self.release(held))).collect()
    }

    /// Whether a receive is held.
    pub fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }
}

fn without_sender(held: &Held) -> Ready {
    Ready { record: held.record, sender_verdict: None, aftermath: held.aftermath }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether two records of the same flow describe one RST: at about the same time, and with the same sequence number if
/// both know it.
fn matches(sent: &SentReset, received: &ResetRecord) -> bool {
    let near = sent.time_ns.abs_diff(received.time_ns) < nanos(KEEP_SENT);
    let same_seq = match (sent.seq, evidence::rst_header(received)) {
        (Some(seq), Some(rst)) => seq == rst.seq,
        _ => true,
    };
    near && same_seq
}

/// The sequence number of a sent RST: in an answer, the acknowledgement number of the answered segment; in an active
/// reset, snd_nxt.
pub fn seq_of_sent(record: &ResetRecord) -> Option<u32> {
    let answered = &record.segment;
    match (record.kind, record.flags & flags::SKB != 0) {
        (_, true) if answered.flags & tcp_flag::ACK != 0 => Some(answered.ack),
        (_, true) => Some(0),
        (kind::SENT, false) if record.flags & flags::TCP != 0 => Some(record.tcp.snd_nxt),
        _ => None,
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod model_tests;

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

    #[test]
    fn one_sender_explains_one_receive() {
        let mut pairing = Pairing::default();
        pairing.sent(&sent(), verdict());
        assert_eq!(pairing.received(fixture::received()).len(), 1);
        assert!(pairing.received(fixture::received()).is_empty());
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
        assert!(pairing.flush().is_empty());
    }

    #[test]
    fn an_unpaired_receive_is_released_after_the_hold() {
        let mut pairing = Pairing::default();
        let record = fixture::received();
        pairing.received(record);
        assert!(pairing.expired(record.time_ns + nanos(HOLD) - 1).is_empty());
        let ready = pairing.expired(record.time_ns + nanos(HOLD));
        assert_eq!(ready.len(), 1);
        assert_eq!(ready[0].sender_verdict, None);
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
