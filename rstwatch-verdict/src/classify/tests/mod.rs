//! Golden cases: for each rule, records that it decides. Evidence and table are tested together.

mod after_close;
mod context;
mod necessity;
mod received;
mod seeds;
mod sent;

use rstwatch_common::record::{ResetRecord, state};

use super::{RULES, classify};
use crate::cause::{Candidates, Cause, Confidence, Sender};
use crate::evidence::{self, EndedBecause, Evidence, SenderVerdict, Shape};
use crate::testing::fixture;
use received::{after_fin, bare};
use sent::{abandoned_connect, active, own_abort};

/// A rule, and a record that it decides.
pub(crate) type Case = (&'static str, fn() -> ResetRecord);

const SECOND: u64 = 1_000_000_000;

fn cases() -> impl Iterator<Item = &'static Case> {
    sent::CASES.iter().chain(after_close::CASES).chain(received::CASES)
}

/// The cases of sent resets.
pub(crate) fn sent_cases() -> impl Iterator<Item = &'static Case> {
    sent::CASES.iter().chain(after_close::CASES)
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

/// A program that aborts an idle connection: its timer, unless the silence is no whole number of seconds.
#[test]
fn an_idle_abort_is_a_timers_only_at_a_timers_time() {
    use Cause::{IdleReaped, LingerAbort};
    let (active, late) = (sent::idle_abort(), after_close::idle_abort());
    for (quiet_ms, expected) in [(2_000, Candidates::from([IdleReaped])), (2_400, [IdleReaped, LingerAbort].into())] {
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
    use rstwatch_common::record::mark;
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
