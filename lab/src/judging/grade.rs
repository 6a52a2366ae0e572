//! Grades one verdict against the truth of one row. Pure, so that the judge can be tested.

use std::time::Duration;

use crate::rows::table::{Idle, Want};
use crate::watchers::event::{Verdict, is_claim};

/// The outcome of one expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The cause is the truth. Of a row without resets: no event came. The first edition wrote "right".
    #[serde(alias = "right")]
    Exact,
    /// The truth is among the candidates, and the verdict is not certain.
    Family,
    /// The cause is `unknown`, and the truth is not among the candidates.
    Unknown,
    Wrong,
    Missing,
    Extra,
    /// This kernel cannot show the reset.
    NotSeen,
    /// The scenario did not make its reset.
    NotMade,
    Skipped,
}

impl Outcome {
    /// Whether the truth is the cause or a candidate.
    pub(crate) fn holds_truth(self) -> bool {
        matches!(self, Self::Exact | Self::Family)
    }
}

/// How a verdict names the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SenderGrade {
    Right,
    Unknown,
    Wrong,
}

/// What can be known at a vantage point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// The sender's host is watched too, and this kernel shows what it sends.
    pub(crate) both_ends: bool,
    /// The kernel gives reasons for active resets (6.12).
    pub(crate) reasons: bool,
}

/// The grade of a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grade {
    pub(crate) outcome: Outcome,
    pub(crate) sender: SenderGrade,
    /// Faults; none means that the event passes.
    pub(crate) faults: Vec<String>,
}

impl Grade {
    /// How well an event fits an expectation.
    pub(crate) fn fit(&self) -> Fit {
        match (self.outcome, self.sender) {
            (Outcome::Exact, SenderGrade::Right) => Fit::Exact,
            (outcome, _) if outcome.holds_truth() => Fit::Possible,
            _ => Fit::Other,
        }
    }
}

/// See [`Grade::fit`], in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    Other,
    Possible,
    Exact,
}

/// Causes that stand for several. Any other cause must be among its own candidates.
const FAMILIES: [&str; 4] = ["peer_abort", "no_such_connection", "middlebox_injected", "refused"];
/// Maximum number of candidates.
pub(crate) const MAX_CANDIDATES: usize = 5;
const IDLE_CAUSES: [&str; 2] = ["idle_reaped", "middlebox_idle"];
const TOLERANCE: Duration = Duration::from_millis(50);
const PERCENT: u32 = 2;
/// The end of a fault of a connection that was never idle.
const BUSY: &str = " of a busy connection";

/// Grades one verdict. `idle` is the true idle time and the one that the event gives, where the row states it.
pub(crate) fn grade(want: &Want, view: View, said: &Verdict, idle: Option<(Idle, Option<u64>)>) -> Grade {
    let (outcome, sender) = (outcome(said, want.cause), sender_grade(said, want.sender_seen(view.both_ends)));
    let mut grade = Grade { outcome, sender, faults: Vec::new() };
    grade.faults = faults(want, view, said, &grade);
    grade.faults.extend(idle.and_then(|(truth, event)| idle_fault(truth, event, said)));
    grade
}

fn outcome(said: &Verdict, truth: &str) -> Outcome {
    match said.cause.as_str() {
        cause if cause == truth => Outcome::Exact,
        _ if said.admits(truth) && said.confidence != "certain" => Outcome::Family,
        "unknown" if !said.admits(truth) => Outcome::Unknown,
        _ => Outcome::Wrong,
    }
}

fn sender_grade(said: &Verdict, truth: &str) -> SenderGrade {
    match said.sender.as_str() {
        sender if sender == truth => SenderGrade::Right,
        "unknown" => SenderGrade::Unknown,
        _ => SenderGrade::Wrong,
    }
}

