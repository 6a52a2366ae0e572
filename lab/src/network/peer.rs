//! Helper processes, which are this program started again: for scenarios in which a process has to die, and for the cleanup helper.

use std::ffi::CString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, getpid, kill_process, setrlimit};
use socket2::{Domain, SockRef, Socket, Type};

use crate::kernel;
use crate::network::cgroup;
use crate::network::cleanup::{self, Cleanup};
use crate::network::ns::Ns;
use crate::network::sock::repair;
use crate::wait::{readable, until};

const REQUEST: &str = "RSTWATCH_LAB_PEER";
/// Process name of the helper that never accepts, and so the owner of its queue.
pub(crate) const QUEUE_OWNER: &str = "lab-queue";
const MEBIBYTE: usize = 1 << 20;
/// MiB that a process takes which is to be killed for it.
const MOST_TAKEN: usize = 512;
/// A forked server's idle timeout.
const FORKED_IDLE_TIMEOUT: Duration = Duration::from_millis(1300);

/// To be called first in `main`: runs a helper of the lab if the environment requests one, else returns.
pub fn run_helper_if_requested() {
    let Ok(what) = std::env::var(REQUEST) else {
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
        ["cleanup"] => cleanup::serve(),
        ["answer", address, count] => serve(address.parse()?, count.parse()?, true),
        ["read-nothing", address, count] => serve(address.parse()?, count.parse()?, false),
        ["hog", address, _] => hog(address.parse()?),
        ["queue", address, backlog] => queue(address.parse()?, backlog.parse()?),
        ["connections", address, count] => many_connections(address.parse()?, count.parse()?),
        ["forks", address, _] => fork_for_one(address.parse()?),
        ["forked"] => serve_stdin(),
        ["abort", address, name @ ..] => abort_as(&name.join(" "), address.parse()?),
        _ => bail!("no such helper: {what}"),
    }
}

/// The command that starts this program again as a helper.
pub(crate) fn command(what: &[&str]) -> Result<Command> {
    // The link instead of the path still works after the binary has been rebuilt.
    let mut command = Command::new("/proc/self/exe");
    command.env(REQUEST, what.join(" "));
    Ok(command)
}

/// Accepts connections, answers the first request of each or never reads at all, and holds them until the lab says how to die,
/// kills this process, or ends.
fn serve(address: SocketAddr, count: usize, answers: bool) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    say("listening")?;
    let mut held = Vec::new();
    for _ in 0..count {
        let (mut connection, _) = listener.accept()?;
        if answers {
            answer(&mut connection)?;
        }
        held.push(connection);
    }
    say("accepted")?;
    if !answers {
        held.iter().try_for_each(readable)?;
        say("unread")?;
    }
    die_as_ordered()
}

fn answer(connection: &mut TcpStream) -> Result<()> {
    let mut request = [0; 64];
    let read = connection.read(&mut request)?;
    Ok(connection.write_all(request.get(..read).unwrap_or_default())?)
}

/// Ends in the way that the lab orders, with the connections still open, so that only the kernel closes them.
fn die_as_ordered() -> Result<()> {
    let mut how = String::new();
    std::io::stdin().read_line(&mut how)?;
    match how.trim().split(' ').collect::<Vec<_>>().as_slice() {
        ["exit", code] => std::process::exit(code.parse()?),
        ["crash"] => {
            setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
            // Rust's handler for stack overflows takes the first signal.
            kill_process(getpid(), Signal::SEGV)?;
            kill_process(getpid(), Signal::SEGV)?;
            bail!("survived SIGSEGV");
        }
        _ => Ok(()),
    }
}

/// Accepts a connection, and takes memory until the kernel kills it when the lab says so.
fn hog(address: SocketAddr) -> Result<()> {
    cgroup::enter_or_leave()?;
    let listener = TcpListener::bind(address)?;
    say("listening")?;
    let (connection, _) = listener.accept()?;
    readable(&connection)?;
    say("unread")?;
    std::io::stdin().read_line(&mut String::new())?;
    let taken: Vec<_> = (0..MOST_TAKEN).map(|_| vec![1_u8; MEBIBYTE]).collect();
    bail!("took {} MiB and lives", taken.len());
}

