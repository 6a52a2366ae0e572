//! The table of the verdicts that are not exact, with the reason where no evidence can name the truth.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::judging::grade::{Outcome, SenderGrade, is_about_idle};
use crate::judging::judgement::Judgement;
use crate::judging::reasons;

/// One line for each row, vantage point, truth and verdict; IPv4 and IPv6 together.
pub(crate) fn inexact(judgements: &[Judgement]) -> String {
    let mut lines: BTreeMap<[String; 6], u64> = BTreeMap::new();
    for judgement in judgements.iter().filter(|judgement| is_inexact(judgement)) {
        *lines.entry(line(judgement)).or_default() += 1;
    }
    if lines.is_empty() {
        return "\nEvery verdict was exact.\n".to_owned();
    }
    let mut text =
        "\n### Verdicts that are not exact\n\nThe last column refers to the [reasons](#reasons) why no evidence can \
        name the truth. Where it is empty, rstwatch could know more.\n\n\
        | row | vantage | truth | verdict | outcome | times | reason |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    for ([row, vantage, truth, verdict, outcome, why], times) in lines {
        let _ = writeln!(text, "| {row} | {vantage} | {truth} | {verdict} | {outcome} | {times} | {why} |");
    }
    text
}

fn is_inexact(judgement: &Judgement) -> bool {
    let is_judged = !matches!(judgement.result, Outcome::NotSeen | Outcome::Skipped);
    let is_exact = judgement.result == Outcome::Exact
        && judgement.faults.is_empty()
        && judgement.sender.is_none_or(|sender| sender == SenderGrade::Right);
    is_judged && !is_exact
}

fn line(judgement: &Judgement) -> [String; 6] {
    let truth = match (&judgement.direction, &judgement.true_sender) {
        (Some(direction), Some(sender)) => format!("{direction}: {} by {sender}", judgement.truth),
        _ => judgement.truth.clone(),
    };
    let verdict = judgement.got.as_ref();
    let verdict = verdict.map(|got| format!("`{}` by {}, {}", got.cause, got.sender, got.confidence));
    let why = reasons::number(judgement).map(|number| number.to_string()).unwrap_or_default();
    let (row, vantage) = (judgement.row.clone(), judgement.vantage.clone());
    [row, vantage, truth, verdict.unwrap_or_default(), outcome(judgement), why]
}

fn outcome(judgement: &Judgement) -> String {
    let cause = match judgement.result {
        Outcome::Exact => "exact",
        Outcome::Family => "family",
        Outcome::Unknown => "unknown",
        Outcome::Wrong => "**wrong**",
        Outcome::Missing => "**missing**",
        Outcome::Extra => "**unexpected**",
        Outcome::NotMade => "not made",
        Outcome::NotSeen | Outcome::Skipped => "",
    };
    let sender = match judgement.sender {
        Some(SenderGrade::Unknown) => "sender unknown",
        Some(SenderGrade::Wrong) => "**sender wrong**",
        _ => "",
    };
    let others = judgement.faults.iter().filter_map(|fault| beside_the_outcome(fault));
    let parts: Vec<&str> = [cause, sender].into_iter().filter(|part| !part.is_empty()).chain(others).collect();
    parts.join("; ")
}

/// The starts of faults that the outcome says.
const SAID: [&str; 6] = ["wrong ", "sent side", "no received", "no sent", "no 1..", "unexpected"];

/// A fault that the outcome does not say. Merges those that differ only in milliseconds.
fn beside_the_outcome(fault: &str) -> Option<&str> {
    match fault {
        idle if is_about_idle(idle) => Some("idle time off"),
        said if SAID.iter().any(|start| said.starts_with(start)) => None,
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judging::sample;

    fn judgement(vantage: &str, result: Outcome, faults: &[&str]) -> Judgement {
        let got = Some(sample::verdict("peer_abort peer likely", &[]));
        let faults = faults.iter().map(ToString::to_string).collect();
        Judgement { got, result, faults, ..sample::judgement("2", vantage) }
    }

    #[test]
    fn gives_the_reason_only_where_it_is_true() {
        let all = [("client", Outcome::Family), ("client", Outcome::Family), ("all", Outcome::Wrong)];
        let text = inexact(&all.map(|(vantage, result)| judgement(vantage, result, &[])));
        let verdict = "received: linger_abort by peer | `peer_abort` by peer, likely";
        let number = reasons::number(&judgement("client", Outcome::Family, &[])).expect("a reason");
        assert!(text.contains(&format!("| 2 | client | {verdict} | family | 2 | {number} |")), "{text}");
        assert!(text.contains(&format!("| 2 | all | {verdict} | **wrong** | 1 |  |")), "{text}");
    }

    #[test]
    fn lists_exact_causes_with_other_faults() {
        let faults = ["wrong and likely: a by b", "idle 5 ms; it was 900 ms", "only likely, though"];
        let text = inexact(&[judgement("all", Outcome::Exact, &faults)]);
        assert!(text.contains("| exact; idle time off; only likely, though | 1 |"), "{text}");
        assert_eq!(inexact(&[judgement("all", Outcome::Exact, &[])]), "\nEvery verdict was exact.\n");
    }
}
