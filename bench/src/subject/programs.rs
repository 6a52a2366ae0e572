//! The kernel's statistics of BPF programs, read with bpftool.

use std::fs;
use std::os::fd::OwnedFd;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use dev_support::command;
use serde::Deserialize;

use super::bpf::bpf;

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// One program.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Program {
    /// Its id in the kernel.
    pub(crate) id: u32,
    /// The first fifteen bytes of its name.
    #[serde(default)]
    pub(crate) name: String,
    /// Nanoseconds that it ran while statistics were on.
    #[serde(default)]
    pub(crate) run_time_ns: u64,
    /// Number of calls while statistics were on.
    #[serde(default)]
    pub(crate) run_cnt: u64,
}

/// All loaded programs.
pub(crate) fn all() -> Result<Vec<Program>> {
    let text = command::stdout(Command::new("bpftool").args(["prog", "show", "--json"]));
    serde_json::from_str(&text.context("bpftool prog show")?).context("what bpftool printed")
}

/// The programs with these ids.
pub(crate) fn of(ids: &[u32]) -> Result<Vec<Program>> {
    Ok(all()?.into_iter().filter(|program| ids.contains(&program.id)).collect())
}

/// Keeps the statistics on until dropped.
pub(crate) struct Statistics {
    _on: OwnedFd,
}

/// `BPF_ENABLE_STATS`, include/uapi/linux/bpf.h.
const ENABLE_STATS: libc::c_int = 32;
/// `BPF_STATS_RUN_TIME`, in the same file.
const RUN_TIME: u32 = 0;

impl Statistics {
    /// Turns them on for the lifetime of a descriptor. (The sysctl would outlive a bench that is killed.)
    pub(crate) fn on() -> Result<Self> {
        let on = bpf(ENABLE_STATS, &RUN_TIME).context("cannot turn on the statistics of BPF programs")?;
        Ok(Self { _on: on })
    }
}

/// Fails if statistics are on for the whole host: each call of a program then costs two clock readings more.
pub(crate) fn check_statistics_off() -> Result<()> {
    let switch = fs::read_to_string(SWITCH).context(SWITCH)?;
    ensure!(
        switch.trim() == "0",
        "statistics of BPF programs are on, which slows all programs down: sysctl kernel.bpf_stats_enabled=0"
    );
    Ok(())
}
