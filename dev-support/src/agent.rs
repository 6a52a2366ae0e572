//! The agent as a child that never outlives us.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::{paths, signals};

/// How often the child and the signals are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long attaching its probes may take it.
const READY: Duration = Duration::from_secs(30);
/// How long it may take to end before it is killed.
const END: Duration = Duration::from_secs(5);

/// A running `rstwatch agent`.
pub struct Agent(Child);

impl Agent {
    /// Starts the release build.
    pub fn start(args: &[OsString]) -> Result<Self> {
        let mut command = Command::new(paths::rstwatch());
        command.arg("agent").args(args);
        tie(&mut command);
        Ok(Self(command.spawn().context("cannot start rstwatch")?))
    }

    /// Waits until `/readyz` says yes. False when a signal ended the waiting.
    pub fn wait_ready(&mut self, url: &str) -> Result<bool> {
        let started = Instant::now();
        while !ready(url) {
            if self.pass_on_signal()? {
                return Ok(false);
            }
            if let Some(status) = self.0.try_wait()? {
                bail!("rstwatch ended before it was ready ({status}): see its output above");
            }
            if started.elapsed() > READY {
                let seconds = READY.as_secs();
                bail!("{url}/readyz did not say ready for {seconds} s: see `rstwatch check`");
            }
            thread::sleep(TICK);
        }
        Ok(true)
    }

    /// Waits until it ends, and passes signals on.
    pub fn serve(mut self) -> Result<()> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return judge(status);
            }
            self.pass_on_signal()?;
            thread::sleep(TICK);
        }
    }

    /// Asks it to end and waits for that.
    pub fn end(mut self) -> Result<()> {
        judge(self.stop()?)
    }

    /// Passes a signal on that came; says whether one did.
    pub fn pass_on_signal(&self) -> Result<bool> {
        let Some(signal) = signals::take() else {
            return Ok(false);
        };
        kill_process(Pid::from_child(&self.0), signal).context("cannot signal rstwatch")?;
        Ok(true)
    }

    fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.0.try_wait()? {
            return Ok(status);
        }
        kill_process(Pid::from_child(&self.0), Signal::TERM)?;
        let asked = Instant::now();
        while asked.elapsed() < END {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            thread::sleep(TICK);
        }
        self.0.kill()?;
        Ok(self.0.wait()?)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("warning: rstwatch may still run: {error:#}");
        }
    }
}

/// A command whose process gets signals through us alone, and ends when we do.
pub fn tie(command: &mut Command) {
    // Its own process group: Ctrl-C then reaches it once, through us.
    command.process_group(0);
    // SAFETY: prctl(2) is async-signal-safe, and the closure touches no memory of ours.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
    }
}

fn judge(status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("rstwatch failed ({status}): see its output above");
    }
    Ok(())
}

fn ready(url: &str) -> bool {
    // No proxy stands between us and our own machine.
    let config = ureq::Agent::config_builder().proxy(None).timeout_global(Some(Duration::from_secs(1))).build();
    let client = ureq::Agent::new_with_config(config);
    client.get(format!("{url}/readyz")).call().is_ok()
}