/// Listens without accepting until the lab closes stdin.
fn queue(address: SocketAddr, backlog: i32) -> Result<()> {
    cgroup::enter_or_leave()?;
    rustix::thread::set_name(&CString::new(QUEUE_OWNER)?)?;
    let listener = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    listener.bind(&address.into())?;
    listener.listen(backlog)?;
    say("listening")?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Holds both ends of this many connections until the lab closes stdin. They vanish without a packet, because small machines
/// cannot keep this many TIME_WAIT sockets.
fn many_connections(address: SocketAddr, count: usize) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    say("listening")?;
    let to = listener.local_addr()?;
    let pair = |_| {
        let (near, (far, _)) = (TcpStream::connect(to)?, listener.accept()?);
        repair::silence(&SockRef::from(&near))?;
        repair::silence(&SockRef::from(&far))?;
        Ok((near, far))
    };
    let _held: Vec<_> = (0..count).map(pair).collect::<Result<_>>()?;
    say("connected")?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Forks a process for the connection, as inetd, sshd or a forking database does.
fn fork_for_one(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    say("listening")?;
    let (connection, _) = listener.accept()?;
    let mut child = command(&["forked"])?.stdin(Stdio::from(OwnedFd::from(connection))).spawn()?;
    child.wait()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// The process of one connection, which is its standard input: answers requests, and exits when none has come for a while.
fn serve_stdin() -> Result<()> {
    let mut connection = TcpStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    connection.set_read_timeout(Some(FORKED_IDLE_TIMEOUT))?;
    while answer(&mut connection).is_ok() {}
    std::process::exit(0);
}

/// Connects under this process name, and aborts.
fn abort_as(name: &str, address: SocketAddr) -> Result<()> {
    cgroup::enter_or_leave()?;
    rustix::thread::set_name(&CString::new(name)?)?;
    let connection = TcpStream::connect(address)?;
    Ok(SockRef::from(&connection).set_linger(Some(Duration::ZERO))?)
}

fn say(word: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word}")?;
    Ok(out.flush()?)
}

/// A running helper.
pub(crate) struct Peer {
    process: Process,
    said: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a helper and waits until it listens.
    pub(crate) fn start(ns: &Ns, cleanup: &Cleanup, how: &str, at: SocketAddr, count: usize) -> Result<Self> {
        Self::begin(ns, cleanup, command(&[how, &at.to_string(), &count.to_string()])?)
    }

    /// Starts a helper in a cgroup.
    pub(crate) fn start_in(
        ns: &Ns,
        cleanup: &Cleanup,
        how: &str,
        at: SocketAddr,
        count: usize,
        cgroup: &Path,
    ) -> Result<Self> {
        let mut command = command(&[how, &at.to_string(), &count.to_string()])?;
        command.env(cgroup::ENTER, cgroup);
        Self::begin(ns, cleanup, command)
    }

    fn begin(ns: &Ns, cleanup: &Cleanup, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(ns, cleanup, &mut command)?;
        let said = process.child.stdout.take().context("helper's stdout")?;
        let mut peer = Self { process, said: BufReader::new(said) };
        peer.expect_line("listening")?;
        Ok(peer)
    }

    pub(crate) fn expect_line(&mut self, word: &str) -> Result<()> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        ensure!(line.trim() == word, "helper said {:?}, not {word}", line.trim());
        Ok(())
    }

    /// Orders it to die: "exit 3", or "crash".
    pub(crate) fn order_to_die(mut self, how: &str) -> Result<()> {
        let mut orders = self.process.child.stdin.take().context("helper's stdin")?;
        writeln!(orders, "{how}")?;
        let status = self.process.child.wait()?;
        let as_ordered = match how.strip_prefix("exit ") {
            Some(code) => status.code() == code.parse().ok(),
            None => status.signal() == Some(Signal::SEGV.as_raw()),
        };
        ensure!(as_ordered, "helper ordered to {how}: {status}");
        Ok(())
    }

    /// Orders it to take memory until the OOM killer ends it.
    pub(crate) fn order_to_take_memory(mut self) -> Result<()> {
        let mut orders = self.process.child.stdin.take().context("helper's stdin")?;
        writeln!(orders, "take")?;
        let status = self.process.child.wait()?;
        ensure!(status.signal() == Some(Signal::KILL.as_raw()), "helper ordered to take memory: {status}");
        Ok(())
    }

    /// Kills it, as the kernel's OOM killer does.
    pub(crate) fn kill(self) {
        drop(self.process);
    }
}

/// A child in a namespace, killed when dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn start(ns: &Ns, cleanup: &Cleanup, command: &mut Command) -> Result<Self> {
        Self::adopt(ns.spawn(command)?, cleanup)
    }

    /// Takes over a running child.
    pub(crate) fn adopt(child: Child, cleanup: &Cleanup) -> Result<Self> {
        let process = Self { child };
        cleanup.process(process.child.id())?;
        Ok(process)
    }

    /// Sends SIGTERM. The child must exit cleanly within 1.5 s; under emulation, within ten times that.
    pub(crate) fn end(&mut self) -> Result<()> {
        // Fails only if the child has already ended.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let timeout = Duration::from_millis(if kernel::is_ours() { 15_000 } else { 1500 });
        let status = until("the end after SIGTERM", timeout, || Ok(self.child.try_wait()?))?;
        ensure!(status.success(), "SIGTERM: {status}");
        Ok(())
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Whether it has ended by itself.
    pub(crate) fn ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the child has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
