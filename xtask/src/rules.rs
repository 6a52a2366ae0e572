//! Checks deploy/prometheus: promtool must accept rules and tests, and each alert must have annotations, a runbook and test
//! cases.

mod completeness;
mod parse;

#[cfg(test)]
mod mutation_tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use dev_support::outcome::Outcome;
use dev_support::setup::{self, Purpose};
use dev_support::{command, paths};

/// The step of `cargo xtask test`.
pub(crate) fn rules() -> Result<Outcome> {
    let home = home();
    completeness::check(&home)?;
    let promtool = match promtool() {
        Ok(promtool) => promtool,
        Err(why) => return Ok(Outcome::Skipped(format!("no promtool: {why:#}"))),
    };
    let run = |subcommand: &[&str], files: &[PathBuf]| {
        command::run_quiet(Command::new(&promtool).args(subcommand).args(files).current_dir(&home))
    };
    run(&["check", "rules"], &[home.join("rules.yaml")])?;
    run(&["check", "config"], &[home.join("scrape.yaml")])?;
    run(&["test", "rules"], &files(&home.join("tests"), "yaml")?)?;
    Ok(Outcome::Passed)
}

/// The folder with rules, tests and runbooks.
fn home() -> PathBuf {
    paths::root().join("deploy/prometheus")
}

/// promtool from PATH; installed if it is missing.
pub(crate) fn promtool() -> Result<PathBuf> {
    if paths::program("promtool").is_none() {
        setup::ensure(Purpose::Formats)?;
    }
    paths::program("promtool").context("promtool is not in PATH")
}

/// The files of a folder with this extension, sorted. An error if there are none, because then nothing would be tested.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let listed = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths = listed.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut files: Vec<_> = paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    if files.is_empty() {
        bail!("no .{extension} file in {}", folder.display());
    }
    Ok(files)
}
