//! Golden cases: for each rule, records that it decides. Evidence and table are tested together.

mod after_close;
mod context;
mod necessity;
mod received;
mod received_after_fin;
mod sampled;
mod seeds;
mod sent;
mod unseen;

use rstwatch_common::record::{ResetRecord, mark, role, state};

use super::{RULES, classify};
use crate::cause::{Candidates, Cause, Confidence, Sender};
use crate::evidence::{self, EndedBecause, Ending, Evidence, SenderVerdict, Shape};
use crate::testing::fixture;
use received::bare;
use received_after_fin::after_fin;
use sent::{abandoned_connect, active, own_abort};

/// A rule, and a record that it decides.
pub(crate) type Case = (&'static str, fn() -> ResetRecord);

const SECOND: u64 = 1_000_000_000;

fn cases() -> impl Iterator<Item = &'static Case> {
    sent_cases().chain(received::CASES).chain(received_after_fin::CASES).chain(unseen::RECEIVED)
}

/// The cases of sent resets.
pub(crate) fn sent_cases() -> impl Iterator<Item = &'static Case> {
    sent::CASES.iter().chain(after_close::CASES).chain(unseen::SENT)
}

/// All cases as evidence, including those that depend on more than a record.
fn evidence_cases() -> impl Iterator<Item = (&'static str, Evidence)> {
    let recorded = cases().map(|(rule, record)| (*rule, evidence_of(&record())));
    recorded.chain(context::CASES.iter().map(|(rule, evidence)| (*rule, evidence())))
}

fn seen(cause: Cause, sender: Sender, confidence: Confidence) -> SenderVerdict {
    let (sender_confidence, candidates) = (Confidence::Certain, [cause].into());
    SenderVerdict {
        cause,
        sender,
        sender_confidence,
        confidence,
        candidates,
        shape: Shape::Abort,
        after_rst: false,
        because: "x".into(),
    }
}

fn evidence_of(record: &ResetRecord) -> Evidence {
    evidence::of_record(record, &fixture::context())
}

#[test]
fn each_case_is_decided_by_its_rule() {
    for (index, (rule, evidence)) in evidence_cases().enumerate() {
        assert_eq!(classify(&evidence).rule, rule, "case {index}: {evidence:#?}");
    }
}

#[test]
fn every_rule_decides_a_case() {
    for rule in RULES {
        assert!(evidence_cases().any(|(id, _)| id == rule.id), "no case for {}", rule.id);
    }
}

#[test]
fn rule_ids_are_unique() {
    let mut ids: Vec<_> = RULES.iter().map(|rule| rule.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), RULES.len());
}

#[test]
fn every_rule_has_a_sentence() {
    for (rule, evidence) in evidence_cases() {
        let because = classify(&evidence).because;
        assert!(because.len() > 10 && because == because.trim(), "{rule}: {because:?}");
    }
}

/// A family holds its candidates; a cause has itself alone.
#[test]
fn candidates_belong_to_their_family() {
    for (rule, evidence) in evidence_cases() {
        let verdict = classify(&evidence);
        let (cause, remain) = (verdict.cause, &verdict.candidates);
        let among = RULES.iter().find(|it| it.id == verdict.rule).and_then(|rule| rule.among);
        let listed = among.map_or(0, |among| among(&evidence).len());
        assert!(listed <= Candidates::MAX, "{rule}: {listed} are listed, so some were dropped");
        let mut distinct = remain.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), remain.len(), "{rule}: {remain:?} names one twice");
        let open = verdict.sender == Sender::Unknown;
        let outside = |candidate: &&Cause| **candidate != cause && !cause.entry().covers.contains(candidate);
        assert!(open || remain.iter().find(outside).is_none(), "{rule}: {cause} does not cover {remain:?}");
        assert_eq!(remain.is_empty(), cause == Cause::Unknown, "{rule}");
        assert!(remain.len() < 2 || verdict.confidence != Confidence::Certain, "{rule}: several remain, yet certain");
    }
}

/// A late segment has the cause of the RST that ended its connection.
#[test]
fn a_late_segment_inherits_the_cause() {
    let (_, evidence) = evidence_cases().find(|(rule, _)| *rule == "tail_of_reset").expect("a case");
    let Evidence::Sent(mut sent) = evidence else { panic!("a sent reset") };
    let candidates = Candidates::from([Cause::UnreadData, Cause::LingerAbort]);
    sent.ended_because = Some(EndedBecause {
        sender: Sender::Peer,
        cause: Cause::PeerAbort,
        candidates,
        confidence: Confidence::Certain,
    });
    let verdict = classify(&Evidence::Sent(sent));
    assert_eq!((verdict.cause, verdict.candidates), (Cause::PeerAbort, candidates));
    assert_eq!((verdict.sender, verdict.confidence), (Sender::LocalKernel, Confidence::Likely));
}

