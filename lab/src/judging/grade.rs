//! Grades one event against one expectation. Pure, so that the judge can be tested.

use std::time::Duration;

use crate::rows::table::{Idle, Times, Want};
use crate::watchers::event::Event;

/// The outcome of one expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Right,
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

/// What can be known at a vantage point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// The other end is watched too.
    pub(crate) both_ends: bool,
    /// The kernel gives reasons for active resets (6.12).
    pub(crate) reasons: bool,
}

/// The grade of a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grade {
    pub(crate) outcome: Outcome,
    /// Why a verdict other than the truth is right from this vantage point.
    pub(crate) as_seen: Option<&'static str>,
    /// Faults; none means that the event passes.
    pub(crate) faults: Vec<String>,
}

const IDLE_CAUSES: [&str; 2] = ["idle_reaped", "middlebox_idle"];
const TOLERANCE: Duration = Duration::from_millis(50);
const PERCENT: u32 = 2;

/// Grades one event.
pub(crate) fn grade(want: &Want, view: View, event: &Event, idle: Option<Idle>) -> Grade {
    let (outcome, as_seen) = verdict(want, view, event);
    let mut faults = Vec::new();
    let certain = event.confidence == "certain";
    let open = want.alone.iter().chain(want.also).any(|alternative| alternative.cause == "unknown");
    let hidden = want.direction == "sent" && event.cause == "unknown" && !open;
    match outcome {
        Outcome::Wrong => faults.push(format!("wrong: {}", says(event))),
        Outcome::Unknown if hidden => faults.push("unknown, though its own stack sent it".to_owned()),
        _ => {}
    }
    if certain && outcome == Outcome::Wrong {
        faults.push("wrong and certain".to_owned());
    }
    if certain && want.direction == "received" && !view.both_ends {
        faults.push("certain, though seen from one end".to_owned());
    }
    if want.sure && view.reasons && want.direction == "sent" && !certain {
        faults.push(format!("only {}, though the kernel gives the reason", event.confidence));
    }
    faults.extend(idle.and_then(|idle| idle_fault(idle, event)));
    Grade { outcome, as_seen, faults }
}

fn verdict(want: &Want, view: View, event: &Event) -> (Outcome, Option<&'static str>) {
    let sender_open = |sender: &str| !view.both_ends && sender == "unknown";
    let alone = if view.both_ends { &[] } else { want.alone };
    let alternative = alone.iter().chain(want.also).find(|alternative| {
        let same_sender = alternative.sender == event.sender || sender_open(&event.sender);
        alternative.cause == event.cause && same_sender
    });
    let truth = want.cause == event.cause && (want.sender == event.sender || sender_open(&event.sender));
    match alternative {
        _ if truth => (Outcome::Right, None),
        // A row may allow `unknown`, but that does not make it right.
        Some(alternative) if alternative.cause == "unknown" => (Outcome::Unknown, Some(alternative.why)),
        Some(alternative) => (Outcome::Right, Some(alternative.why)),
        None if event.cause == "unknown" => (Outcome::Unknown, None),
        None => (Outcome::Wrong, None),
    }
}

fn says(event: &Event) -> String {
    format!("{} by {}, {}", event.cause, event.sender, event.confidence)
}

fn idle_fault(idle: Idle, event: &Event) -> Option<String> {
    let said = event.idle_ms.map(Duration::from_millis);
    match (idle, said) {
        (Idle::Busy, _) if IDLE_CAUSES.contains(&event.cause.as_str()) => {
            Some(format!("{} of a busy connection", event.cause))
        }
        (Idle::Busy, Some(said)) if said >= Duration::from_secs(1) => {
            Some(format!("idle {} ms of a busy connection", said.as_millis()))
        }
        (Idle::Busy, _) => None,
        // Without a cause no idle time is required.
        (Idle::Was(..), None) if event.cause == "unknown" => None,
        (Idle::Was(least, _), None) => Some(format!("no idle_ms; it was {} ms", least.as_millis())),
        (Idle::Was(least, most), Some(said)) => {
            let allowed = TOLERANCE.max(least * PERCENT / 100);
            let off = said + allowed < least || said > most + allowed;
            off.then(|| format!("idle {} ms; it was {} ms", said.as_millis(), least.as_millis()))
        }
    }
}

