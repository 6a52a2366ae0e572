//! Real programs in namespaces, each with a folder of its own.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::network::host::Host;
use crate::network::net::Net;
use crate::network::peer::Process;
use crate::network::procnet::{State, states};
use crate::wait::{SOON, until_true};

/// Within this time every program listens, databases on a busy machine included.
const START: Duration = Duration::from_secs(20);
const LOG: &str = "lab.log";

/// A folder for a program's configuration and data, removed when dropped or, at the latest, with the lab.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn make(net: &Net) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        net.cleanup.directory(folder.path())?;
        Ok(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.path().join(name);
        fs::write(&file, text).with_context(|| file.display().to_string())?;
        Ok(file)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path().join(LOG)).unwrap_or_default()
    }
}

/// A running program with its children, killed when dropped.
pub(crate) struct Program {
    process: Process,
    name: String,
    folder: Folder,
    ends_by: Signal,
}

impl Program {
    /// Starts a program, and waits until it listens on this port.
    pub(crate) fn serve(net: &Net, host: Host, port: u16, folder: Folder, command: Command) -> Result<Self> {
        let mut program = Self::start(net, host, folder, command)?;
        let listens = || {
            program.still_runs()?;
            Ok(states(net.ns(host), port)?.contains(&State::LISTEN))
        };
        until_true("the listener", START, listens).with_context(|| format!("{host:?}"))?;
        Ok(program)
    }

    /// Starts a program that need not listen. It leads a process group of its own, so that its children end with it.
    pub(crate) fn start(net: &Net, host: Host, folder: Folder, mut command: Command) -> Result<Self> {
        let log = File::create(folder.path().join(LOG))?;
        let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let process = Process::start(net.ns(host), &net.cleanup, &mut command)?;
        Ok(Self { process, name, folder, ends_by: Signal::KILL })
    }

    /// The signal by which a program ends that leaves something behind when it is killed.
    pub(crate) fn ends_by(mut self, signal: Signal) -> Self {
        self.ends_by = signal;
        self
    }

    /// Waits until the program has printed this.
    pub(crate) fn says(&mut self, text: &str) -> Result<()> {
        let said = || {
            self.still_runs()?;
            Ok(self.folder.log().contains(text))
        };
        until_true(text, START, said)
    }

    /// Sends a signal to the program itself.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.process.pid(), signal).with_context(|| format!("a signal to {}", self.name))
    }

    fn still_runs(&mut self) -> Result<()> {
        if self.process.ended()? {
            let said = self.folder.log();
            bail!("{} ended at once: {}", self.name, said.trim().lines().next_back().unwrap_or("it printed nothing"));
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.ends_by != Signal::KILL && self.signal(self.ends_by).is_ok() {
            // Otherwise it is killed.
            let _ = until_true("the program's end", SOON, || self.process.ended());
        }
        // Fails only if all have ended already.
        let _ = kill_process_group(self.process.pid(), Signal::KILL);
    }
}
