//! Generates the Grafana dashboards of deploy/grafana, checks the files, and runs every query on a Prometheus that scrapes real
//! agents.

mod capacity;
mod dashboard;
mod folding;
mod idle;
mod known_timeouts;
mod links;
mod live;
mod overrides;
mod palette;
mod panel;
mod panel_query;
mod picture;
mod query;
mod resets;
mod table;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use dev_support::outcome::Outcome;
use dev_support::setup::{self, Purpose};
use dev_support::{cargo, paths};

use dashboard::Dashboard;

/// Every dashboard with the name of its file.
fn all() -> Result<[(&'static str, Dashboard); 3]> {
    Ok([("resets", resets::dashboard()), ("idle", idle::dashboard()?), ("capacity", capacity::dashboard())])
}

/// Arguments of `cargo xtask dashboards`.
#[derive(clap::Args, Debug)]
pub(crate) struct DashboardsArgs {
    /// Run every query on a Prometheus that scrapes agents in the lab; needs root
    #[arg(long)]
    live: bool,
    /// Also render the results to docs/grafana-*.png; takes four minutes
    #[arg(long)]
    update_pictures: bool,
}

/// Runs `cargo xtask dashboards`.
pub(crate) fn dashboards(args: &DashboardsArgs) -> Result<()> {
    write()?;
    if args.update_pictures {
        setup::ensure(Purpose::Browser)?;
    }
    if args.live || args.update_pictures { run_queries(args.update_pictures) } else { Ok(()) }
}

/// The step of `cargo xtask test`.
pub(crate) fn step() -> Result<Outcome> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Outcome::Skipped("not root".to_owned()));
    }
    run_queries(false)?;
    Ok(Outcome::Passed)
}

fn run_queries(pictures: bool) -> Result<()> {
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