/// Assigns each event to an expectation, or to `None` if it is unexpected: to one that it matches, else to any with the same host
/// and direction.
pub(crate) fn assign(
    wants: &[&Want],
    events: usize,
    same: impl Fn(&Want, usize) -> bool,
    right: impl Fn(&Want, usize) -> bool,
) -> Vec<Option<usize>> {
    let mut taken = vec![false; wants.len()];
    let mut answers = vec![None; events];
    for strict in [true, false] {
        for (event, answer) in answers.iter_mut().enumerate().filter(|(_, answer)| answer.is_none()) {
            let mut open = wants.iter().zip(&mut taken).enumerate();
            let found = open.find(|(_, (want, taken))| {
                let free = !**taken || want.times != Times::Once;
                free && same(want, event) && (!strict || right(want, event))
            });
            if let Some((index, (_, taken))) = found {
                *taken = true;
                *answer = Some(index);
            }
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::table::{C, PEER, S, alternative, received, sent};

    const ONE: View = View { both_ends: false, reasons: true };
    const BOTH: View = View { both_ends: true, reasons: true };

    fn event(direction: &str, cause: &str, sender: &str, confidence: &str, idle_ms: u64) -> Event {
        let json = serde_json::json!({"direction": direction, "cause": cause, "sender": sender,
            "confidence": confidence, "idle_ms": idle_ms});
        Event::parse(&json.to_string()).expect("an event")
    }

    #[test]
    fn accepts_the_truth_and_allowed_alternatives() {
        const ALIKE: &[crate::rows::table::Alternative] = &[alternative("linger_abort", PEER, "the same packet")];
        let want = received(C, "admin_abort", PEER).alone(ALIKE);
        let truth = event("received", "admin_abort", "peer", "likely", 0);
        let alternative = event("received", "linger_abort", "peer", "likely", 0);
        assert_eq!(grade(&want, BOTH, &truth, None).outcome, Outcome::Right);
        assert_eq!(grade(&want, ONE, &alternative, None).as_seen, Some("the same packet"));
        assert_eq!(grade(&want, BOTH, &alternative, None).outcome, Outcome::Wrong);
    }

    #[test]
    fn reports_wrong_confidence() {
        let want = received(C, "refused", PEER);
        let sure = event("received", "refused", "peer", "certain", 0);
        assert_eq!(grade(&want, ONE, &sure, None).faults.len(), 1);
        assert!(grade(&want, BOTH, &sure, None).faults.is_empty());
        let wrong = event("received", "unread_data", "peer", "certain", 0);
        assert_eq!(grade(&want, BOTH, &wrong, None).faults.len(), 2);
        let sent = sent(S, "refused", PEER).sure();
        assert_eq!(grade(&sent, ONE, &event("sent", "refused", "peer", "likely", 0), None).faults.len(), 1);
    }

    #[test]
    fn idle_tolerance_is_50_ms_or_2_percent() {
        let want = received(C, "idle_reaped", PEER);
        let faults = |truth: u64, said| {
            let idle = Some(Idle::Was(Duration::from_millis(truth), Duration::from_millis(truth)));
            grade(&want, ONE, &event("received", "idle_reaped", "peer", "likely", said), idle).faults.len()
        };
        assert_eq!((faults(1000, 1050), faults(1000, 1051)), (0, 1));
        assert_eq!((faults(1000, 950), faults(1000, 949)), (0, 1));
        assert_eq!((faults(10_000, 10_200), faults(10_000, 10_201)), (0, 1));
        let busy = grade(&want, ONE, &event("received", "idle_reaped", "peer", "likely", 5), Some(Idle::Busy));
        assert_eq!(busy.faults.len(), 1);
    }

    #[test]
    fn assigns_events_to_matching_expectations_first() {
        let (a, b) = (sent(S, "a", PEER), sent(S, "b", PEER));
        let causes = ["b", "a", "c"];
        let right = |want: &Want, event: usize| want.cause == causes[event];
        assert_eq!(assign(&[&a, &b], 3, |_, _| true, right), [Some(1), Some(0), None]);
        let some = a.some();
        assert_eq!(assign(&[&some], 2, |_, _| true, |_, _| false), [Some(0), Some(0)]);
    }
}
