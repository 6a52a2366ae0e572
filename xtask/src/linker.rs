//! Finds or builds a bpf-linker with the same LLVM version as rustc.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use dev_support::{command, paths, setup};

use crate::toolchain::{self, Toolchain};

/// The version is fixed, because another may lay out the object differently.
const VERSION: &str = "0.13.0";

/// A suitable bpf-linker.
#[derive(Debug)]
pub(crate) struct Linker {
    /// Its folder, to be put first in PATH.
    pub(crate) folder: PathBuf,
    /// Its version and that of its LLVM: both determine the bytes of the object.
    pub(crate) version: String,
}

/// Finds a suitable bpf-linker in PATH, else in the target folder; builds it there if it is missing.
pub(crate) fn find(toolchain: &Toolchain) -> Result<Linker> {
    let in_path = paths::program("bpf-linker");
    if let Some(linker) = in_path.and_then(|file| probe(&file, toolchain)) {
        return Ok(linker);
    }
    let llvm = toolchain.llvm_major;
    let home = paths::target().join(format!("ebpf-toolchain/bpf-linker-{VERSION}-llvm{llvm}"));
    let file = home.join("bin/bpf-linker");
    if let Some(linker) = probe(&file, toolchain) {
        return Ok(linker);
    }
    build(toolchain, &home)?;
    probe(&file, toolchain).context("the bpf-linker just built does not run")
}

fn probe(file: &Path, toolchain: &Toolchain) -> Option<Linker> {
    let version = command::stdout(Command::new(file).arg("--version"))?;
    // This option of LLVM prints its version and exits before any input is read.
    let mut query = Command::new(file);
    let llvm = command::stdout(query.args(["--llvm-args=--version", "-o", "/dev/null", "/dev/null"]))?;
    let fits = version == format!("bpf-linker {VERSION}") && toolchain::llvm_major(&llvm) == Some(toolchain.llvm_major);
    let llvm_line = llvm.lines().next().unwrap_or_default().trim();
    fits.then(|| Linker {
        folder: file.parent().unwrap_or(file).to_owned(),
        version: format!("{VERSION}, {llvm_line}"),
    })
}

/// Builds bpf-linker with Debian's shared LLVM library. LLVM's development package is not needed: the build uses only
/// `lib/libLLVM.so` of its prefix.
fn build(toolchain: &Toolchain, home: &Path) -> Result<()> {
    let prefix = home.join("llvm");
    let major = toolchain.llvm_major;
    fs::create_dir_all(prefix.join("lib"))?;
    let link = prefix.join("lib/libLLVM.so");
    if link.symlink_metadata().is_ok() {
        fs::remove_file(&link)?;
    }
    symlink(llvm_library(major)?, &link)?;
    eprintln!("building bpf-linker {VERSION} for LLVM {major} (about a minute, once)");
    let scratch = home.join("build");
    let mut cargo = Command::new(&toolchain.cargo);
    toolchain::scrub(&mut cargo);
    cargo
        .args(["install", "bpf-linker", "--locked", "--force", "--version", VERSION])
        .args(["--no-default-features", "--features", &format!("llvm-{major}")])
        .args([Path::new("--root"), home, Path::new("--target-dir"), &scratch])
        .env("RUSTC", &toolchain.rustc)
        .env("LLVM_PREFIX", &prefix)
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .current_dir("/");
    command::run_quiet(&mut cargo)?;
    fs::remove_dir_all(&scratch).context("cannot remove the linker's build folder")
}

fn llvm_library(major: u32) -> Result<PathBuf> {
    let name = format!("libLLVM.so.{major}.1");
    if setup::library(&name).is_none() && major == setup::LLVM_MAJOR {
        setup::ensure(setup::Purpose::Ebpf)?;
    }
    let Some(library) = setup::library(&name) else {
        bail!(
            "no bpf-linker {VERSION} with LLVM {major} in PATH, and no {name} to build one: \
             `cargo install bpf-linker --version {VERSION} --no-default-features --features llvm-{major}`"
        );
    };
    Ok(library)
}
