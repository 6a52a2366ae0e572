//! A container with systemd as PID 1 and an overlay over this machine's files. The package test installs packages and runs
//! services in it; no changes remain afterwards. It shares only the kernel with the machine.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use dev_support::cgroups;
use dev_support::command::die_with_parent;
use tempfile::TempDir;

use crate::packaging::smoke::wait_until;

/// Prepares the root and executes systemd.
const BOOT_SCRIPT: &str = include_str!("boot.sh");
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A running container.
pub(super) struct Container {
    unshare: Child,
    /// PID of its systemd.
    init: u32,
    cgroup: PathBuf,
    scratch: TempDir,
}

impl Container {
    pub(super) fn start() -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let script = scratch.path().join("boot.sh");
        fs::write(&script, BOOT_SCRIPT)?;
        let cgroup = cgroups::mounts("cgroup2")
            .first()
            .context("cgroup v2 is not mounted")?
            .join(format!("rstwatch-packaging-{}", std::process::id()));
        fs::create_dir(&cgroup).with_context(|| cgroup.display().to_string())?;
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--net", "--pid", "--cgroup", "--uts", "--ipc", "--propagation", "private"]);
        unshare.args(["--fork", "--kill-child", "sh"]).arg(&script).arg(scratch.path());
        // The root of a cgroup namespace is the cgroup of the process that creates it.
        let mut enter = Command::new("sh");
        enter.args(["-euc", "echo $$ > \"$0/cgroup.procs\"; exec \"$@\""]).arg(&cgroup).arg(unshare.get_program());
        enter.args(unshare.get_args()).stdin(Stdio::null()).stdout(Stdio::null());
        die_with_parent(enter.stderr(File::create(scratch.path().join("log"))?));
        let unshare = enter.spawn()?;
        let mut container = Self { unshare, init: 0, cgroup, scratch };
        let booted = container.wait_booted();
        booted.with_context(|| fs::read_to_string(container.scratch.path().join("log")).unwrap_or_default())?;
        Ok(container)
    }

    fn wait_booted(&mut self) -> Result<()> {
        let children = format!("/proc/{0}/task/{0}/children", self.unshare.id());
        wait_until("systemd", || {
            if let Some(status) = self.unshare.try_wait()? {
                bail!("systemd did not start: {status}");
            }
            let init = fs::read_to_string(&children)?.split_whitespace().next().and_then(|pid| pid.parse().ok());
            self.init = init.unwrap_or(0);
            let name = fs::read_to_string(format!("/proc/{}/comm", self.init)).unwrap_or_default();
            Ok(name.trim() == "systemd" && self.run(&["systemctl", "is-system-running"])?.status.success())
        })
    }

    /// Runs a command inside.
    fn run(&self, argv: &[&str]) -> Result<Output> {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["-t", &self.init.to_string(), "--all", "--root", "--wd=/"]).args(argv);
        nsenter.env_clear().env("PATH", "/usr/bin:/usr/sbin:/bin:/sbin").env("DEBIAN_FRONTEND", "noninteractive");
        Ok(nsenter.stdin(Stdio::null()).output()?)
    }

    /// The output of a command inside; an error with its whole output if it fails.
    pub(super) fn stdout(&self, argv: &[&str]) -> Result<String> {
        let done = self.run(argv)?;
        let text = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        ensure!(done.status.success(), "{argv:?}: {text}\n{}", String::from_utf8_lossy(&done.stderr).trim());
        Ok(text)
    }

    /// Whether a command succeeds inside.
    pub(super) fn succeeds(&self, argv: &[&str]) -> Result<bool> {
        Ok(self.run(argv)?.status.success())
    }

    /// The path of one of its files as seen from outside.
    pub(super) fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    /// Its network namespace.
    pub(super) fn network(&self) -> Result<File> {
        Ok(File::open(format!("/proc/{}/ns/net", self.init))?)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // --kill-child kills systemd with unshare, and the kernel kills the rest of the PID namespace with systemd.
        _ = self.unshare.kill();
        _ = self.unshare.wait();
        let started = std::time::Instant::now();
        while remove(&self.cgroup).is_err() && started.elapsed() < STOP_TIMEOUT {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Removes a cgroup and its descendants.
fn remove(cgroup: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(cgroup)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}
