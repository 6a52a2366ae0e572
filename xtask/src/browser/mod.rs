//! `cargo xtask browser`: the agent's page in a real browser, over resets that are really made.
//!
//! The test itself is JavaScript (xtask/browser): it drives Chromium, and asks this side for resets and for the agent's
//! end and beginning.

mod npm;
mod stage;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use dev_support::setup::{self, Purpose};
use dev_support::{cargo, paths};

/// What `cargo xtask browser` accepts.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct BrowserArgs {
    /// Put the pictures that it takes into docs/
    #[arg(long)]
    update_pictures: bool,
    /// Before the pictures make resets for so many minutes, so that there is an hour to see
    #[arg(long, value_name = "MINUTES", default_value_t = 0)]
    minutes: u32,
}

/// The pictures, by name.
const PICTURES: [&str; 3] = ["page-light.png", "page-dark.png", "page-phone.png"];

/// Runs `cargo xtask browser`.
pub(crate) fn browser(args: &BrowserArgs) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("loading eBPF and making network namespaces need root");
    }
    setup::ensure(Purpose::Lab)?;
    setup::ensure(Purpose::Browser)?;
    cargo::build_release()?;
    let room = npm::install()?;
    npm::compare_vendored(&room)?;
    let pictures = room.join("pictures");
    fs::create_dir_all(&pictures)?;
    stage::Show::begin()?.run(test(&room, &pictures, args)?)?;
    if args.update_pictures {
        publish(&pictures)?;
    }
    Ok(())
}

/// The JavaScript side.
fn test(room: &Path, pictures: &Path, args: &BrowserArgs) -> Result<Command> {
    let chromium = paths::program("chromium").context("no chromium in PATH")?;
    let mut node = Command::new("node");
    node.current_dir(room).arg("main.js");
    node.arg(chromium).arg(pictures).arg(args.minutes.to_string());
    Ok(node)
}

fn publish(pictures: &Path) -> Result<()> {
    for name in PICTURES {
        let (new, docs) = (pictures.join(name), paths::root().join("docs").join(name));
        ensure!(new.is_file(), "the test took no picture {name}");
        fs::copy(&new, &docs).with_context(|| format!("docs/{name}"))?;
    }
    Ok(())
}
