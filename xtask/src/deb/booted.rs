//! This machine's files, with an own layer for what is changed, and an own systemd as the first process: packages are
//! installed and services run in it for real, and nothing stays. What it shares with the machine is the kernel.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use dev_support::cgroups;
use dev_support::command::end_with_parent;
use tempfile::TempDir;

use crate::packaging::live::until;

/// The last thing that it says is what systemd cannot do.
const BOOT: &str = include_str!("boot.sh");
const STOPS: Duration = Duration::from_secs(5);

/// A running systemd with its files.
pub(super) struct Booted {
    unshare: Child,
    first: u32,
    cgroup: PathBuf,
    room: TempDir,
}

impl Booted {
    pub(super) fn start() -> Result<Self> {
        let room = tempfile::tempdir()?;
        let script = room.path().join("boot.sh");
        fs::write(&script, BOOT)?;
        let cgroup = cgroups::mounts("cgroup2")
            .first()
            .context("cgroup v2 is not mounted")?
            .join(format!("rstwatch-packaging-{}", std::process::id()));
        fs::create_dir(&cgroup).with_context(|| cgroup.display().to_string())?;
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--net", "--pid", "--cgroup", "--uts", "--ipc", "--propagation", "private"]);
        unshare.args(["--fork", "--kill-child", "sh"]).arg(&script).arg(room.path());
        // A cgroup namespace begins where its first process is.
        let mut enter = Command::new("sh");
        enter.args(["-euc", "echo $$ > \"$0/cgroup.procs\"; exec \"$@\""]).arg(&cgroup).arg(unshare.get_program());
        enter.args(unshare.get_args()).stdin(Stdio::null()).stdout(Stdio::null());
        end_with_parent(enter.stderr(File::create(room.path().join("log"))?));
        let unshare = enter.spawn()?;
        let mut booted = Self { unshare, first: 0, cgroup, room };
        let up = booted.wait();
        up.with_context(|| fs::read_to_string(booted.room.path().join("log")).unwrap_or_default())?;
        Ok(booted)
    }

    fn wait(&mut self) -> Result<()> {
        let children = format!("/proc/{0}/task/{0}/children", self.unshare.id());
        until("systemd", || {
            if let Some(status) = self.unshare.try_wait()? {
                bail!("it did not start: {status}");
            }
            let first = fs::read_to_string(&children)?.split_whitespace().next().and_then(|pid| pid.parse().ok());
            self.first = first.unwrap_or(0);
            let name = fs::read_to_string(format!("/proc/{}/comm", self.first)).unwrap_or_default();
            Ok(name.trim() == "systemd" && self.run(&["systemctl", "is-system-running"])?.status.success())
        })
    }

    /// A command inside.
    fn run(&self, words: &[&str]) -> Result<Output> {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["-t", &self.first.to_string(), "--all", "--root", "--wd=/"]).args(words);
        nsenter.env_clear().env("PATH", "/usr/bin:/usr/sbin:/bin:/sbin").env("DEBIAN_FRONTEND", "noninteractive");
        Ok(nsenter.stdin(Stdio::null()).output()?)
    }

    /// What a command prints inside; an error with all its words if it fails.
    pub(super) fn tool(&self, words: &[&str]) -> Result<String> {
        let done = self.run(words)?;
        let text = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        ensure!(done.status.success(), "{words:?}: {text}\n{}", String::from_utf8_lossy(&done.stderr).trim());
        Ok(text)
    }

    /// Whether a command succeeds inside.
    pub(super) fn is(&self, words: &[&str]) -> Result<bool> {
        Ok(self.run(words)?.status.success())
    }

    /// Where one of its files is seen from outside.
    pub(super) fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.first))
    }

    /// Its network.
    pub(super) fn network(&self) -> Result<File> {
        Ok(File::open(format!("/proc/{}/ns/net", self.first))?)
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        // The first process goes with it, and all the others with that.
        _ = self.unshare.kill();
        _ = self.unshare.wait();
        let started = std::time::Instant::now();
        while remove(&self.cgroup).is_err() && started.elapsed() < STOPS {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Removes a cgroup with those below it.
fn remove(cgroup: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(cgroup)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}
