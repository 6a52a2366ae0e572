//! Helper processes: this very program, started again under another hat. For scenarios
//! in which a process has to die, and for the janitor.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::janitor::{self, Janitor};
use super::ns::Ns;
use super::wait::{readable, until};

const ASKED: &str = "RSTWATCH_LAB_PEER";

/// To be called first thing in `main`: returns unless this process is a helper of the lab.
pub(crate) fn peer_if_asked() {
    let Ok(what) = std::env::var(ASKED) else {
        return;
    };
    let code = match peer_main(&what) {
        Ok(()) => 0,
        Err(why) => {
            eprintln!("lab helper: {why:#}");
            1
        }
    };
    std::process::exit(code);
}

fn peer_main(what: &str) -> Result<()> {
    match what.split(' ').collect::<Vec<_>>().as_slice() {
        ["janitor"] => janitor::serve(),
        ["answer", address] => serve(address.parse()?, true),
        ["deaf", address] => serve(address.parse()?, false),
        _ => bail!("no such helper: {what}"),
    }
}

/// This program again, as the helper `what`.
pub(super) fn command(what: &[&str]) -> Result<Command> {
    // Not the path but the link: it still works after the binary was rebuilt.
    let mut command = Command::new("/proc/self/exe");
    command.env(ASKED, what.join(" "));
    Ok(command)
}

/// Accepts one connection, answers its first request or never reads at all, and holds it
/// until it is killed or the lab goes away.
fn serve(address: SocketAddr, answers: bool) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    say("listening")?;
    let (mut connection, _) = listener.accept()?;
    if answers {
        let mut request = [0; 64];
        let read = connection.read(&mut request)?;
        connection.write_all(request.get(..read).unwrap_or_default())?;
    }
    say("accepted")?;
    if !answers {
        readable(&connection)?;
        say("unread")?;
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn say(word: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word}")?;
    Ok(out.flush()?)
}

/// A helper that serves one connection, as the lab holds it.
pub(super) struct Peer {
    process: Process,
    said: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts it and waits until it listens.
    pub(super) fn start(ns: &Ns, janitor: &Janitor, how: &str, at: SocketAddr) -> Result<Self> {
        let mut command = command(&[how, &at.to_string()])?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(ns, janitor, &mut command)?;
        let said = process.child.stdout.take().context("helper's stdout")?;
        let mut peer = Self { process, said: BufReader::new(said) };
        peer.hear("listening")?;
        Ok(peer)
    }

    pub(super) fn hear(&mut self, word: &str) -> Result<()> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        ensure!(line.trim() == word, "helper said {:?}, not {word}", line.trim());
        Ok(())
    }

    /// Kills it as the kernel's OOM killer would.
    pub(super) fn kill(self) {
        drop(self.process);
    }
}

/// A child in a namespace that ends with this guard.
pub(super) struct Process {
    child: Child,
}

impl Process {
    pub(super) fn start(ns: &Ns, janitor: &Janitor, command: &mut Command) -> Result<Self> {
        Self::adopt(ns.spawn(command)?, janitor)
    }

    /// Takes over a child that was started elsewhere.
    pub(super) fn adopt(child: Child, janitor: &Janitor) -> Result<Self> {
        let process = Self { child };
        janitor.process(process.child.id())?;
        Ok(process)
    }

    /// Asks it to end; it must do so cleanly, and within a second and a half.
    pub(super) fn end(&mut self) -> Result<()> {
        // It may have ended by itself just now.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let patience = Duration::from_millis(1500);
        let status = until("the end after SIGTERM", patience, || Ok(self.child.try_wait()?))?;
        ensure!(status.success(), "SIGTERM: {status}");
        Ok(())
    }

    /// Its exit status, should it have ended by itself.
    pub(super) fn ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a child that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
