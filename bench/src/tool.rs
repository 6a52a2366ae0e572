//! What runs beside the load: rstwatch, and what people use today.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use dev_support::{agent, cargo, paths};
use serde::Serialize;

use super::{floor, load, process, web};

/// How long any of them may take to be at work.
const STARTS: Duration = Duration::from_secs(20);
/// Nothing has changed for so long: it is at work.
const SETTLED: Duration = Duration::from_millis(400);
const TICK: Duration = Duration::from_millis(5);
const TRACEFS: &str = "/sys/kernel/tracing";

/// The daemon to be measured, if it is not the release build.
static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Says which daemon is measured: this one, or the release build, which is built then.
pub(crate) fn choose(binary: Option<&Path>) -> Result<()> {
    match binary {
        // What it was told before stays.
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
    /// The same where it finds no cgroup v2 mount, so that nothing looks at packets.
    RstwatchWithoutPackets,
    /// Programs that do nothing, where rstwatch has some.
    Nothing,
    /// The same without one that looks at packets.
    NothingWithoutPackets,
    /// Both tracepoints of resets, a line for each.
    Bpftrace,
    /// Every RST, a line for each.
    Tcpdump,
    /// libbpf-tools: every change of state, a line for each.
    Tcpstates,
}

impl Tool {
    /// What people use today.
    pub(crate) const PEERS: [Self; 3] = [Self::Bpftrace, Self::Tcpdump, Self::Tcpstates];

    /// As the page calls it.
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
            Self::Nothing | Self::NothingWithoutPackets => floor::command(self == Self::Nothing)?,
            Self::Bpftrace => installed("bpftrace")?,
            Self::Tcpdump => installed("tcpdump")?,
            Self::Tcpstates => installed("tcpstates")?,
        };
        match self {
            Self::Rstwatch => _ = command.args(agent_words(config)),
            Self::RstwatchWithoutPackets => {
                // In a mount namespace of its own: there it may unmount what it likes.
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

/// As much as one line of it can say: who, between whom, in which state, why.
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

/// A running one; killed when this goes.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts it and waits until it is at work; its output goes nowhere.
    pub(crate) fn start(tool: Tool, config: Option<&Path>) -> Result<Self> {
        let mut running = Self::spawn(tool, config, Stdio::null(), Stdio::null())?;
        if tool.is_agent() {
            running.ready()?;
        } else {
            running.settled()?;
        }
        Ok(running)
    }

    /// Starts it.
    pub(crate) fn spawn(tool: Tool, config: Option<&Path>, out: Stdio, err: Stdio) -> Result<Self> {
        let mut command = tool.command(config)?;
        agent::tie(&mut command);
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        Ok(Self { child: child.with_context(|| format!("cannot start {}", tool.name()))? })
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the agent says that it is ready.
    pub(crate) fn ready(&mut self) -> Result<()> {
        let began = Instant::now();
        while web::get("/readyz").is_err() {
            self.lives()?;
            if began.elapsed() > STARTS {
                bail!("rstwatch was not ready within {} s", STARTS.as_secs());
            }
            sleep(TICK);
        }
        Ok(())
    }

    /// Waits until its descriptors do not change any more.
    fn settled(&mut self) -> Result<()> {
        let began = Instant::now();
        let (mut last, mut since) = (0, Instant::now());
        while since.elapsed() < SETTLED || last < 4 {
            self.lives()?;
            if began.elapsed() > STARTS {
                bail!("was not at work within {} s", STARTS.as_secs());
            }
            let now = process::descriptors(self.pid())?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
            sleep(TICK);
        }
        Ok(())
    }

    fn lives(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("it ended at once ({status})");
        }
        Ok(())
    }

    /// Its exit, if it has ended; what it wrote, if it was told to write to us.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a tool works here: it must say something of resets that are made. The error is the reason why not.
pub(crate) fn works(tool: Tool) -> Result<()> {
    let errors = tempfile::NamedTempFile::new()?;
    let said = tempfile::NamedTempFile::new()?;
    let mut running = Running::spawn(tool, None, said.reopen()?.into(), errors.reopen()?.into())?;
    let began = Instant::now();
    while fs::metadata(said.path())?.len() < 200 {
        if let Err(error) = running.lives() {
            bail!("{error}: {}", first_line(errors.reopen()?)?);
        }
        if began.elapsed() > STARTS {
            bail!("it said nothing of resets within {} s: {}", STARTS.as_secs(), first_line(errors.reopen()?)?);
        }
        // Enough to fill what holds its output back.
        (0..50).try_for_each(|_| load::refused(([127, 0, 0, 1], 1).into()))?;
        sleep(10 * TICK);
    }
    Ok(())
}

fn first_line(mut file: fs::File) -> Result<String> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text.lines().find(|line| !line.trim().is_empty()).unwrap_or("without a word").to_owned())
}

/// tracefs, where the tracepoints' formats are; unmounted again if it was not there.
pub(crate) struct Tracefs(bool);

impl Tracefs {
    /// Mounts it unless it is there.
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
    dev_support::command::stdout(Command::new(program).args(words)).is_some()
}
