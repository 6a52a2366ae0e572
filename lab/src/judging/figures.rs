//! The lab's figures: how often the verdicts were right, each beside its promise. They are counted once and rendered
//! twice: as the closing lines of a run ([`summary()`]) and in docs/accuracy.md ([`table()`]).

use std::fmt::Write as _;

use crate::judging::grade::{MAX_CANDIDATES, Outcome, SenderGrade};
use crate::judging::judgement::Judgement;
use crate::judging::ratio::{NO_VALUE, Promise, Ratio, Unit};

/// Which ends of a reset were watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Sent,
    ReceivedBoth,
    ReceivedAlone,
}

impl Side {
    pub(crate) const EACH: [Self; 3] = [Self::Sent, Self::ReceivedBoth, Self::ReceivedAlone];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::ReceivedBoth => "received, both ends watched",
            Self::ReceivedAlone => "received, one end watched",
        }
    }

    pub(crate) fn of(judgement: &Judgement) -> Option<Self> {
        match (judgement.direction.as_deref()?, judgement.vantage.as_str()) {
            ("sent", _) => Some(Self::Sent),
            (_, "all") => Some(Self::ReceivedBoth),
            _ => Some(Self::ReceivedAlone),
        }
    }
}

/// The judgements of one side.
pub(crate) fn on(side: Side, judgements: &[Judgement]) -> impl Iterator<Item = &Judgement> {
    judgements.iter().filter(move |judgement| Side::of(judgement) == Some(side))
}

/// One figure: a sum over the judgements that it is about.
struct Figure {
    name: &'static str,
    unit: Unit,
    about: fn(&Judgement) -> bool,
    count: fn(&Judgement) -> usize,
    /// What is promised of each side, in the order of [`Side::EACH`].
    promised: [Option<Promise>; 3],
}

use Promise::{AtLeast, AtMost};

const NOTHING: [Option<Promise>; 3] = [None; 3];

const fn each(promise: Promise) -> [Option<Promise>; 3] {
    [Some(promise); 3]
}

/// All figures, in the order in which they are shown.
const FIGURES: [Figure; 14] = [
    Figure {
        name: "wrong, of those `certain`",
        unit: Unit::Count,
        about: |it| says(it, "certain"),
        count: |it| is_wrong(it).into(),
        promised: each(AtMost(0)),
    },
    Figure {
        name: "wrong, of those `likely`",
        unit: Unit::Count,
        about: |it| says(it, "likely"),
        count: |it| is_wrong(it).into(),
        promised: each(AtMost(0)),
    },
    Figure {
        name: "wrong, of all",
        unit: Unit::Percent,
        about: is_due,
        count: |it| is_wrong(it).into(),
        promised: each(AtMost(5)),
    },
    Figure {
        name: "cause and sender right",
        unit: Unit::Percent,
        about: is_due,
        count: |it| (it.result == Outcome::Exact && is_sender(it, SenderGrade::Right)).into(),
        promised: [Some(AtLeast(1000)), None, None],
    },
    Figure {
        name: "cause named exactly, refusals left out",
        unit: Unit::Percent,
        about: |it| is_due(it) && it.truth != "refused",
        count: |it| (it.result == Outcome::Exact).into(),
        promised: [None, None, Some(AtLeast(550))],
    },
    Figure {
        name: "truth among cause and candidates",
        unit: Unit::Percent,
        about: is_due,
        count: |it| it.result.holds_truth().into(),
        promised: [None, None, Some(AtLeast(990))],
    },
    Figure {
        name: "candidates where there are several, mean",
        unit: Unit::Mean,
        about: has_several,
        count: |it| candidates(it).len(),
        promised: each(AtMost(3500)),
    },
    Figure {
        name: "more than five candidates",
        unit: Unit::Count,
        about: has_several,
        count: |it| (candidates(it).len() > MAX_CANDIDATES).into(),
        promised: each(AtMost(0)),
    },
    Figure {
        name: "truth first among several candidates",
        unit: Unit::Percent,
        about: has_several,
        count: |it| candidates(it).first().is_some_and(|first| *first == it.truth).into(),
        promised: each(AtLeast(600)),
    },
    Figure {
        name: "sender right",
        unit: Unit::Percent,
        about: is_due,
        count: |it| is_sender(it, SenderGrade::Right).into(),
        promised: [None, Some(AtLeast(1000)), Some(AtLeast(980))],
    },
    Figure {
        name: "cause `unknown`",
        unit: Unit::Percent,
        about: is_due,
        count: |it| it.got.as_ref().is_some_and(|got| got.cause == "unknown").into(),
        promised: each(AtMost(10)),
    },
    Figure {
        name: "expected, but missing",
        unit: Unit::Count,
        about: is_due,
        count: |it| (it.result == Outcome::Missing).into(),
        promised: NOTHING,
    },
    Figure {
        name: "not expected",
        unit: Unit::Count,
        about: is_due,
        count: |it| (it.result == Outcome::Extra).into(),
        promised: NOTHING,
    },
    Figure {
        name: "not shown by this kernel",
        unit: Unit::Count,
        about: |it| is_due(it) || it.result == Outcome::NotSeen,
        count: |it| (it.result == Outcome::NotSeen).into(),
        promised: NOTHING,
    },
];

