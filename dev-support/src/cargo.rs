//! The Cargo that started us, in the workspace.

use std::env;
use std::process::Command;

use anyhow::Result;

use crate::{command, paths};

/// A Cargo command.
pub fn cargo(args: &[&str]) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(args).current_dir(paths::root());
    cargo
}

/// Builds the daemon as users run it.
pub fn build_release() -> Result<()> {
    command::run(&mut cargo(&["build", "--release", "--locked", "--package", "rstwatch"]))
}
