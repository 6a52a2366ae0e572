//! Cleans up however the lab ends. A helper process in its own process group reads from a pipe what to clean, and acts when the
//! pipe closes: after a normal end, Ctrl-C, SIGKILL or a crash. So no signal handler is needed, and all ends take one path.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::network::ns;
use crate::wait;

/// The lab's end of the pipe.
pub(crate) struct Cleanup {
    helper: Child,
    orders: RefCell<Option<ChildStdin>>,
}

impl Cleanup {
    /// Starts the helper, which runs [`serve`].
    pub(crate) fn start(mut helper: Command) -> Result<Self> {
        let mut helper =
            helper.stdin(Stdio::piped()).process_group(0).spawn().context("cannot start the cleanup helper")?;
        let orders = RefCell::new(helper.stdin.take());
        Ok(Self { helper, orders })
    }

    pub(crate) fn namespace(&self, name: &str) -> Result<()> {
        self.order(&format!("netns {name}"))
    }

    /// A process that must not outlive the lab. Its start time distinguishes it from a later process with the same id.
    pub(crate) fn process(&self, pid: u32) -> Result<()> {
        let start = start_time(pid).unwrap_or_default();
        self.order(&format!("pid {pid} {start}"))
    }

    /// A directory that must not outlive the lab.
    pub(crate) fn directory(&self, path: &Path) -> Result<()> {
        self.order(&format!("dir {}", path.display()))
    }

    /// A cgroup that must not outlive the lab. Parents are registered first.
    pub(crate) fn cgroup(&self, path: &Path) -> Result<()> {
        self.order(&format!("cgroup {}", path.display()))
    }

    fn order(&self, line: &str) -> Result<()> {
        let mut orders = self.orders.borrow_mut();
        let pipe = orders.as_mut().context("the cleanup helper has ended")?;
        writeln!(pipe, "{line}").context("cannot write to the cleanup helper")
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        self.orders.borrow_mut().take();
        // It prints its own errors.
        let _ = self.helper.wait();
    }
}

/// Runs the cleanup helper: reads until the lab has ended, then cleans up.
pub(crate) fn serve() -> Result<()> {
    let mut orders = String::new();
    std::io::stdin().read_to_string(&mut orders)?;
    for line in orders.lines() {
        if let ["pid", pid, start] = words(line).as_slice() {
            end_process(pid, start);
        }
    }
    for path in orders.lines().filter_map(|line| line.strip_prefix("dir ")) {
        // Gone already, unless the lab was killed.
        let _ = std::fs::remove_dir_all(path);
    }
    for path in orders.lines().rev().filter_map(|line| line.strip_prefix("cgroup ")) {
        // Gone already, unless the lab was killed.
        let gone = || Ok(std::fs::remove_dir(path).is_ok() || !Path::new(path).exists());
        let _ = wait::until_true("an empty cgroup", Duration::from_secs(1), gone);
    }
    for line in orders.lines() {
        if let ["netns", name] = words(line).as_slice() {
            let done = ns::run(Command::new("ip").args(["netns", "delete", name]));
            if let Err(why) = done {
                eprintln!("namespace {name} is left over: {why}");
            }
        }
    }
    Ok(())
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn end_process(pid: &str, start: &str) {
    let Ok(number) = pid.parse::<u32>() else {
        return;
    };
    let Some(target) = i32::try_from(number).ok().and_then(Pid::from_raw) else {
        return;
    };
    let alive = || start_time(number).is_some_and(|now| now == start);
    for (signal, timeout) in [(Signal::TERM, 2), (Signal::KILL, 1)] {
        if !alive() {
            return;
        }
        // Fails only if the process has just ended.
        let _ = kill_process(target, signal);
        let gone = || Ok(!alive());
        let _ = wait::until_true("its end", Duration::from_secs(timeout), gone);
    }
}

/// Field 22 of `/proc/PID/stat`; a zombie counts as gone.
fn start_time(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    let fields = words(after_name);
    (fields.first() != Some(&"Z")).then(|| fields.get(19).map(ToString::to_string))?
}
