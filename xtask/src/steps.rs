//! The steps of `cargo xtask test`. To add one, add it to [`STEPS`].

use anyhow::{Result, bail};
use clap::Parser as _;
use dev_support::cargo::{self, cargo};
use dev_support::outcome::Outcome;
use dev_support::setup::{self, Purpose};
use dev_support::{command, paths};

use crate::{Cli, Task, browser, dashboards, deb, ebpf, image, licences, packaging, rules, shared_build};

/// One step of `cargo xtask test`.
pub(crate) struct Step {
    /// The name that is printed before it runs.
    pub(crate) name: &'static str,
    /// Whether `--quick` includes it: it takes seconds, and needs neither root nor another toolchain.
    pub(crate) quick: bool,
    /// Runs the step.
    pub(crate) run: fn() -> Result<Outcome>,
}

/// The steps, in the order in which they run.
pub(crate) const STEPS: &[Step] = &[
    Step { name: "tools", quick: false, run: tools },
    Step { name: "format", quick: true, run: format },
    Step { name: "clippy", quick: true, run: clippy },
    Step { name: "tests", quick: true, run: unit_tests },
    Step { name: "documentation", quick: true, run: documentation },
    Step { name: "links", quick: true, run: crate::links::step },
    Step { name: "words", quick: true, run: crate::words::step },
    Step { name: "Prometheus rules", quick: true, run: rules::rules },
    Step { name: "packaging", quick: true, run: packaging::step },
    Step { name: "eBPF object", quick: false, run: ebpf::check },
    Step { name: "licences", quick: false, run: licences::licences },
    Step { name: "shared build", quick: false, run: shared_build::step },
    Step { name: "lab", quick: false, run: lab_rows },
    Step { name: "soak", quick: false, run: short_soak },
    Step { name: "page in a browser", quick: false, run: page_in_a_browser },
    Step { name: "dashboards", quick: false, run: dashboards::step },
    Step { name: "image", quick: false, run: image::step },
    Step { name: "Debian package", quick: false, run: deb::step },
    Step { name: "kernel VMs", quick: false, run: kernel_vms },
];

/// Installs missing tools. This comes first, because other steps are skipped without them.
fn tools() -> Result<Outcome> {
    if !is_root() {
        return Ok(Outcome::Skipped("not root: missing tools cannot be installed".to_owned()));
    }
    setup::ensure(Purpose::Lab)?;
    setup::ensure(Purpose::Formats)?;
    setup::ensure(Purpose::Browser)?;
    setup::ensure(Purpose::Packaging)?;
    setup::ensure(Purpose::Image)?;
    setup::ensure(Purpose::Debian)?;
    Ok(Outcome::Passed)
}

fn format() -> Result<Outcome> {
    command::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    // Workspaces of their own, which `--all` does not cover.
    for manifest in ["rstwatch-ebpf/Cargo.toml", "fuzz/Cargo.toml"] {
        command::run(&mut cargo(&["fmt", "--manifest-path", manifest, "--check"]))?;
    }
    Ok(Outcome::Passed)
}

fn clippy() -> Result<Outcome> {
    let args = ["clippy", "--workspace", "--all-targets", "--locked"];
    command::run(cargo(&args).args(["--", "-D", "warnings"]))?;
    Ok(Outcome::Passed)
}

/// Some of these tests load eBPF programs. Without root, those print that they are skipped.
fn unit_tests() -> Result<Outcome> {
    command::run(&mut cargo(&["test", "--workspace", "--locked"]))?;
    Ok(Outcome::Passed)
}

fn documentation() -> Result<Outcome> {
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Outcome::Passed)
}

fn lab_rows() -> Result<Outcome> {
    if !is_root() {
        return Ok(Outcome::Skipped("not root".to_owned()));
    }
    cargo::build_release()?;
    let rstwatch = paths::rstwatch();
    let args = ["xtask".as_ref(), "lab".as_ref(), "--rstwatch".as_ref(), rstwatch.as_os_str()];
    if let Task::Lab(args) = Cli::try_parse_from(args)?.task {
        lab::lab(&args)?;
    }
    Ok(Outcome::Passed)
}

/// A short soak; `cargo xtask bench` includes a long one.
fn short_soak() -> Result<Outcome> {
    if !is_root() {
        return Ok(Outcome::Skipped("not root".to_owned()));
    }
    match Cli::try_parse_from(["xtask", "soak", "--events", "400000"])?.task {
        Task::Soak(args) if bench::soak::soak(&args)? => Ok(Outcome::Passed),
        Task::Soak(_) => bail!("the soak failed: see the lines marked WRONG above"),
        _ => bail!("`xtask soak` was parsed as another command"),
    }
}

fn page_in_a_browser() -> Result<Outcome> {
    if !is_root() {
        return Ok(Outcome::Skipped("not root".to_owned()));
    }
    browser::browser(&browser::BrowserArgs::default())?;
    Ok(Outcome::Passed)
}

/// Runs the lab on other kernels, in VMs.
fn kernel_vms() -> Result<Outcome> {
    if !is_root() {
        return Ok(Outcome::Skipped("not root".to_owned()));
    }
    cargo::build_release()?;
    let rstwatch = paths::rstwatch();
    let args = ["xtask".as_ref(), "vm".as_ref(), "--rstwatch".as_ref(), rstwatch.as_os_str()];
    match Cli::try_parse_from(args)?.task {
        Task::Vm(args) => lab_vm::step(&args),
        _ => bail!("`xtask vm` was parsed as another command"),
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
