//! Finds the rustc that builds the eBPF object.
//!
//! It needs the sources of its own core library. It need not be the default toolchain: the daemon builds with stable Rust.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use dev_support::command;
use dev_support::setup::{self, Purpose};

/// Environment variable with the path of the rustc to use.
const OVERRIDE: &str = "RSTWATCH_EBPF_RUSTC";

/// The first Rust 1.x with all features that the sources use.
const OLDEST: u32 = 88;

/// A rustc that can build its own core library.
#[derive(Debug)]
pub(crate) struct Toolchain {
    pub(crate) rustc: PathBuf,
    pub(crate) cargo: PathBuf,
    /// Folder of the standard library's sources, as rustc names it.
    pub(crate) library: PathBuf,
    /// The output of `rustc --version`.
    pub(crate) version: String,
    /// Major version of its LLVM.
    pub(crate) llvm_major: u32,
}

/// Finds a toolchain, preferably with the given version line. Installs Debian's if there is none.
pub(crate) fn find(preferred: Option<&str>) -> Result<Toolchain> {
    if let Some(rustc) = env::var_os(OVERRIDE) {
        let rustc = PathBuf::from(rustc);
        return probe(&rustc).with_context(|| format!("{OVERRIDE} cannot be used"));
    }
    if let Some(toolchain) = choose(preferred) {
        return Ok(toolchain);
    }
    setup::ensure(Purpose::Ebpf).context(
        "no rustc with the sources of its core library: \
         `rustup toolchain install nightly --component rust-src`, or Debian's rustc-web",
    )?;
    choose(preferred).context("/usr/bin/rustc is not Debian's rustc-web: install that, and rust-web-src")
}

fn choose(preferred: Option<&str>) -> Option<Toolchain> {
    let debian = Some(PathBuf::from("/usr/bin/rustc"));
    let mut toolchains: Vec<Toolchain> =
        [rustup_nightly(), debian].into_iter().flatten().filter_map(|rustc| probe(&rustc).ok()).collect();
    let recorded = toolchains.iter().position(|t| Some(t.version.as_str()) == preferred);
    (!toolchains.is_empty()).then(|| toolchains.swap_remove(recorded.unwrap_or(0)))
}

fn rustup_nightly() -> Option<PathBuf> {
    let mut rustup = Command::new("rustup");
    let sysroot = command::stdout(rustup.args(["run", "nightly", "rustc", "--print", "sysroot"]))?;
    Some(Path::new(&sysroot).join("bin/rustc"))
}

fn probe(rustc: &Path) -> Result<Toolchain> {
    let query = |arg: &str| {
        let mut command = Command::new(rustc);
        command::stdout(command.args(arg.split(' '))).with_context(|| format!("`{} {arg}` failed", rustc.display()))
    };
    let sysroot = PathBuf::from(query("--print sysroot")?);
    let library = sysroot.join("lib/rustlib/src/rust");
    if !library.join("library/core/src/lib.rs").exists() {
        bail!("{} lacks the component rust-src", rustc.display());
    }
    let verbose = query("-vV")?;
    let version = verbose.lines().next().unwrap_or_default().to_owned();
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse().ok());
    if minor < Some(OLDEST) {
        bail!("{version} is older than 1.{OLDEST}");
    }
    let llvm_major = llvm_major(&verbose).context("rustc -vV does not print its LLVM version")?;
    let beside = sysroot.join("bin/cargo");
    let cargo = if beside.exists() { beside } else { "cargo".into() };
    let rustc = rustc.to_owned();
    Ok(Toolchain { rustc, cargo, library, version, llvm_major })
}

/// The major number after the words "LLVM version".
pub(crate) fn llvm_major(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("LLVM version")?;
    let digits = version.trim_start_matches([':', ' ']);
    digits.split('.').next()?.parse().ok()
}

/// Removes variables that steer other builds, set by `cargo run` or the user, from a child's environment. Those that configure
/// the network stay.
pub(crate) fn scrub(command: &mut Command) {
    const KEPT: [&str; 6] =
        ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_", "RUSTUP_HOME"];
    const SCRUBBED: [&str; 4] = ["CARGO", "RUST", "LLVM_", "LD_LIBRARY_PATH"];
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let is = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        if is(&SCRUBBED) && !is(&KEPT) {
            command.env_remove(&*name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::llvm_major;

    #[test]
    fn llvm_version_of_rustc_and_of_llvm() {
        assert_eq!(llvm_major("release: 1.96.0\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_major("Debian LLVM version 22.1.8\n  Optimized build."), Some(22));
        assert_eq!(llvm_major("LLVM version unknown"), None);
    }
}