/// The kernel ends orphans where memory is short, whether their FIN arrived, was lost or was never sent.
#[test]
fn the_peer_may_have_been_short_of_memory() {
    use Cause::{LingerAbort, MiddleboxIdle, MiddleboxInjected, ProcessDied, ResourceLimit, UnreadData};
    let challenged = received::behind_a_challenge();
    let idle = received::after_silence(challenged, 60_000);
    for (record, others) in [
        (challenged, vec![LingerAbort, UnreadData, MiddleboxInjected, ProcessDied]),
        (idle, vec![LingerAbort, UnreadData, MiddleboxInjected, MiddleboxIdle]),
        (received::window_is_full(), vec![LingerAbort, UnreadData, ProcessDied, Cause::AdminAbort]),
        (after_fin(fixture::received(), 0), vec![UnreadData, LingerAbort, ProcessDied]),
    ] {
        let candidates = classify(&evidence_of(&record)).candidates;
        assert!(candidates.contains(&ResourceLimit), "{candidates:?}");
        let remaining: Vec<_> = candidates.iter().copied().filter(|cause| *cause != ResourceLimit).collect();
        assert_eq!(remaining, others);
    }
}

/// A client that ends its connection a whole number of seconds after its request has given up.
#[test]
fn a_client_gives_up_after_whole_seconds() {
    let waited = |mut record: ResetRecord, ms: u32| {
        record.conn.role = role::CLIENT;
        (record.conn.closed.bytes_sent, record.conn.closed.bytes_received) = (100, 100);
        (record.conn.closing.sent_age, record.conn.closing.received_age) =
            (fixture::jiffies(ms), fixture::jiffies(ms + 400));
        record
    };
    let served = |mut record: ResetRecord, ms: u32| {
        record.conn.role = role::SERVER;
        let ages = (fixture::jiffies(ms), fixture::jiffies(ms + 400));
        (record.tcp.received_age, record.tcp.sent_age) = ages;
        if record.conn.fin.time_ns != 0 {
            (record.conn.fin.received_age, record.conn.fin.sent_age) = ages;
        }
        record
    };
    let linger = sent::marked(own_abort("TCP_STATE"), mark::LINGER0);
    let late = after_close::aborted("TCP_STATE", mark::LINGER0, state::CLOSE);
    let records = |ms| {
        [
            waited(after_close::closed(0), ms),
            waited(linger, ms),
            waited(own_abort("TCP_ABORT_ON_CLOSE"), ms),
            waited(late, ms),
            served(fixture::received(), ms),
            served(after_fin(bare(), 0), ms),
        ]
    };
    let says = |record: &ResetRecord| classify(&evidence_of(record)).because;
    for (record, sentence) in records(5_000).iter().zip([
        "this host gave up 5.0 s after its request and closed the connection 200 ms earlier; then data arrived",
        "close() with SO_LINGER on and a timeout of zero, or a negative TCP_LINGER2: this host gave up 5.0 s after its request",
        "close() with received data unread: this host gave up 5.0 s after its request",
        "late segment of a connection that this host had aborted 200 ms earlier, giving up 5.0 s after its request",
        "a live socket of the peer sent the RST 5.0 s after the client's request: most likely the client gave up",
        "peer's FIN arrived 200 ms earlier, 5.0 s after the client's request: most likely the client gave up; then this host wrote",
    ]) {
        assert_eq!(says(record), sentence);
    }
    // The first request has the time of the handshake, and the first response was written after the FIN.
    let mut first = served(after_fin(bare(), 0), 5_000);
    (first.conn.fin.sent_age, first.conn.fin.segs_out) = (first.conn.fin.received_age, 0);
    assert!(says(&first).contains("most likely the client gave up"), "{}", says(&first));
    for record in &records(5_400) {
        assert!(!says(record).contains("gave up") && !says(record).contains("giving up"), "{}", says(record));
    }
}

/// The sequence number of the peer's FIN is not data that was left unread.
#[test]
fn a_fin_is_not_unread_data() {
    let mut abort = own_abort("TCP_STATE");
    abort.conn.reset.unread = 1;
    (abort.conn.closing.sent_age, abort.conn.closing.received_age) = (fixture::jiffies(5_000), 0);
    for (old_state, unread) in [(state::ESTABLISHED, 1), (state::CLOSE_WAIT, 0)] {
        abort.conn.old_state = old_state;
        let Evidence::Sent(sent) = evidence_of(&abort) else { panic!("a sent reset") };
        assert_eq!(sent.silence_before_unread.is_some(), unread > 0);
        let end = sent.end.expect("an end").ending;
        assert!(matches!(end, Ending::Aborted(abort) if abort.unread == unread), "{end:?}");
    }
}

