//! The VM's first process, which is this program again. It sets the system up, runs one command, sends the command's files to
//! the host, and powers off.
//!
//! The guest has three serial ports. They carry messages of the kernel and of this process, the output of the command, and
//! files ([`super::transfer`]).

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

use super::rootfs::{self, Task};
use super::transfer;

/// On the kernel's command line, and so in the environment of the first process.
pub(crate) const REQUEST: &str = "RSTWATCH_VM_INIT=1";
/// Prefix of this process's errors on the console.
pub(crate) const ERROR: &str = "vm: ";
/// Files in this folder are sent to the host when the command has ended.
pub(crate) const OUT: &str = "/out";
/// Lets the lab change settings of the whole machine.
const INSIDE: (&str, &str) = ("RSTWATCH_LAB_VM", "1");

const PATH: &str = "/usr/bin:/bin";
const OUTPUT_PORT: &str = "/dev/ttyS1";
const FILES_PORT: &str = "/dev/ttyS2";
/// How long to wait for output of the command's children after it has ended.
const LINGER: Duration = Duration::from_secs(3);

/// A service manager's usual limit. The kernel's default of 1024 is too low for the lab.
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

/// To be called first in `main`: runs as a VM's first process if this is one, else returns.
pub fn run_if_requested() {
    let requested =
        REQUEST.split_once('=').is_some_and(|(key, value)| std::env::var(key).is_ok_and(|got| got == value));
    if !requested || std::process::id() != 1 {
        return;
    }
    if let Err(why) = run() {
        println!("{ERROR}{why:#}");
    }
    // Lets the console transmit everything. Fails only without a console.
    let _ = tcdrain(io::stdout());
    let off = reboot(RebootCommand::PowerOff);
    println!("{ERROR}cannot power off: {off:?}");
    // The kernel panics when its first process ends, which ends the VM too.
    std::process::exit(1);
}

fn run() -> Result<()> {
    for (kind, path) in MOUNTS {
        fs::create_dir_all(path).with_context(|| path.to_owned())?;
        mount(kind, path, kind, MountFlags::empty(), None).with_context(|| format!("cannot mount {path}"))?;
    }
    sethostname(b"vm")?;
    setrlimit(Resource::Nofile, Rlimit { current: Some(OPEN_FILES), maximum: Some(OPEN_FILES) })?;
    // As documented for hosts that give rstwatch only its own capabilities: before Linux 5.11 maps count as locked memory, and
    // Debian's kernels forbid kprobes with CAP_PERFMON.
    setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })?;
    fs::write("/proc/sys/kernel/perf_event_paranoid", "2")?;
    let mut output = port(OUTPUT_PORT)?;
    let mut files = port(FILES_PORT)?;
    load_modules(&mut output)?;
    let task: Task = serde_json::from_slice(&fs::read(rootfs::TASK)?)?;
    let lo = command("ip").args(["link", "set", "lo", "up"]).spawn().context("cannot run ip")?;
    wait_for(&lo)?;
    let status = run_command(&task, output)?;
    send_files(&mut files).context("cannot send the command's files")?;
    transfer::send_exit(&mut files, status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))?;
    Ok(tcdrain(&files)?)
}

/// Opens a serial port in raw mode.
fn port(path: &str) -> Result<File> {
    let port = OpenOptions::new().read(true).write(true).open(path).with_context(|| path.to_owned())?;
    let mut settings = tcgetattr(&port)?;
    settings.make_raw();
    tcsetattr(&port, OptionalActions::Now, &settings)?;
    Ok(port)
}

/// Loads the modules in the order of their numbers. One that does not load is reported; the rows that need it will fail.
fn load_modules(output: &mut File) -> Result<()> {
    let mut files: Vec<_> = fs::read_dir(rootfs::MODULES)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    for file in files {
        if let Err(why) = init_module(&fs::read(file.path())?, c"") {
            writeln!(output, "{ERROR}module {} does not load: {why}", file.file_name().display())?;
        }
        // Frees its memory: the root file system is in memory.
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

/// Runs the command; its output goes to the port.
fn run_command(task: &Task, mut output: File) -> Result<ExitStatus> {
    let (program, args) = task.command.split_first().context("nothing to run")?;
    let (mut reader, writer) = io::pipe()?;
    let child = command(program)
        .args(args)
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let (done, copied) = mpsc::channel();
    thread::spawn(move || {
        let copied = io::copy(&mut reader, &mut output).and_then(|_| Ok(tcdrain(output.as_fd())?));
        // Fails only if the receiver is gone because the VM powers off.
        let _ = done.send(copied);
    });
    let status = wait_for(&child)?;
    match copied.recv_timeout(LINGER) {
        Ok(copied) => copied.context("cannot write to the port of the output")?,
        // A process that the command left behind holds the pipe; it ends with the VM.
        Err(_) => println!("{ERROR}the command left a process behind"),
    }
    Ok(status)
}

/// Waits for a child, and reaps orphans meanwhile as a first process must.
fn wait_for(child: &Child) -> Result<ExitStatus> {
    loop {
        let Some((pid, status)) = wait(WaitOptions::empty())? else {
            continue;
        };
        if pid.as_raw_pid().cast_unsigned() == child.id() {
            return Ok(ExitStatus::from_raw(status.as_raw()));
        }
    }
}

fn send_files(files: &mut File) -> Result<()> {
    for entry in fs::read_dir(Path::new(OUT))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        transfer::send_file(files, &name, &fs::read(entry.path())?)?;
    }
    Ok(())
}
