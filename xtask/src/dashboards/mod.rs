//! The Grafana dashboards of deploy/grafana: generated, so that they stay of one piece; checked as files; and every query
//! of theirs asked of a Prometheus that scrapes a real agent.

mod capacity;
mod columns;
mod dashboard;
mod idle;
mod known;
mod live;
mod palette;
mod panel;
mod picture;
mod query;
mod resets;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use dev_support::outcome::Outcome;
use dev_support::setup::{self, Purpose};
use dev_support::{cargo, paths};

use dashboard::Dashboard;

/// Uids are part of links: they never change.
const RESETS: &str = "rstwatch-resets";
const IDLE: &str = "rstwatch-idle";
const CAPACITY: &str = "rstwatch-capacity";

/// All of them, by the name of their file.
fn all() -> Result<[(&'static str, Dashboard); 3]> {
    Ok([("resets", resets::dashboard()), ("idle", idle::dashboard()?), ("capacity", capacity::dashboard())])
}

/// What `cargo xtask dashboards` accepts.
#[derive(clap::Args, Debug)]
pub(crate) struct DashboardsArgs {
    /// Ask every query of a Prometheus that scrapes agents in the lab; needs root
    #[arg(long)]
    live: bool,
    /// The same for some minutes, then draw the results: docs/grafana-*.png
    #[arg(long)]
    update_pictures: bool,
}

/// Runs `cargo xtask dashboards`: writes the files.
pub(crate) fn dashboards(args: &DashboardsArgs) -> Result<()> {
    write()?;
    if args.update_pictures {
        setup::ensure(Purpose::Browser)?;
    }
    if args.live || args.update_pictures { try_out(args.update_pictures) } else { Ok(()) }
}

/// The step of `cargo xtask test`.
pub(crate) fn step() -> Result<Outcome> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Outcome::Skipped("not root".to_owned()));
    }
    try_out(false)?;
    Ok(Outcome::Passed)
}

fn try_out(pictures: bool) -> Result<()> {
    for purpose in [Purpose::Lab, Purpose::Formats] {
        setup::ensure(purpose)?;
    }
    cargo::build_release()?;
    live::live(&all()?, pictures)
}

fn write() -> Result<()> {
    for (name, dashboard) in all()? {
        let file = file(name);
        fs::write(&file, text(&dashboard)).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn text(dashboard: &Dashboard) -> String {
    format!("{:#}\n", dashboard.json())
}

fn file(name: &str) -> PathBuf {
    paths::root().join(format!("deploy/grafana/{name}.json"))
}
