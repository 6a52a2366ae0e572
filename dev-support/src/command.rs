//! Running other programs, with errors that say which and how it ended.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs a command with our own output; an error unless it succeeds.
pub fn run(command: &mut Command) -> Result<()> {
    let name = name(command);
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status}): see its output above");
    }
    Ok(())
}

/// Runs a command silently; its output goes into the error when it fails.
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

/// What a command prints on stdout; nothing when it cannot be run or fails.
pub fn stdout(command: &mut Command) -> Option<String> {
    let done = command.stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    done.status.success().then_some(text)
}

fn name(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let first = command.get_args().find(|arg| !arg.to_string_lossy().starts_with('-'));
    let base = program.file_name().unwrap_or(program.as_os_str());
    match first {
        Some(arg) if arg.len() < 20 => format!("`{} {}`", base.display(), arg.display()),
        _ => format!("`{}`", base.display()),
    }
}
