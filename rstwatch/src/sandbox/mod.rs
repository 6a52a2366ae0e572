//! What this process may do: as little as it needs while it attaches, and nearly nothing afterwards.
//!
//! Call [`lockdown`] on the main thread before any other thread starts: threads inherit its restrictions, so none is missed.
//! It cannot be switched off, because nothing needs what it takes away. Parts that the kernel lacks are left out and
//! reported.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

pub mod capabilities;
pub mod landlock;
pub mod seccomp;

use self::capabilities::Dropped;
use self::landlock::Restriction;
use exporter_web::files;

/// What is still needed after everything is attached, in addition to what every command reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Files to read, and folders to read with everything below them. For a file that may be replaced, name its folder: a
    /// rule for a file covers only the present one. Paths that do not exist are left out.
    pub read: Vec<PathBuf>,
    /// Files that are opened again, perhaps through other links. `read` has to hold what makes that possible.
    pub files: Vec<PathBuf>,
    /// TCP ports to connect to. Empty: no socket is ever opened.
    pub connect: Vec<u16>,
    /// Whether host names are resolved.
    pub names: bool,
}

impl Needs {
    /// Adds these files, and whatever may replace them.
    pub fn add_files(&mut self, files: Vec<PathBuf>) {
        self.read.extend(files.iter().flat_map(|file| landlock::folders_of(file)));
        self.files.extend(files);
    }
}

/// What was taken away, and what could not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lockdown {
    /// Capabilities.
    pub capabilities: Dropped,
    /// Files and ports.
    pub landlock: Restriction,
    /// System calls; why not, if the kernel refuses.
    pub seccomp: Result<(), String>,
    /// What the administrator should know, a line each.
    pub warnings: Vec<String>,
}

/// Takes away everything that is not needed once the hooks are attached. It cannot be undone.
#[must_use = "what could not be taken away has to be logged"]
pub fn lockdown(needs: &Needs) -> Lockdown {
    let whole_tree = landlock::warn_if_whole_tree(needs);
    let readable: Vec<_> = needs.files.iter().filter(|file| files::open(file).is_ok()).collect();
    // rustix caches the page size. It reads it from /proc/self/auxv, which becomes unreadable below, and would panic.
    _ = rustix::param::page_size();
    // This permits the rest without privileges.
    let no_new_privs = rustix::thread::set_no_new_privs(true);
    let capabilities = capabilities::drop_all();
    // Other processes of the same user may no longer trace this one, and its memory, which may hold keys, is not in core
    // files. If this fails, the rest still holds.
    _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let refused = |error: rustix::io::Errno| Err(error.to_string());
    let (landlock, seccomp) = match no_new_privs {
        Ok(()) => (landlock::restrict(needs), seccomp::restrict(!needs.connect.is_empty())),
        Err(error) => (Restriction::Refused(error.to_string()), refused(error)),
    };
    let warnings = whole_tree.into_iter().chain(readable.into_iter().filter_map(|file| warn_if_lost(file)));
    Lockdown { capabilities, landlock, seccomp, warnings: warnings.collect() }
}

/// A warning if a file can no longer be read: without capabilities root is subject to file modes.
fn warn_if_lost(file: &Path) -> Option<String> {
    let error = files::open(file).err()?;
    let uid = rustix::process::geteuid();
    Some(format!(
        "{} cannot be read again after the start: {error}: the agent runs as user {uid}, who needs permission to read it and to enter its folders",
        file.display()
    ))
}

impl Lockdown {
    /// Logs it.
    pub fn log(&self) {
        tracing::info!("{self}");
        self.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
}

/// What [`lockdown`] would do here, by the names of its parts.
pub fn preview() -> Vec<(&'static str, String)> {
    let capabilities = match capabilities::name(capabilities::to_keep()) {
        None => "all are dropped".to_owned(),
        Some(name) => format!("all except {name} are dropped: this kernel's bpf() does not read maps without it"),
    };
    let landlock = match landlock::version() {
        Some(version) => {
            let except = " (except the Kubernetes API's, if it is used)";
            format!("version {version}: {}", landlock::description(version, except))
        }
        None => "not in this kernel: files and ports stay as accessible as they are".to_owned(),
    };
    let seccomp = if seccomp::available() {
        "only the few system calls that are needed stay allowed"
    } else {
        "not in this kernel: all system calls stay allowed"
    };
    let parts = [("capabilities", capabilities), ("landlock", landlock), ("seccomp", seccomp.to_owned())];
    parts.into()
}

impl fmt::Display for Lockdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { capabilities, landlock, seccomp, warnings: _ } = self;
        write!(f, "locked down: {capabilities}; {landlock}; ")?;
        match seccomp {
            Ok(()) => write!(f, "system calls are filtered (seccomp)"),
            Err(why) => write!(f, "system calls are not filtered: {why}"),
        }
    }
}

#[cfg(test)]
mod tests;
