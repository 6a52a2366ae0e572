//! Finds the rustc that builds the eBPF object.
//!
//! That rustc needs its standard library's sources (`rust-src`), because it builds `core` for the BPF target. It need not be the
//! default toolchain: the daemon builds with stable Rust.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use dev_support::command;
use dev_support::setup::{self, Purpose};

/// Environment variable with the path of the rustc to use.
const OVERRIDE: &str = "RSTWATCH_EBPF_RUSTC";

/// Minor version of the oldest Rust 1.x that can build the eBPF crate.
const MIN_MINOR: u32 = 88;

/// A rustc with the sources of its standard library.
#[derive(Debug)]
pub(crate) struct Toolchain {
    pub(crate) rustc: PathBuf,
    pub(crate) cargo: PathBuf,
    /// Directory of the standard library's sources, under the path that rustc gives it.
    pub(crate) library: PathBuf,
    /// The output of `rustc --version`.
    pub(crate) version: String,
    /// Major version of the LLVM in rustc.
    pub(crate) llvm_major: u32,
}

/// Finds a toolchain, preferably one whose `rustc --version` prints `preferred`. If there is none, installs Debian's.
pub(crate) fn find(preferred: Option<&str>) -> Result<Toolchain> {
    if let Some(rustc) = env::var_os(OVERRIDE) {
        let rustc = PathBuf::from(rustc);
        return probe(&rustc).with_context(|| format!("{OVERRIDE} cannot be used"));
    }
    if let Some(toolchain) = choose(preferred) {
        return Ok(toolchain);
    }
    setup::ensure(Purpose::Ebpf).context(
        "no rustc with the sources of its standard library; install one with \
         `rustup toolchain install nightly --component rust-src`, or Debian's rustc-web and rust-web-src",
    )?;
    choose(preferred).context("/usr/bin/rustc is unusable: install Debian's rustc-web and rust-web-src")
}

fn choose(preferred: Option<&str>) -> Option<Toolchain> {
    let debian = Some(PathBuf::from("/usr/bin/rustc"));
    let mut toolchains: Vec<Toolchain> =
        [rustup_nightly(), debian].into_iter().flatten().filter_map(|rustc| probe(&rustc).ok()).collect();
    let matching = toolchains.iter().position(|it| Some(it.version.as_str()) == preferred);
    (!toolchains.is_empty()).then(|| toolchains.swap_remove(matching.unwrap_or(0)))
}

fn rustup_nightly() -> Option<PathBuf> {
    let mut rustup = Command::new("rustup");
    let sysroot = command::stdout(rustup.args(["run", "nightly", "rustc", "--print", "sysroot"]))?;
    Some(Path::new(&sysroot).join("bin/rustc"))
}

/// Queries a rustc, and checks that it can build the object.
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
    if minor < Some(MIN_MINOR) {
        bail!("{version} is older than 1.{MIN_MINOR}");
    }
    let llvm_major = llvm_major(&verbose).context("rustc -vV does not print its LLVM version")?;
    let bundled = sysroot.join("bin/cargo");
    let cargo = if bundled.exists() { bundled } else { "cargo".into() };
    let rustc = rustc.to_owned();
    Ok(Toolchain { rustc, cargo, library, version, llvm_major })
}

/// The major version that follows the words "LLVM version".
pub(crate) fn llvm_major(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("LLVM version")?;
    let digits = version.trim_start_matches([':', ' ']);
    digits.split('.').next()?.parse().ok()
}

/// Removes the variables of `cargo run` and the user's own build settings from a child's environment. Those that tell cargo
/// where its home and its registries are, and how to reach them, stay.
pub(crate) fn scrub(command: &mut Command) {
    const KEPT: [&str; 6] =
        ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_", "RUSTUP_HOME"];
    const SCRUBBED: [&str; 4] = ["CARGO", "RUST", "LLVM_", "LD_LIBRARY_PATH"];
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let has_prefix = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        if has_prefix(&SCRUBBED) && !has_prefix(&KEPT) {
            command.env_remove(&*name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::llvm_major;

    #[test]
    fn llvm_major_of_rustc_and_llvm_tools() {
        assert_eq!(llvm_major("release: 1.96.0\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_major("Debian LLVM version 22.1.8\n  Optimized build."), Some(22));
        assert_eq!(llvm_major("LLVM version unknown"), None);
    }
}