/// Whether a verdict was due, or came without being expected.
fn is_due(judgement: &Judgement) -> bool {
    !matches!(judgement.result, Outcome::NotSeen | Outcome::NotMade | Outcome::Skipped)
}

fn says(judgement: &Judgement, confidence: &str) -> bool {
    judgement.got.as_ref().is_some_and(|got| got.confidence == confidence)
}

/// Every verdict on a reset that was not made is wrong.
fn is_wrong(judgement: &Judgement) -> bool {
    matches!(judgement.result, Outcome::Wrong | Outcome::Extra)
}

fn is_sender(judgement: &Judgement, grade: SenderGrade) -> bool {
    judgement.sender == Some(grade)
}

fn candidates(judgement: &Judgement) -> &[String] {
    judgement.got.as_ref().map_or(&[], |got| &got.candidates)
}

fn has_several(judgement: &Judgement) -> bool {
    candidates(judgement).len() > 1
}

/// A figure of one side.
struct Measured {
    name: &'static str,
    value: String,
    /// What is promised, and whether it is kept; absent without judgements.
    promise: Option<(String, bool)>,
}

impl Measured {
    fn is_missed(&self) -> bool {
        matches!(self.promise, Some((_, false)))
    }

    fn result(&self) -> Option<String> {
        let (promised, kept) = self.promise.as_ref()?;
        Some(format!("promised {promised}: {}", if *kept { "kept" } else { "missed" }))
    }
}

fn measure(side: Side, judgements: &[Judgement]) -> Vec<Measured> {
    let of = |figure: &Figure| {
        let about = on(side, judgements).filter(|judgement| (figure.about)(judgement));
        let ratio: Ratio = about.map(|judgement| (figure.count)(judgement)).collect();
        let promise = figure.promised[side as usize];
        Measured {
            name: figure.name,
            value: figure.unit.show(ratio, promise),
            promise: promise.and_then(|promise| Some((figure.unit.show_promise(promise), promise.is_kept(ratio)?))),
        }
    };
    FIGURES.iter().map(of).collect()
}

