//! Judgements as JSON, one object a line, for the published matrix and for the transfer out of VMs.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::grade::Outcome;
use super::kernel::Kernel;
use super::place::Family;
use super::table::Row;

/// The judgement of one expectation, or of one unexpected event, of a row, vantage point and run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Judgement {
    pub(super) row: String,
    pub(super) what: String,
    pub(super) family: String,
    pub(super) vantage: String,
    pub(super) run: u32,
    pub(super) kernel: String,
    /// The true cause; "none" where no reset was made.
    pub(super) truth: String,
    pub(super) direction: Option<String>,
    pub(super) at: Option<String>,
    pub(super) expected: String,
    pub(super) got: Option<Verdict>,
    pub(super) idle_truth_ms: Option<u64>,
    /// How much longer it may have been: what the lab's own clock leaves open.
    pub(super) idle_slack_ms: Option<u64>,
    /// Traffic never paused.
    pub(super) busy: bool,
    pub(super) idle_ms: Option<u64>,
    pub(super) result: Outcome,
    /// How many alike: what is under way when a connection ends, and floods, count once.
    pub(super) events: u64,
    /// Why a verdict other than the truth is right from this vantage point.
    pub(super) as_seen: Option<String>,
    pub(super) faults: Vec<String>,
    /// The event itself, where there is a fault.
    pub(super) event: Option<serde_json::Value>,
}

/// The verdict of rstwatch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Verdict {
    pub(super) cause: String,
    pub(super) sender: String,
    pub(super) confidence: String,
}

impl Judgement {
    /// A judgement without a verdict.
    pub(super) fn of(row: &Row, family: Family, vantage: &str, run: u32, kernel: &Kernel) -> Self {
        Self {
            row: row.id.to_owned(),
            what: row.what.to_owned(),
            family: family.name().to_owned(),
            vantage: vantage.to_owned(),
            run,
            kernel: kernel.release().to_owned(),
            truth: "none".to_owned(),
            direction: None,
            at: None,
            expected: "nothing".to_owned(),
            got: None,
            idle_truth_ms: None,
            idle_slack_ms: None,
            busy: false,
            idle_ms: None,
            result: Outcome::Right,
            events: 1,
            as_seen: None,
            faults: Vec::new(),
            event: None,
        }
    }
}

impl Judgement {
    /// Whether it says the same of the same expectation; the first's idle time stands.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let of = |judgement: &Self| (judgement.direction.clone(), judgement.at.clone(), judgement.truth.clone());
        of(self) == of(other) && self.got == other.got && self.faults == other.faults
    }
}

/// Writes judgements, one a line.
pub(super) fn write(path: &Path, judgements: &[Judgement]) -> Result<()> {
    let name = || format!("cannot write {}", path.display());
    let mut file = std::io::BufWriter::new(fs::File::create(path).with_context(name)?);
    for judgement in judgements {
        serde_json::to_writer(&mut file, judgement).with_context(name)?;
        writeln!(file).with_context(name)?;
    }
    file.flush().with_context(name)
}

/// Reads what [`write()`] wrote.
pub(super) fn read(path: &Path) -> Result<Vec<Judgement>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parse = |(index, line)| {
        serde_json::from_str(line).with_context(|| format!("{}, line {}: not a result", path.display(), index + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.is_empty()).map(parse).collect()
}