fn faults(want: &Want, view: View, said: &Verdict, grade: &Grade) -> Vec<String> {
    let sent = want.direction == "sent";
    let certain = said.confidence == "certain";
    let wrong = grade.outcome == Outcome::Wrong && is_claim(&said.confidence);
    let wrong_sender = grade.sender == SenderGrade::Wrong && is_claim(said.sender_confidence());
    // The promise is missed all the same; a run fails only where nothing explains it.
    let explained =
        want.why.reasons().next().is_some() && grade.outcome == Outcome::Family && grade.sender == SenderGrade::Right;
    let truth = || format!("{} by {}", want.cause, want.sender_seen(view.both_ends));
    let several = said.candidates.len();
    let lacks_itself = several > 0
        && said.cause != "unknown"
        && !FAMILIES.contains(&said.cause.as_str())
        && !said.candidates.contains(&said.cause);
    let all = [
        (wrong, format!("wrong and {}: {}", said.confidence, says(said))),
        (wrong_sender, format!("wrong sender and {}: {}", said.sender_confidence(), said.sender)),
        (
            sent && grade.fit() != Fit::Exact && !wrong && !wrong_sender && !explained,
            format!("sent side: {} instead of {}", says(said), truth()),
        ),
        (several > MAX_CANDIDATES, format!("{several} candidates")),
        (has_duplicates(&said.candidates), format!("a candidate twice: {}", said.candidates.join(" "))),
        (lacks_itself, format!("{} is not among its candidates: {}", said.cause, said.candidates.join(" "))),
        (certain && !sent && !view.both_ends, "certain, though seen from one end".to_owned()),
        (
            want.sure && view.reasons && sent && !certain,
            format!("only {}, though the kernel gives the reason", said.confidence),
        ),
    ];
    all.into_iter().filter_map(|(is_fault, fault)| is_fault.then_some(fault)).collect()
}

/// Whether a fault is about the idle time.
pub(crate) fn is_about_idle(fault: &str) -> bool {
    fault.starts_with("idle ") || fault.starts_with("no idle_ms") || fault.ends_with(BUSY)
}

fn has_duplicates(candidates: &[String]) -> bool {
    (1..candidates.len()).any(|index| candidates[..index].contains(&candidates[index]))
}

fn says(said: &Verdict) -> String {
    format!("{} by {}", said.cause, said.sender)
}

