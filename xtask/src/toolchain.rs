//! Which rustc builds the eBPF object.
//!
//! It must have the sources of its own core library, and none is asked to be the
//! one in use: the daemon is built by plain stable Rust.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use dev_support::command;
use dev_support::setup::{self, Purpose};

/// Names a rustc to build the eBPF object with, ahead of all others.
const OVERRIDE: &str = "RSTWATCH_EBPF_RUSTC";

/// The first Rust 1.x that knows what the sources use.
const OLDEST: u32 = 88;

/// A rustc that can build its own core library.
#[derive(Debug)]
pub(crate) struct Toolchain {
    pub(crate) rustc: PathBuf,
    pub(crate) cargo: PathBuf,
    /// Where the sources of the standard library stand, as rustc names them.
    pub(crate) library: PathBuf,
    /// The line that `rustc --version` prints.
    pub(crate) version: String,
    /// Of the LLVM whose bitcode it writes.
    pub(crate) llvm_major: u32,
}

/// The toolchain to build with, by preference the one of the given version line.
/// Installs Debian's when there is none at all.
pub(crate) fn find(preferred: Option<&str>) -> Result<Toolchain> {
    if let Some(rustc) = env::var_os(OVERRIDE) {
        let rustc = PathBuf::from(rustc);
        return probe(&rustc).with_context(|| format!("{OVERRIDE} is of no use"));
    }
    if let Some(found) = choose(preferred) {
        return Ok(found);
    }
    setup::ensure(Purpose::Ebpf).context(
        "no rustc with the sources of its core library: \
         `rustup toolchain install nightly --component rust-src`, or Debian's rustc-web",
    )?;
    choose(preferred).context("/usr/bin/rustc is not Debian's rustc-web: install that, and rust-web-src")
}

fn choose(preferred: Option<&str>) -> Option<Toolchain> {
    let debian = Some(PathBuf::from("/usr/bin/rustc"));
    let mut found: Vec<Toolchain> =
        [rustup_nightly(), debian].into_iter().flatten().filter_map(|rustc| probe(&rustc).ok()).collect();
    let recorded = found.iter().position(|t| Some(t.version.as_str()) == preferred);
    (!found.is_empty()).then(|| found.swap_remove(recorded.unwrap_or(0)))
}

fn rustup_nightly() -> Option<PathBuf> {
    let mut rustup = Command::new("rustup");
    let sysroot = command::stdout(rustup.args(["run", "nightly", "rustc", "--print", "sysroot"]))?;
    Some(Path::new(&sysroot).join("bin/rustc"))
}

fn probe(rustc: &Path) -> Result<Toolchain> {
    let ask = |arg: &str| {
        let mut command = Command::new(rustc);
        command::stdout(command.args(arg.split(' '))).with_context(|| format!("`{} {arg}` failed", rustc.display()))
    };
    let sysroot = PathBuf::from(ask("--print sysroot")?);
    let library = sysroot.join("lib/rustlib/src/rust");
    if !library.join("library/core/src/lib.rs").exists() {
        bail!("{} has no rust-src", rustc.display());
    }
    let verbose = ask("-vV")?;
    let version = verbose.lines().next().unwrap_or_default().to_owned();
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse().ok());
    if minor < Some(OLDEST) {
        bail!("{version} is older than 1.{OLDEST}");
    }
    let llvm_major = llvm_major(&verbose).context("rustc does not say its LLVM version")?;
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

/// Takes out of a child's environment what a `cargo run` or a user put there to steer
/// other builds; how to reach the network stays.
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
    fn llvm_in_either_program_s_words() {
        assert_eq!(llvm_major("release: 1.96.0\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_major("Debian LLVM version 22.1.8\n  Optimized build."), Some(22));
        assert_eq!(llvm_major("LLVM version unknown"), None);
    }
}