/// A router that holds the peer's address and forgot the translation: its stack is not the peer.
#[test]
fn a_router_that_answers_is_a_middlebox() {
    let mut evidence = evidence_of(&received::from_next_door(received::after_silence(bare(), 60_000)));
    if let Evidence::Received(received) = &mut evidence {
        received.sender_verdict = Some(seen(Cause::NoSuchConnection, Sender::LocalKernel, Confidence::Likely));
    }
    let verdict = classify(&evidence);
    assert_eq!((verdict.sender, verdict.sender_confidence), (Sender::Middlebox, Confidence::Certain));
    assert_eq!(verdict.candidates.first(), Some(&Cause::MiddleboxIdle));
}

/// A verdict of the receiving end alone is never certain.
#[test]
fn nothing_received_alone_is_certain() {
    for (rule, evidence) in evidence_cases() {
        if matches!(evidence, Evidence::Received(_)) {
            assert_ne!(classify(&evidence).confidence, Confidence::Certain, "{rule}");
        }
    }
}

/// Reasons that are derived from fields give less confidence.
#[test]
fn derived_reasons_are_not_certain() {
    for (reset, cause) in [
        (own_abort("NOT_SPECIFIED"), Cause::LingerAbort),
        (active("NOT_SPECIFIED", state::ESTABLISHED), Cause::AdminAbort),
    ] {
        let verdict = classify(&evidence_of(&reset));
        assert_eq!((verdict.cause, verdict.confidence), (cause, Confidence::Likely), "{}", verdict.rule);
    }
}

/// The time since it was given up is not an idle time.
#[test]
fn an_attempt_to_connect_was_never_idle() {
    let evidence = evidence_of(&abandoned_connect());
    assert!(matches!(&evidence, Evidence::Sent(sent) if sent.end.as_ref().is_some_and(|end| end.idle.is_none())));
    assert_eq!(classify(&evidence).because, "this host gave up connecting 250 ms earlier; the SYN-ACK came too late");
}

/// A program that aborts an idle connection: its timer or, after whole seconds by chance, another reason of its own.
#[test]
fn an_idle_abort_may_have_another_reason_than_a_timer() {
    use Cause::{IdleReaped, LingerAbort};
    let (active, late) = (sent::idle_abort(), after_close::idle_abort());
    let expected = Candidates::from([IdleReaped, LingerAbort]);
    for quiet_ms in [2_000, 2_400] {
        for mut record in [active, late] {
            record.conn.closing.sent_age = fixture::jiffies(quiet_ms);
            record.conn.closing.received_age = fixture::jiffies(quiet_ms) + 2;
            let verdict = classify(&evidence_of(&record));
            assert_eq!((verdict.cause, verdict.candidates), (IdleReaped, expected), "{quiet_ms}");
            assert_eq!(verdict.confidence, Confidence::Likely);
        }
    }
}

/// Each end alone infers idle_reaped, but both measure the same idle period.
#[test]
fn agreeing_ends_keep_the_senders_confidence() {
    let mut evidence = evidence_of(&after_fin(bare(), 60_000));
    if let Evidence::Received(received) = &mut evidence {
        let (cause, sender, confidence) = (Cause::IdleReaped, Sender::LocalKernel, Confidence::Likely);
        received.sender_verdict = Some(seen(cause, sender, confidence));
    }
    assert_eq!(classify(&evidence).confidence, Confidence::Likely);
}

/// Linux 6.10 and 6.11 give a reason for the answer, but not for the earlier abort.
#[test]
fn segments_after_an_abort_without_a_reason_are_not_certain() {
    let after = after_close::aborted("NOT_SPECIFIED", mark::PROBING, state::ESTABLISHED);
    let verdict = classify(&evidence_of(&after));
    assert_eq!((verdict.cause, verdict.confidence), (Cause::KeepaliveTimeout, Confidence::Likely));
}

#[test]
fn the_sending_end_decides() {
    let cases = [
        (Cause::UnreadData, Sender::LocalApp, Sender::Peer, Confidence::Certain),
        (Cause::FirewallReject, Sender::LocalFirewall, Sender::LocalFirewall, Confidence::Likely),
        (Cause::Unknown, Sender::LocalKernel, Sender::Peer, Confidence::Likely),
    ];
    for (cause, sender, seen_as, confidence) in cases {
        let mut evidence = evidence_of(&fixture::received());
        if let Evidence::Received(received) = &mut evidence {
            received.sender_verdict = Some(seen(cause, sender, confidence));
        }
        let verdict = classify(&evidence);
        assert_eq!((verdict.cause, verdict.sender, verdict.confidence), (cause, seen_as, confidence));
    }
}
