//! The steps of `cargo xtask test`. To add one, add it to the table.

use anyhow::{Context as _, Result};
use clap::Parser as _;

use crate::cargo::{self, cargo};
use crate::outcome::Outcome;
use crate::setup::{self, Purpose};
use crate::{Cli, Task, command, ebpf, lab, licences, paths};

/// A step.
pub(crate) struct Step {
    /// What its header says.
    pub(crate) name: &'static str,
    /// Needs neither root nor another toolchain, and takes seconds.
    pub(crate) quick: bool,
    /// Makes it.
    pub(crate) run: fn() -> Result<Outcome>,
}

/// In the order of their making.
pub(crate) const STEPS: [Step; 8] = [
    Step { name: "format", quick: true, run: format },
    Step { name: "clippy", quick: true, run: clippy },
    Step { name: "unit tests", quick: true, run: unit_tests },
    Step { name: "documentation", quick: true, run: documentation },
    Step { name: "eBPF object", quick: false, run: ebpf::check },
    Step { name: "licences", quick: false, run: licences::licences },
    Step { name: "tests as root", quick: false, run: root_tests },
    Step { name: "lab", quick: false, run: lab_rows },
];

fn format() -> Result<Outcome> {
    command::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    // A workspace of its own, and no member of this one.
    let kernel = ["fmt", "--manifest-path", "rstwatch-ebpf/Cargo.toml", "--check"];
    command::run(&mut cargo(&kernel))?;
    Ok(Outcome::Passed)
}

fn clippy() -> Result<Outcome> {
    let what = ["clippy", "--workspace", "--all-targets", "--locked"];
    command::run(cargo(&what).args(["--", "-D", "warnings"]))?;
    Ok(Outcome::Passed)
}

fn unit_tests() -> Result<Outcome> {
    command::run(&mut cargo(&["test", "--workspace", "--locked"]))?;
    Ok(Outcome::Passed)
}

fn documentation() -> Result<Outcome> {
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Outcome::Passed)
}

/// Tests that need root are marked `#[ignore]`, so that `cargo test` passes without.
fn root_tests() -> Result<Outcome> {
    let ignored = || cargo(&["test", "--workspace", "--locked", "--quiet", "--", "--ignored"]);
    let list = command::stdout(ignored().arg("--list")).context("cannot list the tests")?;
    if !list.lines().any(|line| line.ends_with(": test")) {
        return Ok(Outcome::Skipped("no test asks for root".to_owned()));
    }
    if !is_root() {
        return Ok(Outcome::Skipped("not root".to_owned()));
    }
    command::run(&mut ignored())?;
    Ok(Outcome::Passed)
}

fn lab_rows() -> Result<Outcome> {
    if !is_root() {
        return Ok(Outcome::Skipped("not root".to_owned()));
    }
    setup::ensure(Purpose::Lab)?;
    setup::ensure(Purpose::Formats)?;
    cargo::build_release()?;
    let rstwatch = paths::rstwatch();
    let words = ["xtask".as_ref(), "lab".as_ref(), "--rstwatch".as_ref(), rstwatch.as_os_str()];
    if let Task::Lab(args) = Cli::try_parse_from(words)?.task {
        lab::lab(&args)?;
    }
    Ok(Outcome::Passed)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
