//! Checks and generates what operators install: manifests, Helm chart, systemd unit, man pages and completions. Checks that
//! need root and a built image are in [image](crate::image).

pub(crate) mod capabilities;
mod chart;
mod crd_schema;
pub(crate) mod document;
mod enums;
mod manifests;
pub(crate) mod manual;
mod references;
pub(crate) mod render;
mod rules;
mod schema;
pub(crate) mod smoke;
pub(crate) mod tools;
pub(crate) mod unit;

#[cfg(test)]
mod mutation_tests;

use anyhow::Result;
use dev_support::outcome::Outcome;
use dev_support::setup::{self, Purpose};

/// The step of `cargo xtask test`. It takes seconds, and needs no root once its tools are installed.
pub(crate) fn step() -> Result<Outcome> {
    if let Err(why) = setup::ensure(Purpose::Packaging) {
        return Ok(Outcome::Skipped(format!("{why:#}")));
    }
    check()?;
    Ok(Outcome::Passed)
}

/// Runs `cargo xtask packaging`: writes the generated files, then checks everything.
pub(crate) fn packaging() -> Result<()> {
    setup::ensure(Purpose::Packaging)?;
    rules::write()?;
    chart::write(&tools::tools()?)?;
    check()
}

fn check() -> Result<()> {
    unit::check()?;
    manual::check()?;
    manifests::check()?;
    chart::check(&tools::tools()?)
}
