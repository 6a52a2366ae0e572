//! `cargo xtask vm`: boots Debian's kernels under qemu, and runs the lab inside each.
//!
//! - Kernels come from the archive's current index (`archive`).
//! - The initramfs holds this machine's own programs and the kernel's modules. Its `/init` is a copy of the running program
//!   (`guest`).
//! - The host waits for the VM to power off (`machine`) and reads the files that it sent (`guest::transfer`).

mod archive;
mod guest;
mod lock;
mod machine;
mod run;

use std::path::PathBuf;

use anyhow::Result;
use dev_support::outcome::Outcome;

pub use guest::init::run_if_requested as run_init_if_requested;

/// What `cargo xtask vm` accepts.
#[derive(clap::Args, Debug)]
pub struct VmArgs {
    /// Series of kernels, the newest of each: "6.12", or "7" for the newest 7.x
    #[arg(value_name = "KERNEL", default_values = ["5.10", "6.1", "6.12", "6.18", "7"], value_parser = run::series)]
    kernels: Vec<String>,
    /// Number of VMs that run at the same time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Seconds after which a VM is killed
    #[arg(long, value_name = "SECONDS", default_value_t = 1200)]
    timeout: u64,
    /// The rstwatch to test; a relative path starts at the workspace's root
    #[arg(long, value_name = "PATH", default_value = "target/release/rstwatch")]
    rstwatch: PathBuf,
    /// Run this shell command instead of the lab, and print its output
    #[arg(long, value_name = "COMMAND", conflicts_with = "lab")]
    shell_command: Option<String>,
    /// Arguments for `cargo xtask lab` in the VM
    #[arg(last = true, value_name = "LAB ARGUMENTS")]
    lab: Vec<String>,
}

/// Runs all VMs. Returns whether at least one passed and none failed.
pub fn vm(args: &VmArgs) -> Result<bool> {
    Ok(run::run(args)?.good())
}

/// The step of `cargo xtask test`. It is skipped, not passed, if kernels could not be fetched or cannot be booted here.
pub fn step(args: &VmArgs) -> Result<Outcome> {
    if let Err(why) = run::check_host() {
        return Ok(Outcome::Skipped(why.to_string()));
    }
    run::run(args)?.outcome()
}
