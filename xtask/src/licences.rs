//! Checks licences and sources of all dependencies with cargo-deny.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use dev_support::cargo::cargo;
use dev_support::outcome::Outcome;
use dev_support::{command, paths};

/// Version of cargo-deny to build if none is installed.
const VERSION: &str = "0.20.2";

/// The step of `cargo xtask test`.
pub(crate) fn licences() -> Result<Outcome> {
    let deny = match find() {
        Ok(deny) => deny,
        Err(why) => return Ok(Outcome::Skipped(format!("no cargo-deny: {why:#}"))),
    };
    for workspace in ["Cargo.toml", "rstwatch-ebpf/Cargo.toml", "fuzz/Cargo.toml"] {
        let mut command = Command::new(&deny);
        command
            .args(["--locked", "--config", "deny.toml", "--manifest-path", workspace])
            .args(["check", "licenses", "bans", "sources"])
            .current_dir(paths::root());
        command::run(&mut command)?;
    }
    Ok(Outcome::Passed)
}

/// Finds cargo-deny in PATH, else in the target folder; builds it there if it is missing.
fn find() -> Result<PathBuf> {
    if let Some(deny) = paths::program("cargo-deny") {
        return Ok(deny);
    }
    let home = paths::target().join(format!("tools/cargo-deny-{VERSION}"));
    let deny = home.join("bin/cargo-deny");
    if !deny.is_file() {
        println!("building cargo-deny {VERSION} (three minutes, once)");
        let mut install = cargo(&["install", "cargo-deny", "--locked", "--version", VERSION]);
        let scratch = tempfile::tempdir()?;
        install.arg("--root").arg(&home).arg("--target-dir").arg(scratch.path());
        command::run_quiet(&mut install)?;
    }
    Ok(deny)
}
