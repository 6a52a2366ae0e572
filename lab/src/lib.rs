//! The lab: makes every kind of TCP reset between throw-away network namespaces, and judges what `rstwatch` says about each
//! from three vantage points.
//!
//! A scenario first proves, by the kernel's own counters and by socket errors, that it made its reset. So "the lab did not
//! make it" is never mistaken for "rstwatch did not see it". Each row of the table states the truth of its scenario and nothing
//! else; a verdict is graded against that truth, whatever can be known from its vantage point.

pub mod api;
mod checks;
mod demo;
mod judging;
mod kernel;
mod network;
mod rows;
mod run;
mod select;
mod scenarios;
mod traffic;
mod wait;
mod watchers;

use std::path::{Path, PathBuf};

pub use judging::report::FAILED;
pub use network::peer::run_helper_if_requested;
pub use scenarios::{Made, Scenarios};
pub use traffic::Traffic;

/// What `cargo xtask lab` accepts.
#[derive(clap::Args, Debug)]
pub struct LabArgs {
    /// Number of times that each row is made
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=500))]
    repeat: u32,
    /// Only this row, or this family of rows ("8" means every "8-…"); repeatable
    #[arg(long = "row", value_name = "ID")]
    rows: Vec<String>,
    /// The rstwatch to test; a relative path starts at the workspace's root
    #[arg(long, value_name = "PATH", default_value = "target/release/rstwatch")]
    rstwatch: PathBuf,
    /// Only prove that the scenarios make their resets; start no rstwatch
    #[arg(long)]
    truth_only: bool,
    /// Write all judgements to this file, one JSON object per line
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// Make no resets: write docs/accuracy.md and docs/kernels.md from the files of --from
    #[arg(long, requires = "from")]
    matrix: bool,
    /// Results that --json wrote; repeatable, one file per kernel or run
    #[arg(long, value_name = "PATH", requires = "matrix")]
    from: Vec<PathBuf>,
}

/// Runs the lab and prints its table, or writes the published pages from earlier runs. Fails when a row failed.
pub fn lab(args: &LabArgs) -> anyhow::Result<()> {
    if args.matrix { judging::matrix::write(&args.from) } else { run::lab(args) }
}

/// Makes a handful of resets. For each, prints the scenario, the truth, and the verdicts of this `rstwatch`.
pub fn demo(rstwatch: &Path) -> anyhow::Result<()> {
    demo::demo(rstwatch)
}
