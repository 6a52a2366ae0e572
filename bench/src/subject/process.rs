//! CPU time, memory and descriptors of a process, from /proc.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// CPU time that a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// In its own code.
    pub(crate) user: Duration,
    /// In the kernel on its behalf.
    pub(crate) system: Duration,
}

impl Cpu {
    /// The sum of both.
    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }

    /// The time since an earlier reading.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { user: self.user.saturating_sub(earlier.user), system: self.system.saturating_sub(earlier.system) }
    }
}

/// CPU time of all threads of a process, ended ones included.
pub(crate) fn cpu(pid: u32) -> Result<Cpu> {
    let stat = read(pid, "stat")?;
    let (_, fields) = stat.rsplit_once(") ").context("cannot parse /proc/PID/stat")?;
    let mut ticks = fields.split(' ').skip(11).map(str::parse::<u64>);
    let mut next = || ticks.next().and_then(Result::ok).context("cannot parse /proc/PID/stat");
    Ok(Cpu { user: of_ticks(next()?), system: of_ticks(next()?) })
}

fn of_ticks(ticks: u64) -> Duration {
    Duration::from_nanos(ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1))
}

/// Resident memory of a process, in KiB.
pub(crate) fn rss_kib(pid: u32) -> Result<u64> {
    let status = read(pid, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).context("no VmRSS in /proc/PID/status")
}

/// Number of open descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(of(pid, "fd"))?.count())
}

/// Ids of the BPF programs that a process holds.
pub(crate) fn bpf_programs(pid: u32) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(of(pid, "fdinfo"))?.flatten() {
        // A descriptor may have been closed meanwhile. The fdinfo of a link has its program's id too.
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        let id = info.lines().find_map(|line| line.strip_prefix("prog_id:"));
        ids.extend(id.and_then(|id| id.trim().parse::<u32>().ok()));
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

fn of(pid: u32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = of(pid, file);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}
