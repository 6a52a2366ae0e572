//! A memory-limited cgroup in which only the agent runs.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use dev_support::cgroups;

const NAME: &str = "rstwatch-bench";
/// Files of version 2, and of version 1: the limit, the memory in use, the number of processes that were killed.
const FILES: [[&str; 3]; 2] = [
    ["memory.max", "memory.current", "memory.events"],
    ["memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control"],
];

/// The cgroup, removed when dropped.
pub(crate) struct MemoryCgroup {
    path: PathBuf,
    usage: &'static str,
    kills: &'static str,
}

impl MemoryCgroup {
    /// Creates it with a limit in bytes, in the hierarchy that has the memory controller.
    pub(crate) fn with_limit(bytes: u64) -> Result<Self> {
        let roots = cgroups::root().into_iter().chain(cgroups::mounts("cgroup"));
        for path in roots.map(|root| root.join(NAME)) {
            for [limit, usage, kills] in FILES {
                // One that an earlier run left behind is as good.
                if !path.is_dir() && fs::create_dir(&path).is_err() {
                    continue;
                }
                let cgroup = Self { path: path.clone(), usage, kills };
                let file = path.join(limit);
                if file.is_file() && fs::write(file, bytes.to_string()).is_ok() {
                    return Ok(cgroup);
                }
            }
        }
        anyhow::bail!("no cgroup of the memory controller can be made below the root: run outside of a container")
    }

    /// Makes the command's process enter the cgroup before it becomes its program.
    pub(crate) fn enter(&self, command: &mut Command) -> Result<()> {
        let path = self.path.join("cgroup.procs");
        let procs: File = OpenOptions::new().write(true).open(&path).with_context(|| path.display().to_string())?;
        // SAFETY: write(2) is async-signal-safe, and the descriptor was opened before.
        unsafe {
            command.pre_exec(move || Ok(rustix::io::write(&procs, b"0").map(drop)?));
        }
        Ok(())
    }

    /// Memory in use, in KiB: of processes, and of the kernel for them.
    pub(crate) fn usage_kib(&self) -> Result<u64> {
        Ok(self.read(self.usage)?.trim().parse::<u64>().context("the cgroup's memory in use")? / 1024)
    }

    /// Number of processes that the kernel has killed because of the limit.
    pub(crate) fn kills(&self) -> Result<u64> {
        let text = self.read(self.kills)?;
        let number = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        number.and_then(|number| number.parse().ok()).with_context(|| format!("no oom_kill in {}", self.kills))
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = self.path.join(file);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        // Busy until the kernel has released the last process.
        for _ in 0..50 {
            if fs::remove_dir(&self.path).is_ok() || !self.path.exists() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        eprintln!("warning: {} stays", self.path.display());
    }
}
