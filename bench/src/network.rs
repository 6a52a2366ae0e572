//! A network namespace for each measurement. The kernel removes it with the last thread and program inside, so there is
//! nothing to clean up.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use dev_support::command;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Settings under which neither ports nor TIME_WAIT sockets run out at any rate of connections.
const SETTINGS: [(&str, &str); 2] = [("ip_local_port_range", "1024 65535"), ("tcp_max_tw_buckets", "8192")];

/// Runs the work on a thread in a new network namespace. Threads and programs that it starts are inside too.
pub(crate) fn isolated<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            enter()?;
            work()
        });
        inside.join().unwrap_or_else(|_| Err(anyhow!("the measurement panicked")))
    })
}

/// Moves this thread into a new namespace.
pub(crate) fn enter() -> Result<()> {
    // SAFETY: only descriptors would be unsafe to unshare.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("cannot make a network namespace: run as root")?;
    command::run_quiet(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    for (name, value) in SETTINGS {
        let file = Path::new("/proc/sys/net/ipv4").join(name);
        fs::write(&file, value).with_context(|| format!("net.ipv4.{name}"))?;
    }
    Ok(())
}
