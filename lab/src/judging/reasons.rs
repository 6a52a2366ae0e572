//! The reasons why no evidence can name the truth, numbered in the order of the rows that give them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::judging::judgement::Judgement;
use crate::kernel::Kernel;
use crate::rows::table::rows;

/// The number of the reason that the row gives for this truth at this vantage point.
pub(crate) fn number(judgement: &Judgement) -> Option<usize> {
    let row = rows().find(|row| row.id == judgement.row)?;
    let want = row.wants.iter().find(|want| {
        want.cause == judgement.truth
            && judgement.direction.as_deref() == Some(want.direction)
            && judgement.at.as_deref() == Some(want.at.letter())
    })?;
    let one_end = want.why.one_end.filter(|_| judgement.vantage != "all");
    let before = want.why.before.filter(|(version, _)| !Kernel::named(&judgement.kernel).since(*version));
    let why = one_end.or(before.map(|(_, reason)| reason))?;
    Some(all().iter().position(|known| *known == why)? + 1)
}

/// The numbered list, with the rows.
pub(crate) fn list() -> String {
    let mut list =
        "\n## Reasons\n\nWhy no evidence on any wire or in any kernel structure can name the truth at some vantage \
        point. A reason excuses no wrong verdict: the truth can be a candidate.\n\n"
            .to_owned();
    for (index, why) in all().into_iter().enumerate() {
        let of = rows().filter(|row| row.wants.iter().any(|want| want.why.reasons().any(|reason| reason == why)));
        let ids: BTreeSet<&str> = of.map(|row| row.id).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        let _ = writeln!(list, "{}. {why}. Rows: {}", index + 1, ids.join(", "));
    }
    list
}

fn all() -> Vec<&'static str> {
    let mut all = Vec::new();
    for why in rows().flat_map(|row| row.wants).flat_map(|want| want.why.reasons()) {
        if !all.contains(&why) {
            all.push(why);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judging::sample;

    fn judgement(row: &'static str, kernel: &str, vantage: &str, truth: &str) -> Judgement {
        let (kernel, truth) = (kernel.to_owned(), truth.to_owned());
        Judgement { kernel, truth, ..sample::judgement(row, vantage) }
    }

    #[test]
    fn the_list_has_each_reason_under_its_number() {
        let list = list();
        for (index, why) in all().into_iter().enumerate() {
            assert!(list.contains(&format!("\n{}. {why}. Rows: ", index + 1)), "{list}");
        }
    }

    #[test]
    fn a_reason_holds_where_the_row_says() {
        let cases = [
            ("2", "6.18.44", "client", "linger_abort", true),
            ("2", "6.18.44", "all", "linger_abort", false),
            ("2", "6.18.44", "client", "refused", false),
            ("gone", "6.18.44", "client", "linger_abort", false),
            ("9", "6.18.44", "client", "middlebox_injected", false),
            ("5-closing-message", "5.10.0-43", "client", "idle_reaped", true),
            ("5-closing-message", "5.10.0-43", "all", "idle_reaped", true),
            ("5-closing-message", "6.1.0", "all", "idle_reaped", false),
        ];
        for (row, kernel, vantage, truth, is_given) in cases {
            let judgement = judgement(row, kernel, vantage, truth);
            assert_eq!(number(&judgement).is_some(), is_given, "{row} {kernel} {vantage} {truth}");
        }
    }
}
