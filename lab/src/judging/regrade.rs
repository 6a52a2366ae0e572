//! Grades recordings of the first edition, which state neither the true sender nor a grade of it, by today's rows.

use std::time::Duration;

use crate::judging::grade::{Grade, Outcome, View, grade};
use crate::judging::judgement::Judgement;
use crate::kernel::Kernel;
use crate::rows::table::{Idle, Want, rows};

/// The judgement as it would be recorded today. Judgements of this edition, and of rows that no longer exist, stay.
pub(crate) fn regraded(judgement: Judgement) -> Judgement {
    let is_first_edition = judgement.got.is_some() && judgement.sender.is_none() && judgement.result != Outcome::Extra;
    let best = wants(&judgement)
        .filter_map(|want| Some((want, graded(&judgement, want)?)))
        .max_by_key(|(want, grade)| (grade.fit(), want.cause == judgement.truth));
    match best {
        Some((want, grade)) if is_first_edition => Judgement {
            truth: want.cause.to_owned(),
            true_sender: Some(want.sender_seen(view(&judgement, want).both_ends).to_owned()),
            result: grade.outcome,
            sender: Some(grade.sender),
            faults: grade.faults,
            ..judgement
        },
        _ => judgement,
    }
}

/// What the row expects at the judgement's host and in its direction.
fn wants(judgement: &Judgement) -> impl Iterator<Item = &'static Want> {
    let row = rows().find(|row| row.id == judgement.row);
    row.into_iter().flat_map(|row| row.wants).filter(|want| {
        judgement.direction.as_deref() == Some(want.direction) && judgement.at.as_deref() == Some(want.at.letter())
    })
}

fn graded(judgement: &Judgement, want: &Want) -> Option<Grade> {
    let truth = match (judgement.busy, judgement.idle_truth_ms) {
        (true, _) => Some(Idle::Busy),
        (false, Some(least)) => {
            let slack = judgement.idle_slack_ms.unwrap_or(0);
            Some(Idle::Was(Duration::from_millis(least), Duration::from_millis(least + slack)))
        }
        (false, None) => None,
    };
    let idle = truth.map(|truth| (truth, judgement.idle_ms));
    Some(grade(want, view(judgement, want), judgement.got.as_ref()?, idle))
}

fn view(judgement: &Judgement, want: &Want) -> View {
    View {
        both_ends: judgement.vantage == "all" || want.rule == Some(want.at),
        reasons: Kernel::named(&judgement.kernel).gives_reasons(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judging::grade::SenderGrade;

    /// A line of a first-edition recording.
    fn recorded(row: &str, vantage: &str, direction: &str, at: &str, got: [&str; 3]) -> Judgement {
        let [cause, sender, confidence] = got;
        let line = serde_json::json!({"row": row, "what": "", "family": "v4", "vantage": vantage, "run": 1,
            "kernel": "6.18.44", "truth": "firewall_reject", "direction": direction, "at": at, "expected": "",
            "got": {"cause": cause, "sender": sender, "confidence": confidence}, "idle_truth_ms": 1200,
            "idle_slack_ms": 2, "busy": false, "idle_ms": 1201, "result": "right", "events": 1,
            "as_seen": "to the ends it is an idle timeout", "faults": [], "event": null});
        serde_json::from_value(line).expect("a judgement")
    }

    #[test]
    fn grades_the_first_edition_by_todays_truth() {
        let got = ["firewall_reject", "middlebox", "likely"];
        let client = regraded(recorded("6a", "client", "received", "c", got));
        assert_eq!((client.truth.as_str(), client.result), ("firewall_reject", Outcome::Exact));
        assert_eq!((client.true_sender.as_deref(), client.sender), (Some("middlebox"), Some(SenderGrade::Right)));
        assert!(client.faults.is_empty());

        let both = regraded(recorded("6a", "all", "received", "c", ["middlebox_idle", "local_firewall", "certain"]));
        assert_eq!((both.result, both.sender), (Outcome::Wrong, Some(SenderGrade::Right)));
        assert_eq!(both.faults, ["wrong and certain: middlebox_idle by local_firewall"]);
    }

    #[test]
    fn keeps_this_edition_and_unknown_rows() {
        let gone = regraded(recorded("gone", "client", "received", "c", ["refused", "peer", "likely"]));
        assert_eq!((gone.result, gone.sender), (Outcome::Exact, None));
        let mut graded = recorded("6a", "client", "received", "c", ["refused", "peer", "likely"]);
        graded.sender = Some(SenderGrade::Unknown);
        assert_eq!(regraded(graded).result, Outcome::Exact);
    }
}
