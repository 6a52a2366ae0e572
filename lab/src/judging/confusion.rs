//! Tables of the true causes by the causes that rstwatch named.

use std::collections::{BTreeMap, BTreeSet};

use crate::judging::grade::Outcome;
use crate::judging::judgement::Judgement;

/// Truth by verdict, with the counts of IPv4 and IPv6. Bold: some were wrong. ≈: of some, the truth was only a candidate.
pub(crate) fn confusion(judgements: &[Judgement], vantage: &str) -> String {
    let mut cells: BTreeMap<(&str, String), Cell> = BTreeMap::new();
    let mut verdicts = BTreeSet::new();
    let here = judgements.iter().filter(|judgement| judgement.vantage == vantage && judgement.direction.is_some());
    for judgement in here {
        let verdict = match (&judgement.got, judgement.result) {
            (Some(got), _) => got.cause.clone(),
            (None, Outcome::NotSeen) => "*not seen*".to_owned(),
            (None, _) => "*missing*".to_owned(),
        };
        verdicts.insert(verdict.clone());
        let family = usize::from(judgement.family != "v4");
        let cell = cells.entry((judgement.truth.as_str(), verdict)).or_default();
        cell.counts[family] += 1;
        cell.wrong |= matches!(judgement.result, Outcome::Wrong | Outcome::Extra | Outcome::Missing);
        cell.family |= judgement.result == Outcome::Family;
    }
    let truths: BTreeSet<&str> = cells.keys().map(|(truth, _)| *truth).collect();
    let mut text = format!("\n### Vantage {vantage}: truth by verdict (IPv4 + IPv6)\n\n| truth |");
    for verdict in &verdicts {
        text += &format!(" {verdict} |");
    }
    text += &format!("\n|---|{}\n", "---|".repeat(verdicts.len()));
    for truth in truths {
        text += &format!("| {truth} |");
        for verdict in &verdicts {
            let cell = cells.get(&(truth, verdict.clone()));
            text += &cell.map_or_else(|| "  |".to_owned(), |cell| format!(" {} |", cell.text()));
        }
        text.push('\n');
    }
    text
}

/// How often, by family.
#[derive(Default)]
struct Cell {
    counts: [u64; 2],
    wrong: bool,
    family: bool,
}

impl Cell {
    fn text(&self) -> String {
        let [v4, v6] = self.counts;
        match (self.wrong, self.family) {
            (true, _) => format!("**{v4} + {v6}**"),
            (false, true) => format!("{v4} + {v6} ≈"),
            (false, false) => format!("{v4} + {v6}"),
        }
    }
}
