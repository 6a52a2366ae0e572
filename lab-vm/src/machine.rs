//! One run of a VM, in qemu without KVM: needs no virtualization, and boots in seconds.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, set_parent_process_death_signal};

use crate::guest::init;
use crate::guest::transfer::{self, Transfer};

/// The log of the command's output.
pub(super) const OUTPUT: &str = "output.log";

pub(super) const QEMU: &str = "qemu-system-x86_64";

/// A panic or an oops ends the VM: results after it would prove nothing.
const KERNEL_ARGS: &str = "console=ttyS0 quiet panic=-1 oops=panic rdinit=/init";
/// Without five-level page tables, which slow the emulation down.
const MACHINE_ARGS: [&str; 17] = [
    "-nodefaults",
    "-no-user-config",
    "-no-reboot",
    "-display",
    "none",
    "-M",
    "q35",
    "-accel",
    "tcg,thread=multi",
    "-cpu",
    "max,la57=off",
    "-smp",
    "2",
    "-m",
    "2048",
    "-monitor",
    "none",
];

/// A VM to run.
pub(super) struct Machine<'a> {
    pub(super) image: &'a Path,
    pub(super) initrd: &'a Path,
    /// The folder for its logs.
    pub(super) home: &'a Path,
    pub(super) limit: Duration,
}

impl Machine<'_> {
    /// The log of the kernel and of the first process.
    pub(super) fn console(&self) -> PathBuf {
        self.home.join("console.log")
    }

    /// The log of the command's output.
    pub(super) fn output(&self) -> PathBuf {
        self.home.join(OUTPUT)
    }

    fn transfer(&self) -> PathBuf {
        self.home.join("transfer")
    }

    /// Boots the VM and waits until it powers off.
    pub(super) fn run(&self) -> Result<Transfer> {
        let mut qemu = self.start()?;
        let ended = end_within(&mut qemu, self.limit)?;
        let transfer = transfer::read(&fs::read(self.transfer())?)?;
        fs::remove_file(self.transfer())?;
        if transfer.exit.is_none() {
            bail!("{} (see {})", self.why(ended), self.console().display());
        }
        Ok(transfer)
    }

    fn start(&self) -> Result<Child> {
        let log = File::create(self.home.join("qemu.log"))?;
        let mut qemu = Command::new(QEMU);
        qemu.args(MACHINE_ARGS).arg("-kernel").arg(self.image).arg("-initrd").arg(self.initrd);
        qemu.arg("-append").arg(format!("{KERNEL_ARGS} {}", init::REQUEST));
        for port in [self.console(), self.output(), self.transfer()] {
            File::create(&port)?;
            qemu.arg("-serial").arg(format!("file:{}", port.display()));
        }
        qemu.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // The signal comes when this thread ends, which waits for the VM in `run`.
        // SAFETY: between fork and exec this makes one system call, and neither allocates nor locks.
        unsafe { qemu.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
        qemu.spawn().with_context(|| format!("cannot run {QEMU}"))
    }

    /// Why there is no exit code, in one line.
    fn why(&self, ended: Option<ExitStatus>) -> String {
        let console = read(&self.console());
        let line_with =
            |mark: &str| console.lines().rfind(|line| line.contains(mark)).map(|line| line.trim().to_owned());
        if let Some(panic) = line_with("Kernel panic") {
            return panic;
        }
        if let Some(error) = line_with(init::ERROR) {
            return error;
        }
        match ended {
            None => {
                let said = read(&self.output());
                let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing");
                format!("no end within {} s; last output: {last}", self.limit.as_secs())
            }
            Some(status) if status.success() => "the VM powered off before the command had ended".to_owned(),
            Some(status) => format!("{QEMU}: {status}: {}", read(&self.home.join("qemu.log")).trim()),
        }
    }
}

fn read(log: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
}

/// Waits for a child to end; kills it at the limit and returns `None`.
fn end_within(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let handle = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let ready = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&Timespec::try_from(limit)?))?;
    if ready == 0 {
        child.kill()?;
        child.wait()?;
        return Ok(None);
    }
    Ok(Some(child.wait()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_only_a_child_that_hangs() {
        let mut hangs = Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(end_within(&mut hangs, Duration::from_millis(50)).unwrap(), None);
        let mut ends = Command::new("true").spawn().unwrap();
        assert!(end_within(&mut ends, Duration::from_secs(30)).unwrap().unwrap().success());
    }

    #[test]
    fn a_panic_is_reported_before_everything_else() {
        let home = tempfile::tempdir().unwrap();
        let none = Path::new("");
        let machine = Machine { image: none, initrd: none, home: home.path(), limit: Duration::from_secs(7) };
        assert!(machine.why(None).contains("within 7 s"));
        fs::write(machine.console(), "[ 1.0] Kernel panic - not syncing: VFS\r\nmore\n").unwrap();
        assert_eq!(machine.why(None), "[ 1.0] Kernel panic - not syncing: VFS");
    }
}
