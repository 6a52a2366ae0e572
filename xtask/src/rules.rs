//! The Prometheus rules: promtool finds them right, and each alert has its words, its runbook and its cases.

mod complete;
mod parse;

#[cfg(test)]
mod mutants;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use dev_support::outcome::Outcome;
use dev_support::setup::{self, Purpose};
use dev_support::{command, paths};

/// The step.
pub(crate) fn rules() -> Result<Outcome> {
    let home = home();
    complete::check(&home)?;
    let promtool = match promtool() {
        Ok(promtool) => promtool,
        Err(why) => return Ok(Outcome::Skipped(format!("no promtool: {why:#}"))),
    };
    let run = |words: &[&str], files: &[PathBuf]| {
        command::run_quiet(Command::new(&promtool).args(words).args(files).current_dir(&home))
    };
    run(&["check", "rules"], &[home.join("rules.yaml")])?;
    run(&["check", "config"], &[home.join("scrape.yaml")])?;
    run(&["test", "rules"], &files(&home.join("tests"), "yaml")?)?;
    Ok(Outcome::Passed)
}

/// Where rules, tests and runbooks stand.
fn home() -> PathBuf {
    paths::root().join("deploy/prometheus")
}

/// The one in PATH, else the one that can be installed.
pub(crate) fn promtool() -> Result<PathBuf> {
    if paths::program("promtool").is_none() {
        setup::ensure(Purpose::Formats)?;
    }
    paths::program("promtool").context("it is not in PATH")
}

/// The files of a folder with this ending, sorted; an error where there is none, for then nothing would be tested.
fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let listed = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths = listed.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut files: Vec<_> = paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == ending)).collect();
    files.sort();
    if files.is_empty() {
        bail!("no .{ending} file in {}", folder.display());
    }
    Ok(files)
}
