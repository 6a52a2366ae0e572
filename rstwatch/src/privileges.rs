//! What this process may do: as little as it needs while it attaches, and next to nothing afterwards.
//!
//! [`lockdown`] is called on the main thread while there is no other: threads inherit what it leaves, so none is forgotten.
//! It has no switch: what it takes away nothing needs, and where the kernel lacks a part, that part is left out and said.

use std::fmt;
use std::path::{Path, PathBuf};

use exporter_web::files;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

pub mod calls;
pub mod capabilities;
pub mod paths;
pub mod rights;

use capabilities::Dropped;
use paths::Paths;

/// What is still needed after everything is attached, beside what every command reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Files, and folders with all beneath, that are read. Name the folder of a file that may be replaced: a rule for a file
    /// ends with that file. What is not there is left out.
    pub read: Vec<PathBuf>,
    /// Files that are opened again, perhaps by another name: what makes that possible belongs to `read`.
    pub files: Vec<PathBuf>,
    /// TCP ports to which connections are opened. Empty: no socket is ever opened.
    pub connect: Vec<u16>,
    /// Whether hosts are found by name.
    pub names: bool,
}

impl Needs {
    /// Needs these files too, whatever takes their places.
    pub fn add_files(&mut self, files: Vec<PathBuf>) {
        self.read.extend(files.iter().flat_map(|file| paths::of_file(file)));
        self.files.extend(files);
    }
}

/// What was taken away, and what could not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lockdown {
    /// Capabilities.
    pub capabilities: Dropped,
    /// Files and ports, by Landlock.
    pub paths: Paths,
    /// System calls, by seccomp; why not, where the kernel refuses.
    pub calls: Result<(), String>,
    /// What whoever configured it should know, a line each.
    pub warnings: Vec<String>,
}

/// Takes away whatever is not needed once everything is attached. It cannot be undone.
#[must_use = "what could not be taken away is to be told"]
pub fn lockdown(needs: &Needs) -> Lockdown {
    let wide = paths::widest(needs);
    let readable: Vec<_> = needs.files.iter().filter(|file| files::open(file).is_ok()).collect();
    // It is kept from now on. What it comes from, /proc/self/auxv, will be out of reach, and rustix panics without it.
    _ = rustix::param::page_size();
    // First the right to do the rest without privileges.
    let no_new_privs = rustix::thread::set_no_new_privs(true);
    let capabilities = capabilities::drop_all();
    // Others of the same user may no more trace it, and its memory, where keys may be, is in no core file. Without this the
    // rest holds all the same.
    _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let told = |error: rustix::io::Errno| Err(error.to_string());
    let (paths, calls) = match no_new_privs {
        Ok(()) => (paths::restrict(needs), calls::restrict(!needs.connect.is_empty())),
        Err(error) => (Paths::Refused(error.to_string()), told(error)),
    };
    let warnings = wide.into_iter().chain(readable.into_iter().filter_map(|file| lost(file)));
    Lockdown { capabilities, paths, calls, warnings: warnings.collect() }
}

/// What to say if a file that could be read can be read no more: root without capabilities is a user like others.
fn lost(file: &Path) -> Option<String> {
    let error = files::open(file).err()?;
    let uid = rustix::process::geteuid();
    Some(format!(
        "{} cannot be read again after the start: {error}: let user {uid}, whom the agent runs as, read it and pass its folders",
        file.display()
    ))
}

impl Lockdown {
    /// Says it in the log.
    pub fn tell(&self) {
        tracing::info!("{self}");
        self.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
}

/// What [`lockdown`] would do here, by the names of its parts.
pub fn prospect() -> Vec<(&'static str, String)> {
    let capabilities = match capabilities::name(capabilities::to_keep()) {
        None => "all are given up".to_owned(),
        Some(name) => format!("all but {name} are given up: without it this kernel's bpf() does not read maps"),
    };
    let landlock = match paths::version() {
        Some(version) => format!(
            "version {version}: {}",
            paths::reach(version, " (but for the Kubernetes API's, where it is asked)")
        ),
        None => "not in this kernel: what may be read and written stays as it is".to_owned(),
    };
    let seccomp = if calls::available() { "few system calls are left" } else { "not in this kernel: all are left" };
    let parts = [("capabilities", capabilities), ("landlock", landlock), ("seccomp", seccomp.to_owned())];
    parts.into()
}

impl fmt::Display for Lockdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { capabilities, paths, calls, warnings: _ } = self;
        write!(f, "locked down: {capabilities}; {paths}; ")?;
        match calls {
            Ok(()) => write!(f, "system calls are filtered (seccomp)"),
            Err(why) => write!(f, "system calls are not filtered: {why}"),
        }
    }
}

#[cfg(test)]
mod tests;
