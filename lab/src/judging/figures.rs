//! Counting judgements.

use std::collections::BTreeMap;

use crate::judging::grade::Outcome;
use crate::judging::judgement::Judgement;

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

    fn of(judgement: &Judgement) -> Option<Self> {
        match (judgement.direction.as_deref()?, judgement.vantage.as_str()) {
            ("sent", _) => Some(Self::Sent),
            (_, "all") => Some(Self::ReceivedBoth),
            _ => Some(Self::ReceivedAlone),
        }
    }
}

/// Counts by outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    outcomes: BTreeMap<Outcome, u64>,
    pub(crate) as_seen: u64,
    pub(crate) wrong_certain: u64,
    pub(crate) wrong_middlebox: u64,
}

impl Tally {
    pub(crate) fn of<'a>(judgements: impl Iterator<Item = &'a Judgement>) -> Self {
        let mut tally = Self::default();
        for judgement in judgements {
            *tally.outcomes.entry(judgement.result).or_default() += 1;
            tally.as_seen += u64::from(judgement.as_seen.is_some() && judgement.result == Outcome::Right);
            let false_word = matches!(judgement.result, Outcome::Wrong | Outcome::Extra);
            if let Some(got) = judgement.got.as_ref().filter(|_| false_word) {
                tally.wrong_certain += u64::from(got.confidence == "certain");
                tally.wrong_middlebox += u64::from(got.cause.starts_with("middlebox_"));
            }
        }
        tally
    }

    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }

    /// Percentage of right verdicts among those that were due.
    pub(crate) fn percent_right(&self) -> String {
        let due = [Outcome::Right, Outcome::Unknown, Outcome::Wrong, Outcome::Missing, Outcome::Extra];
        let due: u64 = due.iter().map(|outcome| self.count(*outcome)).sum();
        // Rounded down, so that 100 means all.
        let tenths = (self.count(Outcome::Right) * 1000).checked_div(due);
        tenths.map_or_else(|| "–".to_owned(), |tenths| format!("{}.{} %", tenths / 10, tenths % 10))
    }
}

/// The judgements of one side.
pub(crate) fn on(side: Side, judgements: &[Judgement]) -> impl Iterator<Item = &Judgement> {
    judgements.iter().filter(move |judgement| Side::of(judgement) == Some(side))
}

/// A line for each side, for the end of a run.
pub(crate) fn summary(judgements: &[Judgement]) -> String {
    let lines = Side::EACH.map(|side| {
        let tally = Tally::of(on(side, judgements));
        let n = |outcome| tally.count(outcome);
        format!(
            "{}: {} right ({} as seen from there), {} unknown, {} wrong, {} missing, {} unexpected, {} not seen: {}; \
             wrong and certain {}, wrong middlebox {}",
            side.name(),
            n(Outcome::Right),
            tally.as_seen,
            n(Outcome::Unknown),
            n(Outcome::Wrong),
            n(Outcome::Missing),
            n(Outcome::Extra),
            n(Outcome::NotSeen),
            tally.percent_right(),
            tally.wrong_certain,
            tally.wrong_middlebox
        )
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgement(vantage: &str, direction: &str, result: Outcome, got: &str, confidence: &str) -> Judgement {
        let json = serde_json::json!({"row": "1", "what": "", "family": "v4", "vantage": vantage, "run": 1,
            "kernel": "6.18", "truth": "refused", "direction": direction, "at": "c", "expected": "",
            "got": {"cause": got, "sender": "peer", "confidence": confidence}, "idle_truth_ms": null, "idle_slack_ms": null,
            "busy": false, "idle_ms": null, "result": result, "events": 1, "as_seen": null, "faults": [], "event": null});
        serde_json::from_value(json).expect("a judgement")
    }

    #[test]
    fn counts_by_side_and_rounds_down() {
        let all = [
            judgement("client", "received", Outcome::Right, "refused", "likely"),
            judgement("client", "received", Outcome::Unknown, "unknown", "guess"),
            judgement("server", "received", Outcome::Wrong, "middlebox_idle", "certain"),
            judgement("all", "received", Outcome::Right, "refused", "certain"),
            judgement("all", "sent", Outcome::NotSeen, "refused", "certain"),
        ];
        let alone = Tally::of(on(Side::ReceivedAlone, &all));
        assert_eq!(alone.percent_right(), "33.3 %");
        assert_eq!((alone.wrong_certain, alone.wrong_middlebox), (1, 1));
        assert_eq!(Tally::of(on(Side::ReceivedBoth, &all)).percent_right(), "100.0 %");
        assert_eq!(Tally::of(on(Side::Sent, &all)).percent_right(), "–");
    }
}
