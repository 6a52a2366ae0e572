//! Runs other programs; errors name the program and its exit status.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Signal, set_parent_process_death_signal};

/// Runs a command with inherited stdio. Fails unless it exits with status 0.
pub fn run(command: &mut Command) -> Result<()> {
    let name = name(command);
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status}): see its output above");
    }
    Ok(())
}

/// Runs a command; prints its output only if it fails.
pub fn run_quiet(command: &mut Command) -> Result<()> {
    let name = name(command);
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    if !done.status.success() {
        eprint!("{}", String::from_utf8_lossy(&done.stdout));
        eprint!("{}", String::from_utf8_lossy(&done.stderr));
        bail!("{name} failed ({}): see its output above", done.status);
    }
    Ok(())
}

/// A command's stdout, trimmed; `None` if it cannot be run or fails.
pub fn stdout(command: &mut Command) -> Option<String> {
    let done = command.stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    done.status.success().then_some(text)
}

/// Makes the kernel terminate the child when the thread that starts it ends, and shields it from the terminal's signals.
///
/// The thread must outlive the child (prctl(2), `PR_SET_PDEATHSIG`). So it does: the callers start their children on the main
/// thread, or on the thread that runs all of a measurement, and wait for them there.
pub fn die_with_parent(command: &mut Command) {
    // A separate process group: the terminal's Ctrl-C reaches this process only, which stops the child itself.
    command.process_group(0);
    // SAFETY: prctl(2) is async-signal-safe, and the closure accesses no memory of the parent.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
    }
}

/// The program and its first argument that is not an option, for messages.
fn name(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let first = command.get_args().find(|arg| !arg.to_string_lossy().starts_with('-'));
    let base = program.file_name().unwrap_or(program.as_os_str());
    match first {
        Some(arg) if arg.len() < 20 => format!("`{} {}`", base.display(), arg.display()),
        _ => format!("`{}`", base.display()),
    }
}
