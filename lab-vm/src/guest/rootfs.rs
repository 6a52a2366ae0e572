//! The VM's root file system (an initramfs): programs and libraries copied from this machine, this program as `/init`, and the
//! kernel's modules.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use dev_support::paths;
use serde::{Deserialize, Serialize};

use super::cpio::Cpio;
use super::modules::Module;

/// Programs that the lab requires.
const REQUIRED: [&str; 13] = [
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

/// Programs that are copied if this machine has them: rows that need a missing one are skipped, and `--shell-command` can use
/// them.
const OPTIONAL: [&str; 37] = [
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

/// The directory of iptables' extensions.
const XTABLES: &str = "xtables";

const DIRECTORIES: [&str; 11] =
    ["/dev", "/proc", "/sys", "/run", "/tmp", "/root", "/out", "/var/log/nginx", "/var/lib/nginx", "/etc", "/mnt"];

/// The directory of kernel modules in the VM. File names start with a number: the loading order.
pub(crate) const MODULES: &str = "/modules";
/// The file that tells `/init` what to run.
pub(crate) const TASK: &str = "/task.json";
/// Paths of the project's programs in the VM.
pub(crate) const RSTWATCH: &str = "/usr/bin/rstwatch";
pub(crate) const XTASK: &str = "/usr/bin/xtask";

/// The task of the first process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) command: Vec<String>,
}

/// Builds the part of the initramfs that is the same for all kernels.
pub(crate) fn common(rstwatch: &Path, task: &Task) -> Result<Cpio> {
    let mut cpio = Cpio::default();
    for folder in DIRECTORIES {
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
    let mut programs = Programs { cpio: &mut cpio, added: Vec::new() };
    let own = std::env::current_exe().context("cannot find this program's file")?;
    programs.add(&own, &["/init", XTASK])?;
    programs.add(rstwatch, &[RSTWATCH])?;
    programs.add_from_path()?;
    programs.add_xtables()?;
    programs.add_libraries()?;
    Ok(cpio)
}

/// Adds a kernel's modules and finishes the initramfs.
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
    fn add_from_path(&mut self) -> Result<()> {
        for name in REQUIRED {
            let Some(file) = paths::program(name) else {
                bail!("the VM needs the program {name}: install it");
            };
            self.add(&file, &[&format!("/usr/bin/{name}")])?;
        }
        for name in OPTIONAL {
            if let Some(file) = paths::program(name) {
                self.add(&file, &[&format!("/usr/bin/{name}")])?;
            }
        }
        // bash, because the shell of busybox prefers its builtin commands to the programs in PATH.
        let bash = paths::program("bash").context("no bash")?;
        self.add(&bash, &["/bin/sh", "/bin/bash"])
    }

    /// Adds the extensions, which iptables loads with dlopen(3), so ldd does not list them.
    fn add_xtables(&mut self) -> Result<()> {
        let Some(folder) = dev_support::setup::library(XTABLES) else {
            bail!("no iptables extensions found: install iptables");
        };
        for extension in fs::read_dir(&folder)? {
            let extension = extension?.path();
            self.add(&extension, &[&extension.to_string_lossy()])?;
        }
        Ok(())
    }

    fn add(&mut self, file: &Path, names: &[&str]) -> Result<()> {
        self.added.push(file.to_owned());
        names.iter().try_for_each(|name| self.cpio.copy(file, name))
    }

    /// Adds the shared libraries of all programs added so far.
    fn add_libraries(&mut self) -> Result<()> {
        // ldd fails for scripts but continues with the next file, so its exit status is ignored.
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
        let output = "/usr/bin/ip:\n\tlinux-vdso.so.1 (0x00007ffc)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let paths = libraries(output).unwrap();
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(paths, expected.map(PathBuf::from).into());
        assert!(libraries("\tstatically linked\n").unwrap().is_empty());
    }

    #[test]
    fn rejects_a_missing_library() {
        assert!(libraries("\tlibodd.so.1 => not found\n").is_err());
    }
}
