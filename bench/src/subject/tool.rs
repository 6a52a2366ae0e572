//! The programs that are measured beside a load: rstwatch, and the tools that it is compared with.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use dev_support::{cargo, command, paths};
use serde::Serialize;

use super::memory_cgroup::MemoryCgroup;
use super::{idle_programs, process, web};
use crate::load;

/// Rates so high that they hold back no detail: every event is delivered if the agent keeps up. The ring has its default size.
pub(crate) const ALL_DETAILS: &str = "detail_rate_per_second = 1000000\ndetail_burst = 1000000\n";

/// A configuration file, removed when dropped.
pub(crate) fn config_file(text: &str) -> Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// Longest time that a program may take to start.
const STARTS: Duration = Duration::from_secs(20);
/// A tool whose number of descriptors has not changed for this long counts as started.
const SETTLED: Duration = Duration::from_millis(400);
const TICK: Duration = Duration::from_millis(5);
const TRACEFS: &str = "/sys/kernel/tracing";

/// The daemon to be measured, if it is not the release build.
static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Selects the daemon to measure: this one, or the release build, which is then built.
pub(crate) fn select_binary(binary: Option<&Path>) -> Result<()> {
    match binary {
        // The first selection stays.
        Some(binary) => _ = BINARY.set(paths::root().join(binary)),
        None => cargo::build_release()?,
    }
    Ok(())
}

fn binary() -> PathBuf {
    BINARY.get().cloned().unwrap_or_else(paths::rstwatch)
}

/// A program to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tool {
    /// The agent as it is shipped.
    Rstwatch,
    /// The agent without a cgroup v2 mount, so that it has no packet program.
    RstwatchWithoutPackets,
    /// BPF programs that do nothing ([`idle_programs`]).
    Nothing,
    /// The same without a packet program.
    NothingWithoutPackets,
    /// Prints a line per reset, from both reset tracepoints.
    Bpftrace,
    /// Prints a line per RST.
    Tcpdump,
    /// From libbpf-tools; prints a line per state change.
    Tcpstates,
}

impl Tool {
    /// The tools that rstwatch is compared with.
    pub(crate) const PEERS: [Self; 3] = [Self::Bpftrace, Self::Tcpdump, Self::Tcpstates];

    /// Its name in docs/performance.md.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rstwatch => "rstwatch",
            Self::RstwatchWithoutPackets => "rstwatch, no packet program",
            Self::Nothing => "programs that do nothing",
            Self::NothingWithoutPackets => "programs that do nothing, no packet program",
            Self::Bpftrace => "bpftrace",
            Self::Tcpdump => "tcpdump",
            Self::Tcpstates => "tcpstates",
        }
    }

    fn is_agent(self) -> bool {
        matches!(self, Self::Rstwatch | Self::RstwatchWithoutPackets)
    }

    fn command(self, config: Option<&Path>) -> Result<Command> {
        let installed = |name: &str| -> Result<Command> {
            Ok(Command::new(paths::program(name).with_context(|| format!("{name} is not installed"))?))
        };
        let mut command = match self {
            Self::Rstwatch => Command::new(binary()),
            Self::RstwatchWithoutPackets => installed("unshare")?,
            Self::Nothing | Self::NothingWithoutPackets => idle_programs::command(self == Self::Nothing)?,
            Self::Bpftrace => installed("bpftrace")?,
            Self::Tcpdump => installed("tcpdump")?,
            Self::Tcpstates => installed("tcpstates")?,
        };
        match self {
            Self::Rstwatch => _ = command.args(agent_words(config)),
            Self::RstwatchWithoutPackets => {
                // A mount namespace of its own: the host's mounts stay.
                command.args(["--mount", "--", "sh", "-c", "umount -l -a -t cgroup2; exec \"$0\" \"$@\""]);
                command.arg(binary()).args(agent_words(config));
            }
            Self::Bpftrace => _ = command.args(["-B", "line", "-e", BPFTRACE]),
            Self::Tcpdump => _ = command.args(["-i", "lo", "-nn", "-l", "tcp[tcpflags] & tcp-rst != 0"]),
            Self::Nothing | Self::NothingWithoutPackets | Self::Tcpstates => (),
        }
        Ok(command)
    }
}

/// Prints the process and the peer of each reset; of sent ones also state and reason, of received ones both ends.
const BPFTRACE: &str = "\
tracepoint:tcp:tcp_send_reset { printf(\"sent %s %d %d.%d.%d.%d %d %d\\n\", comm, pid, \
    args->daddr[4], args->daddr[5], args->daddr[6], args->daddr[7], args->state, args->reason); } \
tracepoint:tcp:tcp_receive_reset { printf(\"received %s %d %s:%d %s:%d\\n\", comm, pid, \
    ntop(args->saddr), args->sport, ntop(args->daddr), args->dport); }";

