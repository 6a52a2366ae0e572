//! The Debian packages that building, testing and demonstrating need beyond Rust.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::{command, paths};

/// What a package is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Building the eBPF object.
    Ebpf,
    /// Making resets in network namespaces.
    Lab,
    /// Booting kernels in virtual machines.
    Vm,
    /// Checking what other programs read: metrics and rules.
    Formats,
    /// Looking at pages in a browser.
    Browser,
    /// Building the container image.
    Image,
    /// Checking and installing the Debian package.
    Debian,
    /// Reading manifests, unit, man pages and completions as their users do.
    Packaging,
    /// Measuring, and the programs to compare with.
    Bench,
    /// Driving the agent for long.
    Soak,
}

/// How to see that a package is not needed any more.
#[derive(Clone, Copy)]
enum Witness {
    Program(&'static str),
    File(&'static str),
    /// A file in the folder of shared libraries, whatever the architecture.
    Library(&'static str),
}

/// Of the LLVM that `libllvm22` and Debian's rustc-web have.
pub const LLVM_MAJOR: u32 = 22;

use Witness::{File, Library, Program};

/// The core library that belongs to /usr/bin/rustc. A rustc without it is of another
/// package, and makes room for rustc-web.
const CORE: &str = "/usr/lib/rustlib/src/rust/library/core/src/lib.rs";

/// rustc-web brings a rustc with sources of its own core library, and one LLVM for
/// it and for bpf-linker.
const NEEDED: &[(Purpose, &str, Witness)] = &[
    (Purpose::Ebpf, "rustc-web", File(CORE)),
    (Purpose::Ebpf, "cargo-web", File(CORE)),
    (Purpose::Ebpf, "rust-web-src", File(CORE)),
    (Purpose::Ebpf, "libllvm22", Library("libLLVM.so.22.1")),
    (Purpose::Ebpf, "gcc", Program("cc")),
    (Purpose::Lab, "nginx-light", Program("nginx")),
    (Purpose::Lab, "haproxy", Program("haproxy")),
    (Purpose::Lab, "nftables", Program("nft")),
    (Purpose::Lab, "iptables", Program("iptables")),
    (Purpose::Lab, "conntrack", Program("conntrack")),
    (Purpose::Lab, "hping3", Program("hping3")),
    (Purpose::Lab, "iproute2", Program("ip")),
    (Purpose::Vm, "qemu-system-x86", Program("qemu-system-x86_64")),
    (Purpose::Vm, "xz-utils", Program("xz")),
    (Purpose::Formats, "prometheus", Program("promtool")),
    (Purpose::Browser, "chromium", Program("chromium")),
    (Purpose::Browser, "nodejs", Program("node")),
    (Purpose::Browser, "npm", Program("npm")),
    (Purpose::Image, "buildah", Program("buildah")),
    (Purpose::Debian, "lintian", Program("lintian")),
    (Purpose::Debian, "systemd", File("/lib/systemd/systemd")),
    (Purpose::Packaging, "npm", Program("npm")),
    (Purpose::Packaging, "unzip", Program("unzip")),
    (Purpose::Packaging, "systemd", Program("systemd-analyze")),
    (Purpose::Packaging, "mandoc", Program("mandoc")),
    (Purpose::Packaging, "zsh", Program("zsh")),
    (Purpose::Packaging, "fish", Program("fish")),
    (Purpose::Packaging, "prometheus", Program("promtool")),
    (Purpose::Bench, "iproute2", Program("ip")),
    (Purpose::Bench, "bpftool", Program("bpftool")),
    (Purpose::Bench, "bpftrace", Program("bpftrace")),
    (Purpose::Bench, "tcpdump", Program("tcpdump")),
    (Purpose::Bench, "libbpf-tools", Program("tcpstates")),
    (Purpose::Soak, "iproute2", Program("ip")),
    (Purpose::Soak, "bpftool", Program("bpftool")),
];

/// Installs what is missing for a purpose; does nothing when all is there.
pub fn ensure(purpose: Purpose) -> Result<()> {
    let missing = missing(purpose);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let install = format!("apt-get install --no-install-recommends {list}");
    if paths::program("apt-get").is_none() {
        bail!("missing: {list}, and there is no apt-get: install what these Debian packages hold");
    }
    if !rustix::process::geteuid().is_root() {
        bail!("missing: {list}: run as root, or install them with `{install}`");
    }
    eprintln!("installing {list}");
    command::run_quiet(apt_get().arg("update"))?;
    command::run_quiet(apt_get().args(["install", "-y", "--no-install-recommends"]).args(&missing))
}

/// The packages of a purpose whose witness is not there.
fn missing(purpose: Purpose) -> Vec<&'static str> {
    NEEDED
        .iter()
        .filter(|(of, _, witness)| *of == purpose && !present(*witness))
        .map(|(_, package, _)| *package)
        .collect()
}

fn present(witness: Witness) -> bool {
    match witness {
        Program(name) => paths::program(name).is_some(),
        File(path) => Path::new(path).exists(),
        Library(name) => library(name).is_some(),
    }
}

/// A shared library by its file name, in Debian's folders of libraries.
pub fn library(name: &str) -> Option<std::path::PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    folders.flatten().map(|folder| folder.path().join(name)).find(|file| file.exists())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.arg("-qq").env("DEBIAN_FRONTEND", "noninteractive");
    command
}
