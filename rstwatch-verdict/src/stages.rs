//! The stages after decoding, in a row and without I/O: evidence → pair → classify → event.

use std::collections::VecDeque;

use rstwatch_common::record::{ResetRecord, flags, kind};

use crate::assemble;
use crate::cause::{Cause, Sender};
use crate::classify::classify;
use crate::correlate::Correlator;
use crate::evidence::{self, Context, EndedBecause, EndedBy, Evidence};
use crate::judged::Judged;
use crate::pair::answers::{Answers, may_precede_abort};
use crate::pair::silence::{LossWatch, ReadLosses};
use crate::pair::{CAPACITY, Pairing, Ready, has_expired};
use crate::recent::Recent;

/// Maximum connections whose ending RST is kept; the oldest are evicted.
const MAX_ENDED: usize = 4096;

/// Reads the kernel's count of phantom receives; called only where it matters.
pub type Phantoms<'a> = &'a dyn Fn() -> u64;

/// What is kept of an RST that ended a connection.
#[derive(Clone)]
struct Ended {
    netns: u32,
    by: EndedBy,
    because: EndedBecause,
}

/// Takes records, hands out judged events.
pub struct Stages {
    context: Context,
    pairing: Pairing,
    answers: Answers,
    /// Answers to data beyond an RST of which the receive is held: they are judged after it, because it is their cause.
    resumed: Recent<ResetRecord>,
    losses: LossWatch,
    correlator: Correlator,
    /// The origin of RSTs that ended connections, in case the peer still sends.
    ended_by: Recent<Ended>,
    /// Boxed, because an event passes through many hands.
    ready: VecDeque<Box<Judged>>,
    /// Phantom receives dropped so far.
    phantoms: u64,
}

