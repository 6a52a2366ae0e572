//! Network namespaces, entered by threads of this process.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::fstat;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A named network namespace. The cleanup helper removes it.
pub(crate) struct Ns {
    name: String,
    handle: File,
}

impl Ns {
    pub(crate) fn add(name: String) -> Result<Self> {
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let handle = File::open(path_of(&name)).context("a namespace just made")?;
        Ok(Self { name, handle })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn path(&self) -> PathBuf {
        path_of(&self.name)
    }

    /// Its inode, as in an event's `netns`.
    pub(crate) fn inode(&self) -> Result<u64> {
        Ok(fstat(&self.handle)?.st_ino)
    }

    /// Runs a closure on a thread inside the namespace. Its sockets and children stay inside after the thread has ended.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))
                    .with_context(|| format!("cannot enter {}", self.name))?;
                work()
            });
            inside.join().unwrap_or_else(|_| Err(anyhow!("a thread in {} panicked", self.name)))
        })
    }

    /// Runs a tool inside and returns its output.
    pub(crate) fn tool(&self, program: &str, args: &[&str]) -> Result<String> {
        self.run(|| run(Command::new(program).args(args)))
    }

    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Child> {
        self.run(|| {
            let program = command.get_program().to_string_lossy().into_owned();
            command.spawn().with_context(|| format!("cannot start {program}"))
        })
    }

    /// A file of the namespace's `/proc/net`.
    pub(crate) fn proc_net(&self, file: &str) -> Result<String> {
        self.run(|| {
            std::fs::read_to_string(Path::new("/proc/thread-self/net").join(file))
                .with_context(|| format!("/proc/net/{file}"))
        })
    }

    /// Changes a `net.*` sysctl, and restores it when the guard is dropped.
    pub(crate) fn sysctl(&self, key: &str, value: &str) -> Result<Sysctl<'_>> {
        let file = Path::new("/proc/sys/net").join(key.replace('.', "/"));
        let old = self.run(|| {
            let old = std::fs::read_to_string(&file).with_context(|| format!("net.{key}"))?;
            std::fs::write(&file, value).with_context(|| format!("net.{key}={value}"))?;
            Ok(old)
        })?;
        Ok(Sysctl { ns: self, file, old: Some(old) })
    }
}

/// A changed sysctl, restored when dropped.
pub(crate) struct Sysctl<'a> {
    ns: &'a Ns,
    file: PathBuf,
    old: Option<String>,
}

impl Sysctl<'_> {
    /// Keeps the new value as long as the namespace exists.
    pub(crate) fn keep(mut self) {
        self.old = None;
    }
}

impl Drop for Sysctl<'_> {
    fn drop(&mut self) {
        if let Some(old) = &self.old {
            // Fails only if the namespace is being removed anyway.
            let _ = self.ns.run(|| Ok(std::fs::write(&self.file, old)?));
        }
    }
}

fn path_of(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// Runs a command; an error has the first line of its stderr.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {program}"))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        let first = said.lines().find(|line| !line.trim().is_empty());
        bail!("{program}: {}", first.unwrap_or("failed without a message"));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}
