//! Tests the package under a real systemd: install, start, reload, upgrade, remove, purge.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::thread::CapabilitySet;

use super::container::Container;
use crate::image::version;
use crate::packaging::capabilities::{BASE, WITHOUT_FENTRY};
use crate::packaging::smoke::{Expected, check_ready, in_namespace, wait_until};

const CONFIG: &str = "/etc/rstwatch/config.toml";
const PACKAGE: &str = "/var/cache/package.deb";
/// Files that the package must install.
const FILES: [&str; 7] = [
    "/usr/bin/rstwatch",
    "/lib/systemd/system/rstwatch.service",
    CONFIG,
    "/usr/share/man/man1/rstwatch-agent.1.gz",
    "/usr/share/bash-completion/completions/rstwatch",
    "/usr/share/zsh/vendor-completions/_rstwatch",
    "/usr/share/doc/rstwatch/copyright",
];

pub(super) fn check(package: &Path) -> Result<()> {
    let machine = Container::start().context("cannot boot systemd in a container")?;
    for file in FILES {
        ensure!(!machine.path(file).exists(), "{file} exists already: remove it first");
    }
    fs::copy(package, machine.path(PACKAGE))?;
    machine.stdout(&["dpkg", "-i", PACKAGE])?;
    runs(&machine).context("installed")?;
    reloads(&machine)?;
    upgrades(&machine).context("upgraded")?;
    removes(&machine).context("removed")?;
    purges(&machine).context("purged")
}

/// The service is enabled and started, runs sandboxed, and reports a reset.
fn runs(machine: &Container) -> Result<()> {
    for file in FILES {
        ensure!(machine.path(file).is_file(), "{file} is missing");
    }
    ensure!(machine.stdout(&["rstwatch", "--version"])? == format!("rstwatch {}", version()), "wrong version");
    ensure!(machine.stdout(&["systemctl", "is-enabled", "rstwatch"])? == "enabled", "not enabled");
    let network = machine.network()?;
    wait_until("/readyz", || {
        ensure!(machine.succeeds(&["systemctl", "is-active", "--quiet", "rstwatch"])?, "{}", status(machine));
        Ok(in_namespace(&network, check_ready).is_ok())
    })?;
    confined(machine)?;
    // Inside, the process that makes the reset has another PID.
    in_namespace(&network, || Expected { node: None, pid: None }.wait())
}

fn status(machine: &Container) -> String {
    machine
        .stdout(&["systemctl", "status", "--no-pager", "--lines=50", "rstwatch"])
        .unwrap_or_else(|error| error.to_string())
}

/// The sandbox of the unit: not root, three capabilities, no_new_privs, a seccomp filter.
fn confined(machine: &Container) -> Result<()> {
    let pid = main_pid(machine)?;
    let status = machine.stdout(&["cat", &format!("/proc/{pid}/status")])?;
    let of = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()).unwrap_or_default().to_owned()
    };
    ensure!(of("Uid") != "0", "the agent runs as root");
    ensure!(of("NoNewPrivs") == "1" && of("Seccomp") == "2", "no seccomp filter or no_new_privs: {status}");
    let wanted = BASE.iter().chain([&WITHOUT_FENTRY]).filter_map(|name| CapabilitySet::from_name(name));
    let wanted = wanted.fold(CapabilitySet::empty(), CapabilitySet::union);
    let bounding = u64::from_str_radix(&of("CapBnd"), 16)?;
    ensure!(bounding == wanted.bits(), "the bounding set is {bounding:x}, not {:x}", wanted.bits());
    // A ready agent has dropped its capabilities, except CAP_BPF where the kernel requires it for reading maps.
    let left = u64::from_str_radix(&of("CapEff"), 16)?;
    ensure!(left & !CapabilitySet::BPF.bits() == 0, "the agent has kept the capabilities {left:x}");
    Ok(())
}

fn main_pid(machine: &Container) -> Result<String> {
    machine.stdout(&["systemctl", "show", "--property=MainPID", "--value", "rstwatch"])
}

/// A reload does not restart the agent. An invalid configuration is logged and changes nothing.
fn reloads(machine: &Container) -> Result<()> {
    let before = main_pid(machine)?;
    let shipped = fs::read_to_string(machine.path(CONFIG))?;
    for (limit, message) in [("0", "workload_limit is 0"), ("7", "configuration read from")] {
        fs::write(machine.path(CONFIG), format!("{shipped}\nworkload_limit = {limit}\n"))?;
        ensure!(!journal(machine)?.contains(message), "{message:?} logged before the reload");
        machine.stdout(&["systemctl", "reload", "rstwatch"])?;
        wait_until(message, || Ok(journal(machine)?.contains(message)))?;
        ensure!(main_pid(machine)? == before, "the reload restarted the agent: {}", status(machine));
        in_namespace(&machine.network()?, check_ready)?;
    }
    Ok(())
}

/// The journal of the service.
fn journal(machine: &Container) -> Result<String> {
    machine.stdout(&["journalctl", "--no-pager", "--output=cat", "--unit=rstwatch"])
}

/// An upgrade restarts the agent and keeps a changed configuration.
fn upgrades(machine: &Container) -> Result<()> {
    let before = main_pid(machine)?;
    machine.stdout(&["dpkg", "-i", PACKAGE])?;
    ensure!(main_pid(machine)? != before, "the old process still runs");
    ensure!(fs::read_to_string(machine.path(CONFIG))?.contains("workload_limit = 7"), "the configuration was replaced");
    Ok(())
}

/// Removal stops the agent and leaves only the configuration; a new installation starts it again.
fn removes(machine: &Container) -> Result<()> {
    let pid = main_pid(machine)?;
    machine.stdout(&["dpkg", "-r", "rstwatch"])?;
    ensure!(!machine.path(&format!("/proc/{pid}")).exists(), "the process still runs");
    for file in FILES {
        ensure!(machine.path(file).exists() == (file == CONFIG), "wrong state of {file}");
    }
    machine.stdout(&["dpkg", "-i", PACKAGE])?;
    ensure!(
        machine.succeeds(&["systemctl", "is-active", "--quiet", "rstwatch"])?,
        "not started again: {}",
        status(machine)
    );
    Ok(())
}

/// A purge leaves no file with rstwatch in its name.
fn purges(machine: &Container) -> Result<()> {
    machine.stdout(&["dpkg", "-P", "rstwatch"])?;
    ensure!(!machine.succeeds(&["systemctl", "cat", "rstwatch"])?, "systemd still knows the unit");
    let left = machine.stdout(&["find", "/run/layer/up", "-name", "*rstwatch*", "!", "-type", "c"])?;
    let left: Vec<_> = left.lines().collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}