impl Stages {
    /// Without any record yet.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            pairing: Pairing::default(),
            answers: Answers::default(),
            resumed: Recent::new(CAPACITY),
            losses: LossWatch::default(),
            correlator: Correlator::default(),
            ended_by: Recent::new(MAX_ENDED),
            ready: VecDeque::new(),
            phantoms: 0,
        }
    }

    /// With a reader of the losses, without which nothing is concluded from a missing record.
    #[must_use]
    pub fn with_losses(self, read: ReadLosses) -> Self {
        Self { losses: LossWatch::new(read), ..self }
    }

    /// Updates the wall-clock offset, after clocks drifted or were set.
    pub fn set_wall_offset(&mut self, offset_ns: i128) {
        self.context.wall_offset_ns = offset_ns;
    }

    /// The next event that is ready.
    pub fn pop(&mut self) -> Option<Box<Judged>> {
        self.ready.pop_front()
    }

    /// Whether an event is ready.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether a record is held for another one that may explain it.
    pub fn is_waiting(&self) -> bool {
        self.pairing.is_waiting() || self.answers.is_waiting() || !self.resumed.is_empty()
    }

    /// Takes one record.
    pub fn record(&mut self, record: &ResetRecord, phantoms: Phantoms<'_>) {
        match record.kind {
            kind::RECEIVED => {
                for ready in self.pairing.received(*record) {
                    self.received(ready, phantoms);
                }
            }
            kind::REPEATED_RST => self.pairing.repeated(record),
            _ => self.sent(record, phantoms),
        }
    }

    /// A reset that the stack or the firewall sent.
    fn sent(&mut self, record: &ResetRecord, phantoms: Phantoms<'_>) {
        if self.pairing.data_beyond(record) && record.flags & flags::PHANTOM == 0 {
            if let Some(evicted) = self.resumed.push(record.flow, *record) {
                self.released_answer(&evicted, phantoms);
            }
            return;
        }
        let evidence = evidence::of_record(record, &self.context);
        // Its cause is that of the RST whose receive is held.
        if evidence.ended_by_rst() && self.pairing.holds(&record.flow) {
            if let Some(evicted) = self.resumed.push(record.flow, *record) {
                self.released_answer(&evicted, phantoms);
            }
            return;
        }
        if may_precede_abort(&evidence) {
            if let Some(explained) = self.answers.explained_before(record) {
                self.released_answer(&explained, phantoms);
                return;
            }
            if let Some(evicted) = self.answers.hold(*record) {
                self.released_answer(&evicted, phantoms);
            }
            return;
        }
        self.judge_sent(record, evidence, phantoms);
        for answer in self.answers.explained_by(record) {
            self.released_answer(&answer, phantoms);
        }
    }

    fn released_answer(&mut self, record: &ResetRecord, phantoms: Phantoms<'_>) {
        self.judge_sent(record, evidence::of_record(record, &self.context), phantoms);
    }

    fn judge_sent(&mut self, record: &ResetRecord, mut evidence: Evidence, phantoms: Phantoms<'_>) {
        if let Evidence::Sent(sent) = &mut evidence {
            let ended = self.ended_by.newest_mut(&record.flow).filter(|ended| ended.netns == record.netns).cloned();
            (sent.ended_by, sent.ended_because) = ended.map(|ended| (ended.by, ended.because)).unzip();
        }
        let verdict = classify(&evidence);
        let seen = verdict.to_receiver(&evidence);
        self.ready.push_back(Box::new(assemble::judged(record, &evidence, verdict, &self.context)));
        if record.flags & flags::PHANTOM != 0 {
            self.phantoms += 1;
        }
        if let Some(explained) = self.pairing.sent(record, seen) {
            self.received(explained, phantoms);
        }
    }

    /// Releases the records whose hold has expired at this monotonic time. Answers come first: a receive may be waiting
    /// for one.
    pub fn expire(&mut self, now_ns: u64, phantoms: Phantoms<'_>) {
        for answer in self.answers.expired(now_ns) {
            self.released_answer(&answer, phantoms);
        }
        self.release(|record| has_expired(record, now_ns), phantoms);
    }

    /// Releases receives and resumed answers that are due, in order of time: an answer is judged after the receive of the
    /// RST that it lies beyond, and before the receive that it explains.
    fn release(&mut self, due: impl Fn(&ResetRecord) -> bool, phantoms: Phantoms<'_>) {
        loop {
            let answer_ns = self.resumed.oldest().map_or(u64::MAX, |answer| answer.time_ns);
            if let Some(ready) = self.pairing.release_if(|record| due(record) && record.time_ns <= answer_ns) {
                self.received(ready, phantoms);
            } else if let Some(answer) = self.resumed.pop_front_if(&due) {
                self.released_answer(&answer, phantoms);
            } else {
                return;
            }
        }
    }

    /// Releases all records, at the end.
    pub fn flush(&mut self, phantoms: Phantoms<'_>) {
        // Records that would have followed within a hold are missing.
        self.losses = LossWatch::default();
        for answer in self.answers.flush() {
            self.released_answer(&answer, phantoms);
        }
        self.release(|_| true, phantoms);
    }

    fn received(&mut self, ready: Ready, phantoms: Phantoms<'_>) {
        if ready.sender_verdict.is_none() && self.is_lost_phantom(&ready.record, phantoms) {
            return;
        }
        let silent = self.silent(&ready);
        let mut evidence = evidence::of_record(&ready.record, &self.context);
        if let Evidence::Received(received) = &mut evidence {
            received.sender_verdict = ready.sender_verdict;
            received.forgery.add_aftermath(ready.aftermath);
            received.other_end_silent = silent;
            received.correlation = self.correlator.observe(&ready.record);
        }
        let verdict = classify(&evidence);
        if let Evidence::Received(received) = &evidence {
            let rejected = verdict.candidates.first() == Some(&Cause::FirewallReject);
            let ended_by = match (rejected, verdict.sender, received.gap.is_idle()) {
                (true, Sender::LocalFirewall, _) => EndedBy::LocalFirewall,
                (true, ..) => EndedBy::AnotherFirewall,
                (false, _, true) => EndedBy::Idle,
                (false, _, false) => EndedBy::Busy,
            };
            let because = EndedBecause {
                sender: verdict.sender,
                cause: verdict.cause,
                candidates: verdict.candidates,
                confidence: verdict.confidence,
            };
            self.ended_by.push(ready.record.flow, Ended { netns: ready.record.netns, by: ended_by, because });
        }
        self.ready.push_back(Box::new(assemble::judged(&ready.record, &evidence, verdict, &self.context)));
    }

    /// Whether the other end is on this host and did not send the RST, and no record was lost that could say who did.
    fn silent(&mut self, ready: &Ready) -> bool {
        ready.other_end_silent && ready.sender_verdict.is_none() && self.losses.nothing_lost_since(&ready.record)
    }

    /// Whether a receive without RST header is a phantom whose sent record was lost: the kernel has counted more
    /// phantoms than records showed.
    fn is_lost_phantom(&mut self, record: &ResetRecord, phantoms: Phantoms<'_>) -> bool {
        let lost = evidence::is_phantom(record) && phantoms() > self.phantoms;
        if lost {
            self.phantoms += 1;
        }
        lost
    }
}

