//! The flow table: brings the two ends of a reset together when both are on this host, and drops phantom receives.
//!
//! A received reset waits a moment, because its sender's record may come after it (an active RST is traced after it was
//! transmitted, and on loopback it has arrived by then). Sent resets never wait.

use std::time::Duration;

use rstwatch_common::record::{ResetRecord, flags, kind, tcp_flag};

use crate::evidence::{self, Aftermath, SenderVerdict};
use crate::recent::Recent;

/// How long a receive waits for its sender.
pub const HOLD: Duration = Duration::from_millis(50);
/// How long a sender's record waits for receives: a socket that its program holds takes an RST late, from its backlog.
const KEEP_SENT: Duration = Duration::from_secs(2);
/// Bounds of both queues; beyond them the oldest go first.
const CAPACITY: usize = 8192;

/// A receive that waits, or that is done waiting.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The receive.
    pub record: ResetRecord,
    /// The verdict of the sending end, if it was seen.
    pub sender_verdict: Option<SenderVerdict>,
    /// What the flow brought while the receive waited.
    pub aftermath: Aftermath,
}

/// A receive that waits.
#[derive(Clone, Copy)]
struct Held {
    record: ResetRecord,
    aftermath: Aftermath,
    /// It may be a phantom: until it has waited in vain for the record that would say so, it is nobody's.
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

/// Received and sent resets of the last moments, both under the flow as the receiver sees it.
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
    /// A sent reset with its verdict; answers the receive that it explains, if that waits.
    pub fn sent(&mut self, record: &ResetRecord, verdict: SenderVerdict) -> Option<Ready> {
        if record.flags & flags::PHANTOM != 0 {
            // The kernel called tcp_reset() for data, and answered that data: no RST was received.
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

    /// A received reset: ready at once where its sender was seen before it.
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

    /// Done waiting. One that was suspected of being a phantom is none, and may have a sender.
    fn release(&mut self, held: Held) -> Ready {
        let sender_verdict = if held.suspect { self.sender_of(&held.record) } else { None };
        Ready { sender_verdict, ..without_sender(&held) }
    }

    /// Another RST came for a connection that one had ended: evidence about the first, if it still waits.
    pub fn repeated(&mut self, record: &ResetRecord) {
        if let Some(held) = self.held.newest_mut(&record.flow) {
            held.aftermath.repeated = true;
        }
    }

    /// Data of the peer's met a connection that an RST had ended, and lies beyond it: whoever made the RST, its record will
    /// not come, so the receive need not wait for it.
    pub fn data_beyond(&mut self, record: &ResetRecord) -> Option<Ready> {
        let beyond = |held: &Held| {
            evidence::rst_header(&held.record).is_some_and(|rst| evidence::is_beyond(&record.segment, rst))
        };
        let mut held = self.held.take(&record.flow, beyond)?;
        held.aftermath.data_beyond = true;
        Some(without_sender(&held))
    }

    /// Receives that have waited long enough.
    pub fn expired(&mut self, now_ns: u64) -> Vec<Ready> {
        let limit = nanos(HOLD);
        let due = |held: &Held| now_ns.saturating_sub(held.record.time_ns) >= limit;
        std::iter::from_fn(|| self.held.pop_front_if(due).map(|held| self.release(held))).collect()
    }

    /// Everything that still waits.
    pub fn flush(&mut self) -> Vec<Ready> {
        std::iter::from_fn(|| self.held.pop_front_if(|_| true).map(|held| self.release(held))).collect()
    }

    /// Whether anything waits.
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

/// Whether the one, of the same flow, is the other's RST: at about the time, with the sequence number where both know it.
fn matches(sent: &SentReset, received: &ResetRecord) -> bool {
    let near = sent.time_ns.abs_diff(received.time_ns) < nanos(KEEP_SENT);
    let same_seq = match (sent.seq, evidence::rst_header(received)) {
        (Some(seq), Some(rst)) => seq == rst.seq,
        _ => true,
    };
    near && same_seq
}

/// The sequence number of a sent RST: of an answer, the acknowledgement of what it answers; of an active one, snd_nxt.
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
    use crate::cause::{Cause, Confidence, Sender};
    use crate::testing::fixture;

    fn verdict() -> SenderVerdict {
        SenderVerdict {
            cause: Cause::LingerAbort,
            sender: Sender::LocalApp,
            confidence: Confidence::Certain,
            because: "linger".into(),
        }
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
    fn phantoms_vanish() {
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
    fn a_lonely_receive_waits_and_leaves() {
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
        let mut left = 0;
        for index in 0..2 * CAPACITY {
            let mut record = fixture::received();
            record.segment.seq = u32::try_from(index).expect("small");
            left += pairing.received(record).len();
            let mut unrelated = sent();
            unrelated.flow.local_port += 1;
            pairing.sent(&unrelated, verdict());
        }
        assert_eq!((pairing.held.len(), pairing.sent.len(), left), (CAPACITY, CAPACITY, CAPACITY));
    }
}
