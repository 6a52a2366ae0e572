//! `rstwatch agent` as a child process that never outlives this one.

use std::ffi::OsString;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{command, paths, signals};

/// Interval between checks of the child and of pending signals.
const TICK: Duration = Duration::from_millis(50);
/// How long the agent may take to attach its probes.
const READY: Duration = Duration::from_secs(30);
/// How long the agent may take to end before it is killed.
const END: Duration = Duration::from_secs(5);

/// A running `rstwatch agent`.
pub struct Agent(Child);

impl Agent {
    /// Starts the release build.
    pub fn start(args: &[OsString]) -> Result<Self> {
        let mut agent = Command::new(paths::rstwatch());
        agent.arg("agent").args(args);
        command::die_with_parent(&mut agent);
        Ok(Self(agent.spawn().context("cannot start rstwatch")?))
    }

    /// Waits until `/readyz` succeeds. Returns false if a signal came first.
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

    /// Waits for the agent to end, and passes signals on to it.
    pub fn serve(mut self) -> Result<()> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return judge(status);
            }
            self.pass_on_signal()?;
            thread::sleep(TICK);
        }
    }

    /// Sends SIGTERM and waits for the agent to end.
    pub fn end(mut self) -> Result<()> {
        judge(self.stop()?)
    }

    /// Passes a pending signal on to the agent. Returns whether there was one.
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
        let requested = Instant::now();
        while requested.elapsed() < END {
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

fn judge(status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("rstwatch failed ({status}): see its output above");
    }
    Ok(())
}

fn ready(url: &str) -> bool {
    // Loopback is never reached through a proxy.
    let config = ureq::Agent::config_builder().proxy(None).timeout_global(Some(Duration::from_secs(1))).build();
    let client = ureq::Agent::new_with_config(config);
    client.get(format!("{url}/readyz")).call().is_ok()
}