#[cfg(test)]
mod vantage_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Follows;
    use crate::pair::silence::Losses;
    use crate::testing::fixture::{self, NOW_NS};
    use crate::text::Sentence;
    use rstwatch_common::record::{state, tcp_flag};

    fn phantom() -> ResetRecord {
        let mut record = fixture::received();
        record.state = state::FIN_WAIT2;
        record.tcp.shutdown = 3;
        record.segment.present = 0;
        record
    }

    /// Answered on another CPU before the abort was traced.
    #[test]
    fn an_answer_before_the_abort_gets_its_cause() {
        let mut abort = fixture::sent_active();
        abort.time_ns += 30_000;
        abort.state = state::CLOSE;
        abort.conn.reset_state = state::CLOSE;
        abort.conn.reset.reason = fixture::reason("TCP_ABORT_ON_CLOSE");
        abort.reason = abort.conn.reset.reason;
        let mut stages = Stages::new(fixture::context());
        stages.record(&fixture::sent_answer(), &|| 0);
        assert!(stages.is_waiting() && !stages.is_ready());
        stages.record(&abort, &|| 0);
        let causes: Vec<_> = std::iter::from_fn(|| stages.pop()).map(|judged| judged.event.cause).collect();
        assert_eq!(causes, [Cause::UnreadData, Cause::UnreadData]);
        assert!(!stages.is_waiting());
    }

    /// It read the tombstone while another CPU wrote it: the mark was there, the reason was not.
    #[test]
    fn an_answer_with_half_a_tombstone_gets_the_aborts_cause() {
        let mut abort = fixture::sent_active();
        abort.state = state::CLOSE;
        abort.conn.reset_state = state::CLOSE;
        abort.conn.reset.reason = fixture::reason("TCP_ABORT_ON_CLOSE");
        abort.reason = abort.conn.reset.reason;
        let mut answer = fixture::sent_answer();
        answer.time_ns += 30_000;
        answer.flags |= flags::TOMBSTONE;
        answer.conn = abort.conn;
        answer.conn.reset.reason = 0;
        for records in [[answer, abort], [abort, answer]] {
            let mut stages = Stages::new(fixture::context());
            records.iter().for_each(|record| stages.record(record, &|| 0));
            let causes: Vec<_> = std::iter::from_fn(|| stages.pop()).map(|judged| judged.event.cause).collect();
            assert_eq!(causes, [Cause::UnreadData, Cause::UnreadData]);
        }
    }

    /// A forged RST during a download: the server sends on, this host's stack answers, and the server receives the answer.
    fn forged_download() -> [ResetRecord; 3] {
        let client = fixture::received();
        let mut answer = fixture::sent_answer();
        answer.time_ns += 10_000;
        answer.flags |= flags::TOMBSTONE;
        answer.conn = client.conn;
        (answer.conn.closed.time_ns, answer.conn.reset.time_ns) = (client.time_ns, client.time_ns);
        answer.conn.rst.segment = client.segment;
        (answer.segment.seq, answer.segment.ack, answer.segment.payload) = (client.segment.seq, 900, 100);
        let mut server = fixture::received();
        server.time_ns += 20_000;
        server.flow = client.flow.reversed();
        server.segment.flags = tcp_flag::RST;
        (server.segment.seq, server.tcp.rcv_nxt) = (900, 900);
        (server.tcp.snd_una, server.tcp.snd_nxt) = (5000, 5100);
        [client, answer, server]
    }

    fn judged_in_order(stages: &mut Stages, records: &[ResetRecord]) -> Vec<(u64, Vec<Sentence>)> {
        records.iter().for_each(|record| stages.record(record, &|| 0));
        stages.expire(NOW_NS + 1_000_000_000, &|| 0);
        assert!(!stages.is_waiting());
        std::iter::from_fn(|| stages.pop())
            .map(|judged| (judged.event.local.port().into(), judged.event.because))
            .collect()
    }

    #[test]
    fn an_answer_to_data_beyond_an_rst_waits_for_the_rst_and_explains_the_next() {
        let events = judged_in_order(&mut Stages::new(fixture::context()), &forged_download());
        let ports: Vec<_> = events.iter().map(|(port, _)| *port).collect();
        let (client, server) = (48_732, 5432);
        assert_eq!(ports, [client, client, server]);
        assert!(events[2].1[0].contains("the sending end is on this host"), "{events:?}");
    }

    /// For the advice: the answer comes from here, but what ended the connection came before.
    #[test]
    fn an_event_says_what_it_follows() {
        let follows = |records: &[ResetRecord]| {
            let mut stages = Stages::new(fixture::context());
            records.iter().for_each(|record| stages.record(record, &|| 0));
            stages.flush(&|| 0);
            let events = std::iter::from_fn(|| stages.pop()).map(|judged| judged.event);
            events.map(|event| event.follows).collect::<Vec<_>>()
        };
        let by_device = Some(Follows::Rst { sender: Sender::Middlebox });
        assert_eq!(follows(&forged_download()), [None, by_device, None]);
        let mut given_up = fixture::sent_answer();
        given_up.flags |= flags::TOMBSTONE;
        given_up.segment.flags = tcp_flag::SYN | tcp_flag::ACK;
        given_up.conn.old_state = state::SYN_SENT;
        given_up.conn.closed.time_ns = NOW_NS - 250_000_000;
        assert_eq!(follows(&[given_up]), [Some(Follows::GivingUp { ago_ms: 250 })]);
    }

    /// What the rules get to know of a receive.
    fn is_silent(losses: Option<ReadLosses>) -> bool {
        let mut stages = Stages::new(fixture::context());
        if let Some(read) = losses {
            stages = stages.with_losses(read);
        }
        let [client, _, server] = forged_download();
        let held = stages.pairing.received(client);
        assert!(held.is_empty());
        stages.pairing.received(server);
        let ready = stages.pairing.release_if(|_| true).expect("the client's");
        assert!(ready.other_end_silent);
        stages.silent(&ready)
    }

    #[test]
    fn silence_is_evidence_only_if_nothing_was_lost() {
        let losses = |count| Some(Box::new(move || Some(Losses { count, time_ns: NOW_NS })) as ReadLosses);
        assert!(is_silent(losses(0)));
        assert!(!is_silent(losses(1)));
        assert!(!is_silent(None));
    }

    fn events_after(record: &ResetRecord, counted: u64) -> usize {
        let mut stages = Stages::new(fixture::context());
        stages.record(record, &|| counted);
        stages.flush(&|| counted);
        std::iter::from_fn(|| stages.pop()).count()
    }

    #[test]
    fn a_phantom_without_its_sent_record_is_dropped() {
        assert_eq!(events_after(&phantom(), 1), 0);
    }

    /// The header may not have been seen: if the kernel counted no phantom it stays a reset, so that no count is lost.
    #[test]
    fn without_a_counted_phantom_the_reset_stays() {
        assert_eq!(events_after(&phantom(), 0), 1);
        assert_eq!(events_after(&fixture::received(), 1), 1);
    }
}
