//! The VM's root file system: this machine's programs with their libraries, this program as `/init`, and the kernel's modules.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use dev_support::paths;
use serde::{Deserialize, Serialize};

use super::cpio::Cpio;
use super::modules::Module;

/// Programs that the lab needs.
const PROGRAMS: [&str; 13] = [
    "bash",
    "ip",
    "nft",
    "iptables",
    "iptables-nft",
    "ip6tables-nft",
    "conntrack",
    "nginx",
    "haproxy",
    "hping3",
    "ss",
    "prometheus",
    "setpriv",
];

/// Programs that are copied if this machine has them, for rows that are otherwise skipped and for `--shell-command`.
const EXTRAS: [&str; 37] = [
    "ip6tables",
    "iptables-legacy",
    "ip6tables-legacy",
    "tc",
    "tcpdump",
    "bpftool",
    "bpftrace",
    "strace",
    "nc",
    "curl",
    "cat",
    "cp",
    "ls",
    "grep",
    "sed",
    "awk",
    "head",
    "tail",
    "sort",
    "uniq",
    "wc",
    "cut",
    "sleep",
    "timeout",
    "dmesg",
    "uname",
    "ps",
    "kill",
    "sysctl",
    "mount",
    "mkdir",
    "rm",
    "date",
    "stat",
    "readlink",
    "tr",
    "chmod",
];

/// The folder of iptables' plug-ins.
const XTABLES: &str = "xtables";

const FOLDERS: [&str; 11] =
    ["/dev", "/proc", "/sys", "/run", "/tmp", "/root", "/out", "/var/log/nginx", "/var/lib/nginx", "/etc", "/mnt"];

/// The folder of modules in the VM; names begin with numbers in loading order.
pub(crate) const MODULES: &str = "/modules";
/// The task of the first process.
pub(crate) const TASK: &str = "/task.json";
/// Paths of our own programs in the VM.
pub(crate) const RSTWATCH: &str = "/usr/bin/rstwatch";
pub(crate) const XTASK: &str = "/usr/bin/xtask";

/// The task of the first process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) command: Vec<String>,
}

/// The part of the initramfs that all kernels share.
pub(crate) fn common(rstwatch: &Path, task: &Task) -> Result<Cpio> {
    let mut cpio = Cpio::default();
    for folder in FOLDERS {
        cpio.folder(folder)?;
    }
    for (path, text) in [
        ("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n"),
        ("/etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
        // `ip rule` reads the names of protocols from this file.
        ("/etc/protocols", "icmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\n"),
        ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\nprotocols: files\n"),
    ] {
        cpio.file(path, text.as_bytes())?;
    }
    cpio.file(TASK, &serde_json::to_vec(task)?)?;
    let mut all = Programs { cpio: &mut cpio, added: Vec::new() };
    let own = std::env::current_exe().context("cannot find this program's file")?;
    all.add(&own, &["/init", XTASK])?;
    all.add(rstwatch, &[RSTWATCH])?;
    all.add_named()?;
    all.add_xtables()?;
    all.add_libraries()?;
    Ok(cpio)
}

/// Adds a kernel's modules, which ends the initramfs.
pub(crate) fn with_modules(mut cpio: Cpio, modules: &[Module]) -> Result<Vec<u8>> {
    cpio.folder(MODULES)?;
    for (number, module) in modules.iter().enumerate() {
        cpio.file(&format!("{MODULES}/{number:03}-{}", module.name), &module.image)?;
    }
    cpio.finish()
}

struct Programs<'a> {
    cpio: &'a mut Cpio,
    added: Vec<PathBuf>,
}

impl Programs<'_> {
    fn add_named(&mut self) -> Result<()> {
        for name in PROGRAMS {
            let Some(file) = paths::program(name) else {
                bail!("the VM needs the program {name}: install it");
            };
            self.add(&file, &[&format!("/usr/bin/{name}")])?;
        }
        for name in EXTRAS {
            if let Some(file) = paths::program(name) {
                self.add(&file, &[&format!("/usr/bin/{name}")])?;
            }
        }
        // Not busybox, whose shell prefers its own commands to the programs in PATH.
        let bash = paths::program("bash").context("no bash")?;
        self.add(&bash, &["/bin/sh", "/bin/bash"])
    }

    /// Adds the plug-ins that iptables loads by name, which ldd does not list.
    fn add_xtables(&mut self) -> Result<()> {
        let Some(folder) = dev_support::setup::library(XTABLES) else {
            bail!("no plug-ins of iptables: install iptables");
        };
        for plugin in fs::read_dir(&folder)? {
            let plugin = plugin?.path();
            self.add(&plugin, &[&plugin.to_string_lossy()])?;
        }
        Ok(())
    }

    fn add(&mut self, file: &Path, names: &[&str]) -> Result<()> {
        self.added.push(file.to_owned());
        names.iter().try_for_each(|name| self.cpio.copy(file, name))
    }

    /// Adds the libraries of all programs.
    fn add_libraries(&mut self) -> Result<()> {
        // ldd fails for scripts, but goes on to the next file.
        let done = Command::new("ldd").args(&self.added).env("LC_ALL", "C").output().context("cannot run ldd")?;
        for library in libraries(&String::from_utf8_lossy(&done.stdout))? {
            self.cpio.copy(&library, &library.to_string_lossy())?;
        }
        Ok(())
    }
}

/// Parses the output of `ldd` for several files.
fn libraries(output: &str) -> Result<BTreeSet<PathBuf>> {
    if let Some(line) = output.lines().find(|line| line.contains("not found")) {
        bail!("a library is missing: {}", line.trim());
    }
    let lines = output.lines().filter(|line| !line.ends_with(':'));
    let words = lines.flat_map(str::split_whitespace);
    Ok(words.filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_libraries_from_ldd() {
        let said = "/usr/bin/ip:\n\tlinux-vdso.so.1 (0x00007ffc)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let paths = libraries(said).unwrap();
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(paths, expected.map(PathBuf::from).into());
        assert!(libraries("\tstatically linked\n").unwrap().is_empty());
    }

    #[test]
    fn rejects_a_missing_library() {
        assert!(libraries("\tlibodd.so.1 => not found\n").is_err());
    }
}
