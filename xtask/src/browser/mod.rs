//! `cargo xtask browser`: tests the agent's page in Chromium with real resets.
//!
//! The test is JavaScript (xtask/browser). It drives Chromium and asks the [`harness`] to make resets and to stop and start the
//! agent.

mod harness;
mod npm;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use dev_support::setup::{self, Purpose};
use dev_support::{cargo, paths};

/// Arguments of `cargo xtask browser`.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct BrowserArgs {
    /// Copy the screenshots to docs/
    #[arg(long)]
    update_pictures: bool,
    /// Make resets for this many minutes before the screenshots, to fill the charts
    #[arg(long, value_name = "MINUTES", default_value_t = 0)]
    minutes: u32,
}

/// File names of the screenshots.
const SCREENSHOTS: [&str; 3] = ["page-light.png", "page-dark.png", "page-phone.png"];

/// Runs `cargo xtask browser`.
pub(crate) fn browser(args: &BrowserArgs) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("loading eBPF and making network namespaces need root");
    }
    setup::ensure(Purpose::Lab)?;
    setup::ensure(Purpose::Browser)?;
    cargo::build_release()?;
    let folder = npm::install()?;
    npm::compare_vendored(&folder)?;
    let screenshots = folder.join("pictures");
    fs::create_dir_all(&screenshots)?;
    harness::Harness::start()?.run(test(&folder, &screenshots, args)?)?;
    if args.update_pictures {
        publish(&screenshots)?;
    }
    Ok(())
}

/// The command that runs the test.
fn test(folder: &Path, screenshots: &Path, args: &BrowserArgs) -> Result<Command> {
    let chromium = paths::program("chromium").context("no chromium in PATH")?;
    let mut node = Command::new("node");
    node.current_dir(folder).arg("main.js");
    node.arg(chromium).arg(screenshots).arg(args.minutes.to_string());
    Ok(node)
}

fn publish(screenshots: &Path) -> Result<()> {
    for name in SCREENSHOTS {
        let (new, docs) = (screenshots.join(name), paths::root().join("docs").join(name));
        ensure!(new.is_file(), "the test did not write {name}");
        fs::copy(&new, &docs).with_context(|| format!("docs/{name}"))?;
    }
    Ok(())
}