fn agent_words(config: Option<&Path>) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["agent".into()];
    words.extend(["--web.listen-address".into(), web::ADDRESS.to_string().into()]);
    if let Some(path) = config {
        words.extend(["--config".into(), path.into()]);
    }
    words
}

/// A running tool, killed when dropped.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts a tool, discards its output and waits until it is ready.
    pub(crate) fn start(tool: Tool, config: Option<&Path>) -> Result<Self> {
        let mut running = Self::spawn(tool, config, Stdio::null(), Stdio::null())?;
        if tool.is_agent() {
            running.wait_ready()?;
        } else {
            running.wait_settled()?;
        }
        Ok(running)
    }

    /// Starts the agent in a cgroup, and waits until it is ready.
    pub(crate) fn start_in(cgroup: &MemoryCgroup, config: &Path) -> Result<Self> {
        let mut command = Tool::Rstwatch.command(Some(config))?;
        cgroup.enter(&mut command)?;
        let mut running = Self::of(Tool::Rstwatch, command, Stdio::null(), Stdio::null())?;
        running.wait_ready()?;
        Ok(running)
    }

    /// Starts a tool.
    pub(crate) fn spawn(tool: Tool, config: Option<&Path>, out: Stdio, err: Stdio) -> Result<Self> {
        Self::of(tool, tool.command(config)?, out, err)
    }

    fn of(tool: Tool, mut command: Command, out: Stdio, err: Stdio) -> Result<Self> {
        command::die_with_parent(&mut command);
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        Ok(Self { child: child.with_context(|| format!("cannot start {}", tool.name()))? })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the agent is ready.
    pub(crate) fn wait_ready(&mut self) -> Result<()> {
        let began = Instant::now();
        while web::get("/readyz").is_err() {
            self.check_alive()?;
            if began.elapsed() > STARTS {
                bail!("rstwatch was not ready within {} s", STARTS.as_secs());
            }
            sleep(TICK);
        }
        Ok(())
    }

    /// Waits until the number of its descriptors no longer changes.
    fn wait_settled(&mut self) -> Result<()> {
        let began = Instant::now();
        let (mut last, mut since) = (0, Instant::now());
        while since.elapsed() < SETTLED || last < 4 {
            self.check_alive()?;
            if began.elapsed() > STARTS {
                bail!("its descriptors did not settle within {} s", STARTS.as_secs());
            }
            let now = process::descriptors(self.pid())?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
            sleep(TICK);
        }
        Ok(())
    }

    fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("it ended ({status})");
        }
        Ok(())
    }

    /// The child process.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // If it has ended already, there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Checks that a tool works here: it must print lines about resets that are made.
pub(crate) fn check_works(tool: Tool) -> Result<()> {
    let errors = tempfile::NamedTempFile::new()?;
    let said = tempfile::NamedTempFile::new()?;
    let mut running = Running::spawn(tool, None, said.reopen()?.into(), errors.reopen()?.into())?;
    let began = Instant::now();
    while fs::metadata(said.path())?.len() < 200 {
        if let Err(error) = running.check_alive() {
            bail!("{error}: {}", first_line(errors.reopen()?)?);
        }
        if began.elapsed() > STARTS {
            bail!("it printed nothing about resets within {} s: {}", STARTS.as_secs(), first_line(errors.reopen()?)?);
        }
        // Enough output to fill the buffer of a tool that does not flush each line.
        (0..50).try_for_each(|_| load::refused(([127, 0, 0, 1], 1).into()))?;
        sleep(10 * TICK);
    }
    Ok(())
}

fn first_line(mut file: fs::File) -> Result<String> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no message").to_owned())
}

/// tracefs, which has the formats of tracepoints; unmounted when dropped if it was mounted here.
pub(crate) struct Tracefs(bool);

impl Tracefs {
    /// Mounts it unless it is mounted already.
    pub(crate) fn mounted() -> Self {
        let there = || PathBuf::from(TRACEFS).join("events").exists();
        let ours = !there() && run("mount", &["-t", "tracefs", "tracefs", TRACEFS]);
        Self(ours)
    }
}

impl Drop for Tracefs {
    fn drop(&mut self) {
        if self.0 && !run("umount", &[TRACEFS]) {
            eprintln!("warning: {TRACEFS} stays mounted");
        }
    }
}

fn run(program: &str, words: &[&str]) -> bool {
    command::stdout(Command::new(program).args(words)).is_some()
}
