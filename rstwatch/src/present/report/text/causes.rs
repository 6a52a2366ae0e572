//! The section on causes: how many resets each has, between which ends, on which evidence.

use super::line::Line;
use crate::present::report::diagnosis::{Candidate, CauseSummary, Diagnosis, Names};
use rstwatch_verdict::cause::Cause;

/// The section, the most frequent cause first.
pub(super) fn lines(diagnosis: &Diagnosis) -> Vec<Line> {
    let width = diagnosis.causes.first().map_or(0, |summary| summary.resets.to_string().len());
    let all = diagnosis.counted();
    let mut lines: Vec<_> = diagnosis.causes.iter().flat_map(|summary| cause(summary, all, width)).collect();
    if diagnosis.causes.len() > 1 {
        let text = format!("all: peer {}; here {}", list(&diagnosis.peers), list(&diagnosis.owners));
        lines.push(Line::unmarked(&text));
    }
    lines
}

fn cause(summary: &CauseSummary, all: u64, width: usize) -> Vec<Line> {
    let CauseSummary { cause, resets, peers, owners, because, .. } = summary;
    let mark = format!("{resets:width$}  {}", share(*resets, all));
    let blank = " ".repeat(mark.len());
    let ends = format!("{}; peer {}; here {}", confidence(summary), list(peers), list(owners));
    let mut lines =
        vec![Line::new(mark, &format!("{cause}: {}", cause.entry().brief)), Line::new(blank.clone(), &ends)];
    // The evidence of a refusal names what remains.
    if !summary.candidates.is_empty() && *cause != Cause::Refused {
        let phrase = |it: &Candidate| format!("{} ({})", it.cause.entry().phrase, it.resets);
        let phrases: Vec<_> = summary.candidates.iter().map(phrase).collect();
        lines.push(Line::new(blank.clone(), &format!("may be: {}", phrases.join(", "))));
    }
    // The cause `unknown` has no evidence to show.
    if !because.is_empty() && *cause != Cause::Unknown {
        lines.push(Line::new(blank, &format!("e.g. {}", because.join("; "))));
    }
    lines
}

/// The confidence of the verdicts, with counts if they differ.
fn confidence(CauseSummary { confidence, .. }: &CauseSummary) -> String {
    let words: Vec<_> = confidence.keys().copied().collect();
    match words[..] {
        [word] => word.to_owned(),
        _ => confidence.iter().map(|(word, n)| format!("{n} {word}")).collect::<Vec<_>>().join(", "),
    }
}

/// Whole per cent, rounded down; less than one per cent is not shown as 0.
fn share(part: u64, all: u64) -> String {
    match part * 100 / all.max(1) {
        0 => " <1 %".to_owned(),
        percent => format!("{percent:3} %"),
    }
}

/// `10.0.7.12:5432 (18), 10.0.7.13:5432 (2), others (3)`. A single name has no count; names below one per cent count as
/// others.
fn list(names: &Names) -> String {
    if let ([only], 0) = (&names.top[..], names.others) {
        return only.name.clone();
    }
    let all: u64 = names.top.iter().map(|name| name.resets).sum::<u64>() + names.others;
    let (frequent, rare): (Vec<_>, Vec<_>) = names.top.iter().partition(|name| name.resets * 100 >= all);
    let others = match names.others + rare.iter().map(|name| name.resets).sum::<u64>() {
        0 => None,
        _ if frequent.is_empty() => Some("many".to_owned()),
        n => Some(format!("others ({n})")),
    };
    let frequent = frequent.iter().map(|name| format!("{} ({})", name.name, name.resets));
    frequent.chain(others).collect::<Vec<_>>().join(", ")
}
