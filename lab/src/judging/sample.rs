//! Verdicts and judgements for tests.

use crate::judging::grade::SenderGrade;
use crate::judging::judgement::Judgement;
use crate::kernel::Kernel;
use crate::network::host::Family;
use crate::rows::table::{BASE, Row};
use crate::watchers::event::Verdict;

/// "cause sender confidence", and the candidates.
pub(crate) fn verdict(words: &str, candidates: &[&str]) -> Verdict {
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let [cause, sender, confidence] = words.try_into().expect("three words");
    let candidates = candidates.iter().map(ToString::to_string).collect();
    Verdict { cause, sender, confidence, candidates, ..Verdict::default() }
}

/// The client's receipt of an abort by its peer, on Linux 6.18, without a verdict.
pub(crate) fn judgement(row: &'static str, vantage: &str) -> Judgement {
    let row = Row { id: row, ..BASE };
    Judgement {
        truth: "linger_abort".to_owned(),
        true_sender: Some("peer".to_owned()),
        direction: Some("received".to_owned()),
        at: Some("c".to_owned()),
        sender: Some(SenderGrade::Right),
        ..Judgement::of(&row, Family::V4, vantage, 1, &Kernel::named("6.18.44"))
    }
}
