//! The package's life under a real systemd: installed, started, reloaded, upgraded, removed, purged.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::thread::CapabilitySet;

use super::booted::Booted;
use crate::image::version;
use crate::packaging::live::{Seen, in_namespace, ready, until};
use crate::packaging::rights::{ALWAYS, WITHOUT_FENTRY};

const CONFIG: &str = "/etc/rstwatch/config.toml";
const PACKAGE: &str = "/var/cache/package.deb";
/// Files that a user looks for.
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
    let machine = Booted::start().context("a systemd of its own")?;
    for file in FILES {
        ensure!(!machine.path(file).exists(), "{file} is there before the package: remove it first");
    }
    fs::copy(package, machine.path(PACKAGE))?;
    machine.tool(&["dpkg", "-i", PACKAGE])?;
    runs(&machine).context("installed")?;
    reloads(&machine)?;
    upgrades(&machine).context("upgraded")?;
    removes(&machine).context("removed")?;
    purges(&machine).context("purged")
}

/// It is enabled and started, as its unit says, and does its work.
fn runs(machine: &Booted) -> Result<()> {
    for file in FILES {
        ensure!(machine.path(file).is_file(), "no {file}");
    }
    ensure!(machine.tool(&["rstwatch", "--version"])? == format!("rstwatch {}", version()), "another version");
    ensure!(machine.tool(&["systemctl", "is-enabled", "rstwatch"])? == "enabled", "not enabled");
    let network = machine.network()?;
    until("/readyz", || {
        ensure!(machine.is(&["systemctl", "is-active", "--quiet", "rstwatch"])?, "{}", status(machine));
        Ok(in_namespace(&network, ready).is_ok())
    })?;
    confined(machine)?;
    // The process that makes the reset has another id inside.
    in_namespace(&network, || Seen { node: None, pid: None }.wait())
}

fn status(machine: &Booted) -> String {
    machine
        .tool(&["systemctl", "status", "--no-pager", "--lines=50", "rstwatch"])
        .unwrap_or_else(|error| error.to_string())
}

/// What systemd gave it: not root, three capabilities, no way to more, a filter of system calls.
fn confined(machine: &Booted) -> Result<()> {
    let pid = main_pid(machine)?;
    let status = machine.tool(&["cat", &format!("/proc/{pid}/status")])?;
    let of = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()).unwrap_or_default().to_owned()
    };
    ensure!(of("Uid") != "0", "it is root");
    ensure!(of("NoNewPrivs") == "1" && of("Seccomp") == "2", "not confined: {status}");
    let wanted = ALWAYS.iter().chain([&WITHOUT_FENTRY]).filter_map(|name| CapabilitySet::from_name(name));
    let wanted = wanted.fold(CapabilitySet::empty(), CapabilitySet::union);
    let bounding = u64::from_str_radix(&of("CapBnd"), 16)?;
    ensure!(bounding == wanted.bits(), "its bounding set is {bounding:x}, not {:x}", wanted.bits());
    // Ready means locked down: of the rights that it had, one may be left where the kernel reads maps for nobody else.
    let left = u64::from_str_radix(&of("CapEff"), 16)?;
    ensure!(left & !CapabilitySet::BPF.bits() == 0, "it has kept {left:x}");
    Ok(())
}

fn main_pid(machine: &Booted) -> Result<String> {
    machine.tool(&["systemctl", "show", "--property=MainPID", "--value", "rstwatch"])
}

/// A reload is no restart. A configuration that is wrong is told, and changes nothing.
fn reloads(machine: &Booted) -> Result<()> {
    let before = main_pid(machine)?;
    let shipped = fs::read_to_string(machine.path(CONFIG))?;
    for (limit, told) in [("0", "workload_limit is 0"), ("7", "configuration read from")] {
        fs::write(machine.path(CONFIG), format!("{shipped}\nworkload_limit = {limit}\n"))?;
        ensure!(!journal(machine)?.contains(told), "{told:?} before the reload");
        machine.tool(&["systemctl", "reload", "rstwatch"])?;
        until(told, || Ok(journal(machine)?.contains(told)))?;
        ensure!(main_pid(machine)? == before, "reload restarted it: {}", status(machine));
        in_namespace(&machine.network()?, ready)?;
    }
    Ok(())
}

/// What the service has said.
fn journal(machine: &Booted) -> Result<String> {
    machine.tool(&["journalctl", "--no-pager", "--output=cat", "--unit=rstwatch"])
}

/// The new one is started, and the configuration that was changed is kept.
fn upgrades(machine: &Booted) -> Result<()> {
    let before = main_pid(machine)?;
    machine.tool(&["dpkg", "-i", PACKAGE])?;
    ensure!(main_pid(machine)? != before, "the old one runs on");
    ensure!(fs::read_to_string(machine.path(CONFIG))?.contains("workload_limit = 7"), "the configuration was replaced");
    Ok(())
}

/// Nothing runs, nothing but the configuration is left.
fn removes(machine: &Booted) -> Result<()> {
    let pid = main_pid(machine)?;
    machine.tool(&["dpkg", "-r", "rstwatch"])?;
    ensure!(!machine.path(&format!("/proc/{pid}")).exists(), "it runs on");
    for file in FILES {
        ensure!(machine.path(file).exists() == (file == CONFIG), "{file}");
    }
    machine.tool(&["dpkg", "-i", PACKAGE])?;
    ensure!(machine.is(&["systemctl", "is-active", "--quiet", "rstwatch"])?, "not started again: {}", status(machine));
    Ok(())
}

/// No file is left that bears the name.
fn purges(machine: &Booted) -> Result<()> {
    machine.tool(&["dpkg", "-P", "rstwatch"])?;
    ensure!(!machine.is(&["systemctl", "cat", "rstwatch"])?, "systemd still knows the unit");
    let left = machine.tool(&["find", "/run/layer/up", "-name", "*rstwatch*", "!", "-type", "c"])?;
    let left: Vec<_> = left.lines().collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}
