//! The kernel's own statistics of BPF programs, as bpftool tells them.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::command;

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// One program.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Program {
    /// Its number.
    pub(crate) id: u32,
    /// The first fifteen bytes of its name.
    #[serde(default)]
    pub(crate) name: String,
    /// Nanoseconds that it ran while statistics were on.
    #[serde(default)]
    pub(crate) run_time_ns: u64,
    /// How often.
    #[serde(default)]
    pub(crate) run_cnt: u64,
}

/// All programs of this machine.
pub(crate) fn all() -> Result<Vec<Program>> {
    let text = command::stdout(Command::new("bpftool").args(["prog", "show", "--json"]));
    serde_json::from_str(&text.context("bpftool prog show")?).context("what bpftool printed")
}

/// Those with these numbers.
pub(crate) fn of(ids: &[u32]) -> Result<Vec<Program>> {
    Ok(all()?.into_iter().filter(|program| ids.contains(&program.id)).collect())
}

/// Statistics are on until this goes.
pub(crate) struct Statistics(String);

impl Statistics {
    /// Turns them on.
    pub(crate) fn on() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).context("kernel.bpf_stats_enabled")?;
        fs::write(SWITCH, "1").context("kernel.bpf_stats_enabled=1")?;
        Ok(Self(before))
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = fs::write(SWITCH, &self.0) {
            eprintln!("warning: kernel.bpf_stats_enabled stays on: {error}");
        }
    }
}
