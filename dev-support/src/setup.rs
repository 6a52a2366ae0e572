//! The Debian packages that the developer commands need, installed on first use.

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
    /// Checking metrics and rules with promtool.
    Formats,
    /// Testing the page in a browser.
    Browser,
    /// Building the container image.
    Image,
    /// Checking and installing the Debian package.
    Debian,
    /// Checking manifests, unit, man pages and completions with the programs that read them.
    Packaging,
    /// Measuring, and the programs that rstwatch is compared with.
    Bench,
    /// Running the soak test.
    Soak,
}

/// What shows that the files of a package are installed, whatever installed them.
#[derive(Clone, Copy)]
enum Marker {
    Program(&'static str),
    File(&'static str),
    /// A file in the directory of shared libraries of any architecture.
    Library(&'static str),
}

/// Major version of the LLVM in `libllvm22` and in Debian's rustc-web.
pub const LLVM_MAJOR: u32 = 22;

use Marker::{File, Library, Program};

/// The sources of the core library for /usr/bin/rustc. A rustc without them comes from a package that rustc-web replaces.
const CORE: &str = "/usr/lib/rustlib/src/rust/library/core/src/lib.rs";

/// Each purpose's packages. rustc-web has a rustc with the sources of its core library, and shares its LLVM with bpf-linker.
const NEEDED: &[(Purpose, &str, Marker)] = &[
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

/// Installs the packages that are missing for a purpose.
pub fn ensure(purpose: Purpose) -> Result<()> {
    let missing = missing(purpose);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let install = format!("apt-get install --no-install-recommends {list}");
    if paths::program("apt-get").is_none() {
        bail!("missing: {list}, and there is no apt-get: install the programs of these Debian packages");
    }
    if !rustix::process::geteuid().is_root() {
        bail!("missing: {list}: run as root, or install them with `{install}`");
    }
    eprintln!("installing {list}");
    command::run_quiet(apt_get().arg("update"))?;
    command::run_quiet(apt_get().args(["install", "-y", "--no-install-recommends"]).args(&missing))
}

/// The packages of a purpose that are not installed.
fn missing(purpose: Purpose) -> Vec<&'static str> {
    NEEDED
        .iter()
        .filter(|(of, _, marker)| *of == purpose && !present(*marker))
        .map(|(_, package, _)| *package)
        .collect()
}

fn present(marker: Marker) -> bool {
    match marker {
        Program(name) => paths::program(name).is_some(),
        File(path) => Path::new(path).exists(),
        Library(name) => library(name).is_some(),
    }
}

/// Finds a file in Debian's directories of shared libraries.
pub fn library(name: &str) -> Option<std::path::PathBuf> {
    let directories = fs::read_dir("/usr/lib").ok()?;
    directories.flatten().map(|directory| directory.path().join(name)).find(|file| file.exists())
}

pub(crate) fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.arg("-qq").env("DEBIAN_FRONTEND", "noninteractive");
    command
}
