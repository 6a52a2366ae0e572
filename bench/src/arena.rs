//! A network namespace of its own for a measurement. It lasts as long as the threads and programs in it, so there is nothing
//! to clean up however it ends.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use dev_support::command;
use rustix::thread::{CpuSet, UnshareFlags, sched_getaffinity, sched_setaffinity, unshare_unsafe};

/// So that neither ports nor the memory of closed connections run out, however fast they come.
const SETTINGS: [(&str, &str); 2] = [("ip_local_port_range", "1024 65535"), ("tcp_max_tw_buckets", "8192")];

/// Does the work on a thread inside a new namespace with a loopback. Threads and programs that it starts are inside too.
pub(crate) fn inside<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
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

/// The CPUs that this program may use.
pub(crate) fn cpus() -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap_or_default();
    let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    if all.is_empty() { vec![0] } else { all }
}

/// Keeps this thread on one CPU.
pub(crate) fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).context("cannot keep to one CPU")
}
