//! What operators install by: manifests, the unit, man pages and completions. What takes root and an image's build is in
//! [image](crate::image).

mod chart;
pub(crate) mod document;
mod kinds;
pub(crate) mod live;
mod manifests;
pub(crate) mod manual;
mod references;
pub(crate) mod render;
pub(crate) mod rights;
mod rules;
mod shape;
pub(crate) mod tools;
pub(crate) mod unit;
mod words;

#[cfg(test)]
mod mutants;

use anyhow::Result;
use dev_support::outcome::Outcome;
use dev_support::setup::{self, Purpose};

/// The step: seconds, without root once its tools are there.
pub(crate) fn step() -> Result<Outcome> {
    if let Err(why) = setup::ensure(Purpose::Packaging) {
        return Ok(Outcome::Skipped(format!("{why:#}")));
    }
    check()?;
    Ok(Outcome::Passed)
}

/// Runs `cargo xtask packaging`: writes what is generated, then checks all.
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
