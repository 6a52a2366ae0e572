//! The VM's first process: this very program under another hat. It makes the system
//! ready, runs one command, hands out what that left behind, and switches off.
//!
//! Three serial ports: the kernel and this process speak on the first, the command on the
//! second, and on the third go files (see [`super::frames`]).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount};
use rustix::process::{Resource, Rlimit, WaitOptions, setrlimit, wait};
use rustix::system::{RebootCommand, init_module, reboot, sethostname};
use rustix::termios::{OptionalActions, tcdrain, tcgetattr, tcsetattr};
use serde::{Deserialize, Serialize};

use super::{frames, rootfs};

/// Stands on the kernel's command line, and so in its first process's environment.
pub(super) const ASKED: &str = "RSTWATCH_VM_INIT=1";
/// What this process says on the console when it cannot go on begins so.
pub(super) const TROUBLE: &str = "vm: ";
/// Whatever lies here when the command ends is handed out.
pub(super) const OUT: &str = "/out";
/// Tells the lab that it may change settings of the whole machine.
const INSIDE: (&str, &str) = ("RSTWATCH_LAB_VM", "1");

const PATH: &str = "/usr/bin:/bin";
const OUTPUT_PORT: &str = "/dev/ttyS1";
const FILES_PORT: &str = "/dev/ttyS2";
/// How long output may still come when the command has ended, from children of it.
const LINGER: Duration = Duration::from_secs(3);

/// As a service manager would have it; the kernel's own 1024 are too few for the lab.
const OPEN_FILES: u64 = 65_536;

const MOUNTS: [(&str, &str); 8] = [
    ("devtmpfs", "/dev"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("tmpfs", "/run"),
    ("tracefs", "/sys/kernel/tracing"),
    ("debugfs", "/sys/kernel/debug"),
    ("bpf", "/sys/fs/bpf"),
    ("cgroup2", "/sys/fs/cgroup"),
];

/// What the first process is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) command: Vec<String>,
}

/// To be called first thing in `main`: returns unless this process is a VM's first.
pub fn init_if_asked() {
    let asked = ASKED.split_once('=').is_some_and(|(key, value)| std::env::var(key).is_ok_and(|got| got == value));
    if !asked || std::process::id() != 1 {
        return;
    }
    if let Err(why) = live() {
        println!("{TROUBLE}{why:#}");
    }
    // The console's last words; without a console there are none.
    let _ = tcdrain(io::stdout());
    let off = reboot(RebootCommand::PowerOff);
    println!("{TROUBLE}cannot switch off: {off:?}");
    // The end of the first process is a panic, which ends the VM too.
    std::process::exit(1);
}

fn live() -> Result<()> {
    for (kind, place) in MOUNTS {
        fs::create_dir_all(place).with_context(|| place.to_owned())?;
        mount(kind, place, kind, MountFlags::empty(), None).with_context(|| format!("cannot mount {place}"))?;
    }
    sethostname(b"vm")?;
    setrlimit(Resource::Nofile, Rlimit { current: Some(OPEN_FILES), maximum: Some(OPEN_FILES) })?;
    // What the documentation asks of hosts that give rstwatch its own capabilities alone: before Linux 5.11 maps are locked
    // memory, and Debian's kernels keep kprobes from CAP_PERFMON.
    setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })?;
    fs::write("/proc/sys/kernel/perf_event_paranoid", "2")?;
    let mut output = port(OUTPUT_PORT)?;
    let mut files = port(FILES_PORT)?;
    load_modules(&mut output)?;
    let task: Task = serde_json::from_slice(&fs::read(rootfs::TASK)?)?;
    let lo = command("ip").args(["link", "set", "lo", "up"]).spawn().context("cannot run ip")?;
    end_of(&lo)?;
    let status = perform(&task, output)?;
    deliver(&mut files).context("cannot hand out what the command left")?;
    frames::send_exit(&mut files, status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))?;
    Ok(tcdrain(&files)?)
}

/// A serial port that changes nothing on the way.
fn port(path: &str) -> Result<File> {
    let port = OpenOptions::new().read(true).write(true).open(path).with_context(|| path.to_owned())?;
    let mut settings = tcgetattr(&port)?;
    settings.make_raw();
    tcsetattr(&port, OptionalActions::Now, &settings)?;
    Ok(port)
}

/// In the order of their numbers. One that does not load is said, and the row that needs
/// it will fail.
fn load_modules(output: &mut File) -> Result<()> {
    let mut files: Vec<_> = fs::read_dir(rootfs::MODULES)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    for file in files {
        if let Err(why) = init_module(&fs::read(file.path())?, c"") {
            writeln!(output, "{TROUBLE}module {} does not load: {why}", file.file_name().display())?;
        }
        // Its memory is wanted: the root is a file system in memory.
        fs::remove_file(file.path())?;
    }
    Ok(())
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).env("HOME", "/root").env("NO_COLOR", "1").env("TERM", "dumb");
    command.env(INSIDE.0, INSIDE.1).current_dir("/root").stdin(Stdio::null());
    command
}

/// Runs the command with its output on the port.
fn perform(task: &Task, mut output: File) -> Result<ExitStatus> {
    let (program, args) = task.command.split_first().context("nothing to run")?;
    let (mut reader, writer) = io::pipe()?;
    let child = command(program)
        .args(args)
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let (done, all_said) = mpsc::channel();
    thread::spawn(move || {
        let copied = io::copy(&mut reader, &mut output).and_then(|_| Ok(tcdrain(output.as_fd())?));
        // Nobody listens any more once the VM goes down.
        let _ = done.send(copied);
    });
    let status = end_of(&child)?;
    match all_said.recv_timeout(LINGER) {
        Ok(copied) => copied.context("the output's port")?,
        // A process that was left behind holds the pipe; it ends with the VM.
        Err(_) => println!("{TROUBLE}the command left a process behind"),
    }
    Ok(status)
}

/// Waits for a child as a first process must: orphans that end meanwhile are buried.
fn end_of(child: &Child) -> Result<ExitStatus> {
    loop {
        let Some((pid, status)) = wait(WaitOptions::empty())? else {
            continue;
        };
        if pid.as_raw_pid().cast_unsigned() == child.id() {
            return Ok(ExitStatus::from_raw(status.as_raw()));
        }
    }
}

fn deliver(files: &mut File) -> Result<()> {
    for entry in fs::read_dir(Path::new(OUT))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        frames::send_file(files, &name, &fs::read(entry.path())?)?;
    }
    Ok(())
}