fn idle_fault(truth: Idle, idle_ms: Option<u64>, said: &Verdict) -> Option<String> {
    let idle = idle_ms.map(Duration::from_millis);
    match (truth, idle) {
        (Idle::Busy, _) if IDLE_CAUSES.contains(&said.cause.as_str()) => Some(format!("{}{BUSY}", said.cause)),
        (Idle::Busy, Some(idle)) if idle >= Duration::from_secs(1) => {
            Some(format!("idle {} ms{BUSY}", idle.as_millis()))
        }
        (Idle::Busy, _) => None,
        // Without a cause no idle time is required.
        (Idle::Was(..), None) if said.cause == "unknown" => None,
        (Idle::Was(least, _), None) => Some(format!("no idle_ms; it was {} ms", least.as_millis())),
        (Idle::Was(least, most), Some(idle)) => {
            let allowed = TOLERANCE.max(least * PERCENT / 100);
            let off = idle + allowed < least || idle > most + allowed;
            off.then(|| format!("idle {} ms; it was {} ms", idle.as_millis(), least.as_millis()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judging::sample::verdict;
    use crate::rows::table::{APP, C, MIDDLEBOX, PEER, R, S, received, rejected, sent};

    const ONE: View = View { both_ends: false, reasons: true };
    const BOTH: View = View { both_ends: true, reasons: true };

    fn said(words: &str, candidates: &str) -> Verdict {
        verdict(words, &candidates.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn grades_the_cause() {
        use Outcome::{Exact, Family, Unknown, Wrong};
        let want = received(C, "linger_abort", PEER);
        let cases = [
            ("linger_abort peer likely", "", Exact),
            ("linger_abort peer certain", "linger_abort", Exact),
            ("linger_abort peer guess", "unread_data linger_abort", Exact),
            ("peer_abort peer likely", "unread_data linger_abort", Family),
            ("peer_abort peer certain", "unread_data linger_abort", Wrong),
            ("peer_abort peer likely", "unread_data process_died", Wrong),
            ("peer_abort peer likely", "", Wrong),
            ("unread_data peer guess", "", Wrong),
            ("unread_data peer guess", "unread_data linger_abort", Family),
            ("unknown unknown guess", "", Unknown),
            ("unknown peer guess", "process_died", Unknown),
            ("unknown peer guess", "linger_abort", Family),
            ("unknown peer certain", "linger_abort", Wrong),
        ];
        for (verdict, candidates, outcome) in cases {
            assert_eq!(
                grade(&want, BOTH, &said(verdict, candidates), None).outcome,
                outcome,
                "{verdict}; {candidates}"
            );
        }
    }

    #[test]
    fn grades_the_sender() {
        use SenderGrade::{Right, Unknown, Wrong};
        let of_router = rejected(C, "firewall_reject", R);
        let of_server = rejected(C, "firewall_reject", S);
        let cases = [
            (received(C, "refused", PEER), ONE, "peer", Right),
            (received(C, "refused", PEER), ONE, "unknown", Unknown),
            (received(C, "refused", PEER), ONE, "middlebox", Wrong),
            (received(C, "middlebox_idle", MIDDLEBOX), BOTH, "middlebox", Right),
            (of_router, ONE, "middlebox", Right),
            (of_router, ONE, "peer", Wrong),
            (of_router, BOTH, "local_firewall", Right),
            (of_server, ONE, "peer", Right),
            (of_server, BOTH, "local_firewall", Right),
            (rejected(C, "firewall_reject", C), ONE, "local_firewall", Right),
        ];
        for (want, view, sender, right) in cases {
            let verdict = said(&format!("refused {sender} guess"), "");
            assert_eq!(grade(&want, view, &verdict, None).sender, right, "{want:?} by {sender}");
        }
    }

    #[test]
    fn finds_faults() {
        let refused = received(C, "refused", PEER);
        let aborted = sent(S, "linger_abort", APP);
        let cases: [(_, _, _, _, &[&str]); 21] = [
            (refused, ONE, "refused peer likely", "", &[]),
            (refused, ONE, "refused peer certain", "", &["certain, though"]),
            (refused, BOTH, "refused peer certain", "", &[]),
            (refused, BOTH, "unread_data peer certain", "", &["wrong and certain"]),
            (refused, BOTH, "unread_data peer likely", "", &["wrong and likely"]),
            (refused, BOTH, "unread_data peer guess", "", &[]),
            (refused, ONE, "unknown unknown guess", "", &[]),
            (refused, ONE, "refused middlebox likely", "", &["wrong sender and likely"]),
            (refused, ONE, "refused middlebox guess", "", &[]),
            (refused, ONE, "refused unknown likely", "", &[]),
            (refused, ONE, "refused peer likely", "a b c d e f", &["6 candidates"]),
            (refused, ONE, "refused peer likely", "a b a", &["a candidate twice"]),
            (refused, ONE, "data_after_close peer guess", "refused", &["data_after_close is not among"]),
            (aborted, ONE, "linger_abort local_app likely", "", &[]),
            (aborted, ONE, "linger_abort local_kernel guess", "", &["sent side"]),
            (aborted, ONE, "unknown local_app guess", "linger_abort", &["sent side"]),
            (aborted, ONE, "unread_data local_app guess", "", &["sent side"]),
            (aborted.sure(), ONE, "linger_abort local_app likely", "", &["only likely"]),
            (aborted.why("x"), ONE, "peer_abort local_app likely", "unread_data linger_abort", &[]),
            (aborted, ONE, "peer_abort local_app likely", "unread_data linger_abort", &["sent side"]),
            (aborted.why("x"), ONE, "unread_data local_app likely", "", &["wrong and likely"]),
        ];
        for (want, view, verdict, candidates, expected) in cases {
            let faults = grade(&want, view, &said(verdict, candidates), None).faults;
            let all = faults.iter().zip(expected).all(|(fault, start)| fault.starts_with(start));
            assert!(all && faults.len() == expected.len(), "{verdict}; {candidates}: {faults:?}");
        }
    }

    #[test]
    fn the_sender_has_a_confidence_of_its_own() {
        let want = received(C, "refused", PEER);
        for (sender_confidence, faults) in [("guess", 0), ("likely", 1), ("certain", 1)] {
            let verdict = said("refused middlebox likely", "");
            let verdict = Verdict { sender_confidence: Some(sender_confidence.to_owned()), ..verdict };
            assert_eq!(grade(&want, ONE, &verdict, None).faults.len(), faults, "{sender_confidence}");
        }
    }

    #[test]
    fn idle_tolerance_is_50_ms_or_2_percent() {
        let want = received(C, "idle_reaped", PEER);
        let verdict = said("idle_reaped peer likely", "");
        let faults = |truth: u64, event| {
            let truth = Idle::Was(Duration::from_millis(truth), Duration::from_millis(truth));
            grade(&want, ONE, &verdict, Some((truth, Some(event)))).faults.len()
        };
        assert_eq!((faults(1000, 1050), faults(1000, 1051)), (0, 1));
        assert_eq!((faults(1000, 950), faults(1000, 949)), (0, 1));
        assert_eq!((faults(10_000, 10_200), faults(10_000, 10_201)), (0, 1));
        assert_eq!(grade(&want, ONE, &verdict, Some((Idle::Busy, Some(5)))).faults.len(), 1);
    }
}
