//! `cargo xtask vm`: boots Debian's kernels under qemu, and runs the lab inside each.
//!
//! - Kernels come from the archive's current index: `mirror`, `apt`, `index`, `kernel`.
//! - The initramfs holds this machine's own programs and the kernel's modules: `rootfs`, `modules`, `cpio`. Its `/init` is a
//!   copy of the running program (`init`).
//! - The host waits for the VM to power off (`machine`) and reads the files that it sent (`frames`).

mod apt;
mod cpio;
mod frames;
mod index;
mod init;
mod kernel;
mod lock;
mod machine;
mod mirror;
mod modules;
mod rootfs;
mod run;
mod version;

use std::path::PathBuf;

use anyhow::Result;
use dev_support::outcome::Outcome;

pub use init::init_if_asked;

/// What `cargo xtask vm` accepts.
#[derive(clap::Args, Debug)]
pub struct VmArgs {
    /// Lines of kernels, the newest of each: "6.12", or "7" for the newest 7.x
    #[arg(value_name = "KERNEL", default_values = ["5.10", "6.1", "6.12", "6.18", "7"], value_parser = run::line)]
    kernels: Vec<String>,
    /// How many VMs run at a time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// After how many seconds a VM is ended
    #[arg(long, value_name = "SECONDS", default_value_t = 1200)]
    timeout: u64,
    /// The rstwatch to take along; a relative path starts at the workspace's root
    #[arg(long, value_name = "PATH", default_value = "target/release/rstwatch")]
    rstwatch: PathBuf,
    /// Run this instead of the lab, and print what it says
    #[arg(long, value_name = "COMMAND", conflicts_with = "lab")]
    shell_command: Option<String>,
    /// Arguments for `cargo xtask lab` inside
    #[arg(last = true, value_name = "LAB ARGUMENTS")]
    lab: Vec<String>,
}

/// Runs them all; says whether some passed and none failed.
pub fn vm(args: &VmArgs) -> Result<bool> {
    Ok(run::run(args)?.good())
}

/// As a step of `cargo xtask test`: what could not be had is not passed.
pub fn step(args: &VmArgs) -> Result<Outcome> {
    if let Err(why) = run::possible() {
        return Ok(Outcome::Skipped(why.to_string()));
    }
    run::run(args)?.outcome()
}
