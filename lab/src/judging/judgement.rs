//! Serializes judgements as JSON lines. The published matrix is built from them, and VMs return their results in them.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::judging::grade::{Outcome, SenderGrade};
use crate::kernel::Kernel;
use crate::network::host::Family;
use crate::rows::table::Row;
use crate::watchers::event::Verdict;

/// The judgement of one expectation, or of one unexpected event, of a row, vantage point and run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Judgement {
    pub(crate) row: String,
    pub(crate) what: String,
    pub(crate) family: String,
    pub(crate) vantage: String,
    pub(crate) run: u32,
    pub(crate) kernel: String,
    /// The true cause; "none" where no reset was made.
    pub(crate) truth: String,
    /// The true sender, in the words of this vantage point.
    #[serde(default)]
    pub(crate) true_sender: Option<String>,
    pub(crate) direction: Option<String>,
    pub(crate) at: Option<String>,
    pub(crate) expected: String,
    pub(crate) got: Option<Verdict>,
    pub(crate) idle_truth_ms: Option<u64>,
    /// How much longer it may have been, by the lab's own clock.
    pub(crate) idle_slack_ms: Option<u64>,
    /// Traffic never paused.
    pub(crate) busy: bool,
    pub(crate) idle_ms: Option<u64>,
    pub(crate) result: Outcome,
    /// How the verdict names the sender; absent where there is no verdict or no truth to compare it with.
    #[serde(default)]
    pub(crate) sender: Option<SenderGrade>,
    /// Number of equal events. Packets in flight when a connection ends, and floods, count once.
    pub(crate) events: u64,
    pub(crate) faults: Vec<String>,
    /// The event itself, where the verdict is not exact.
    pub(crate) event: Option<serde_json::Value>,
}

impl Judgement {
    /// A judgement without a verdict.
    pub(crate) fn of(row: &Row, family: Family, vantage: &str, run: u32, kernel: &Kernel) -> Self {
        Self {
            row: row.id.to_owned(),
            what: row.what.to_owned(),
            family: family.name().to_owned(),
            vantage: vantage.to_owned(),
            run,
            kernel: kernel.release().to_owned(),
            truth: "none".to_owned(),
            true_sender: None,
            direction: None,
            at: None,
            expected: "nothing".to_owned(),
            got: None,
            idle_truth_ms: None,
            idle_slack_ms: None,
            busy: false,
            idle_ms: None,
            result: Outcome::Exact,
            sender: None,
            events: 1,
            faults: Vec::new(),
            event: None,
        }
    }
}

impl Judgement {
    /// Whether both give the same verdict on the same expectation. The first one's idle time and hint are kept: a hint can
    /// name the time.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let of = |judgement: &Self| {
            let got = judgement.got.clone().map(|got| Verdict { decide: None, ..got });
            let want = [&judgement.direction, &judgement.at, &judgement.true_sender].map(Clone::clone);
            (got, want, judgement.truth.clone(), judgement.faults.clone())
        };
        of(self) == of(other)
    }

    /// What the verdict says, where it is not exact.
    pub(crate) fn note(&self) -> Option<String> {
        let got = self.got.as_ref()?;
        let said = format!("{} by {}", got.cause, got.sender);
        match (self.result, self.sender) {
            (Outcome::Wrong, _) => Some(format!("wrong guess: {said}")),
            (Outcome::Family | Outcome::Unknown, _) | (_, Some(SenderGrade::Unknown | SenderGrade::Wrong)) => {
                Some(said)
            }
            _ => None,
        }
    }
}

/// Writes judgements, one a line.
pub(crate) fn write(path: &Path, judgements: &[Judgement]) -> Result<()> {
    let name = || format!("cannot write {}", path.display());
    let mut file = std::io::BufWriter::new(fs::File::create(path).with_context(name)?);
    for judgement in judgements {
        serde_json::to_writer(&mut file, judgement).with_context(name)?;
        writeln!(file).with_context(name)?;
    }
    file.flush().with_context(name)
}

/// Reads what [`write()`] wrote, in this edition or the first.
pub(crate) fn read(path: &Path) -> Result<Vec<Judgement>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parse = |(index, line)| {
        serde_json::from_str(line).with_context(|| format!("{}, line {}: not a result", path.display(), index + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.is_empty()).map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judging::sample;

    fn judgement(candidates: &[&str], decide: &str) -> Judgement {
        let verdict = sample::verdict("peer_abort peer likely", candidates);
        let got = Some(Verdict { decide: Some(decide.to_owned()), ..verdict });
        Judgement { got, result: Outcome::Family, ..sample::judgement("2", "client") }
    }

    #[test]
    fn equal_verdicts_count_once_whatever_their_hint() {
        let first = judgement(&["linger_abort", "process_died"], "its log at 12:31:07");
        assert!(first.is_like(&judgement(&["linger_abort", "process_died"], "its log at 12:31:08")));
        assert!(!first.is_like(&judgement(&["process_died", "linger_abort"], "its log at 12:31:07")));
    }

    #[test]
    fn notes_what_is_not_exact() {
        let family = judgement(&["linger_abort", "process_died"], "");
        assert_eq!(family.note().as_deref(), Some("peer_abort by peer"));
        let wrong = Judgement { result: Outcome::Wrong, ..family.clone() };
        assert_eq!(wrong.note().as_deref(), Some("wrong guess: peer_abort by peer"));
        assert_eq!(Judgement { result: Outcome::Exact, ..family.clone() }.note(), None);
        let sender = Some(SenderGrade::Unknown);
        assert!(Judgement { result: Outcome::Exact, sender, ..family }.note().is_some());
    }
}