/// Returns the closing lines of a run: the figures of each side.
pub(crate) fn summary(judgements: &[Judgement]) -> String {
    let mut text = String::new();
    for side in Side::EACH {
        let _ =
            writeln!(text, "{}: {} verdicts", side.name(), on(side, judgements).filter(|it| it.got.is_some()).count());
        for figure in measure(side, judgements).into_iter().filter(|figure| figure.value != NO_VALUE) {
            let (name, result) = (figure.name.replace('`', ""), figure.result().unwrap_or_default());
            let _ = writeln!(text, "{}", format!("  {name:<42}{:<26}{result}", figure.value).trim_end());
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// The figures of each side, as a table of Markdown.
pub(crate) fn table(judgements: &[Judgement]) -> String {
    let [sent, both, alone] = Side::EACH.map(|side| measure(side, judgements));
    let mut text = String::from("\n| figure |");
    for side in Side::EACH {
        let _ = write!(text, " {} |", side.name());
    }
    text += "\n|---|---|---|---|\n";
    for ((sent, both), alone) in sent.iter().zip(&both).zip(&alone) {
        let [a, b, c] = [sent, both, alone].map(cell);
        let _ = writeln!(text, "| {} | {a} | {b} | {c} |", sent.name);
    }
    text
}

fn cell(figure: &Measured) -> String {
    let text = figure.result().map_or_else(|| figure.value.clone(), |result| format!("{}; {result}", figure.value));
    if figure.is_missed() { format!("**{text}**") } else { text }
}

/// The names of the figures of one side that miss their promise.
pub(crate) fn missed(side: Side, judgements: &[Judgement]) -> Vec<&'static str> {
    measure(side, judgements).iter().filter(|figure| figure.is_missed()).map(|figure| figure.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judging::sample;

    fn judgement(vantage: &str, direction: &str, result: Outcome, got: Option<&str>, candidates: &[&str]) -> Judgement {
        let got = got.map(|got| sample::verdict(&got.replacen(' ', " peer ", 1), candidates));
        let sender = got.as_ref().map(|_| SenderGrade::Right);
        Judgement { direction: Some(direction.to_owned()), result, got, sender, ..sample::judgement("1", vantage) }
    }

    fn some() -> Vec<Judgement> {
        let received = |result, got, candidates| judgement("client", "received", result, got, candidates);
        let (one, two) = (["linger_abort"], ["unread_data", "linger_abort"]);
        vec![
            received(Outcome::Exact, Some("linger_abort likely"), &one),
            received(Outcome::Family, Some("peer_abort likely"), &two),
            received(Outcome::Family, Some("peer_abort guess"), &["linger_abort", "unread_data", "process_died"]),
            received(Outcome::Unknown, Some("unknown guess"), &[]),
            received(Outcome::Wrong, Some("middlebox_idle likely"), &[]),
            received(Outcome::Extra, Some("refused certain"), &[]),
            received(Outcome::Missing, None, &[]),
            received(Outcome::NotSeen, None, &[]),
            judgement("all", "received", Outcome::Exact, Some("linger_abort certain"), &one),
            judgement("server", "sent", Outcome::Exact, Some("linger_abort certain"), &one),
            judgement("all", "sent", Outcome::NotSeen, None, &[]),
        ]
    }

    #[test]
    fn counts_each_figure_by_side() {
        let all = some();
        let alone: Vec<String> = measure(Side::ReceivedAlone, &all).into_iter().map(|figure| figure.value).collect();
        let expected = [
            "1 of 1",
            "1 of 3",
            "28.6 % (2 of 7)",
            "14.2 % (1 of 7)",
            "14.2 % (1 of 7)",
            "42.8 % (3 of 7)",
            "2.5",
            "0 of 2",
            "50.0 % (1 of 2)",
            "85.7 % (6 of 7)",
            "14.3 % (1 of 7)",
            "1 of 7",
            "1 of 7",
            "1 of 8",
        ];
        assert_eq!(alone, expected);
        assert_eq!(missed(Side::Sent, &all), <[&str; 0]>::default());
        assert_eq!(missed(Side::ReceivedAlone, &all).len(), 8);
    }

    #[test]
    fn both_renderings_have_every_figure_and_promise() {
        let (summary, table) = (summary(&some()), table(&some()));
        for figure in FIGURES {
            assert!(table.contains(&format!("| {} |", figure.name)), "{}", figure.name);
            let line = format!("  {} ", figure.name.replace('`', ""));
            assert!(summary.lines().any(|other| other.starts_with(&line)), "{}", figure.name);
        }
        for (text, one, missed) in
            [(&summary, "  promised ≤ 3.5: kept", ""), (&table, "; promised ≤ 3.5: kept |", "**")]
        {
            assert!(text.contains(one), "{text}");
            assert!(text.contains(&format!("promised ≥ 98 %: missed{missed}")), "{text}");
        }
    }
}
