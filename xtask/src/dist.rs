//! `cargo xtask dist`: the daemon as one static file, in target/dist.

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use dev_support::cargo::cargo;
use dev_support::{command, paths};
use object::elf::{DT_NEEDED, FileHeader64, PT_INTERP};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};
use object::{Endianness, elf};

use crate::flags;

/// The C library is linked in; deploy/image/Containerfile says the same.
pub(crate) const STATIC: &str = "-C target-feature=+crt-static";
/// What Cargo is asked for, likewise.
pub(crate) const BUILD: &str = "cargo build --release --locked --package rstwatch";

/// Runs `cargo xtask dist`.
pub(crate) fn dist() -> Result<()> {
    let file = build()?;
    let near = file.strip_prefix(paths::root()).unwrap_or(&file);
    println!("{}  {} bytes, static", near.display(), fs::metadata(&file)?.len());
    Ok(())
}

/// Builds the file, and sees that it needs nothing of the host but its kernel.
pub(crate) fn build() -> Result<PathBuf> {
    // With a target named, the flags are not those of build scripts, which must load libraries.
    let target = format!("{ARCH}-unknown-linux-gnu");
    let folder = paths::target().join("dist");
    let words: Vec<&str> = BUILD.split(' ').skip(1).chain(["--target", &target, "--target-dir"]).collect();
    let mut build = cargo(&words);
    build.arg(&folder).env("RUSTFLAGS", rust_flags()).env_remove("CARGO_ENCODED_RUSTFLAGS");
    // Symbols are a third of it, and backtraces are no part of what users are told.
    build.env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    command::run(&mut build)?;
    let file = folder.join(target).join("release/rstwatch");
    check(&file).with_context(|| file.display().to_string())?;
    Ok(file)
}

/// Two builders' folders leave no trace in the file.
fn rust_flags() -> String {
    let remaps = flags::remaps_of_sources();
    let remaps = remaps.iter().map(|flag| flag.to_string_lossy().into_owned());
    [STATIC.to_owned()].into_iter().chain(remaps).collect::<Vec<_>>().join(" ")
}

/// No interpreter, no library.
fn check(file: &Path) -> Result<()> {
    let data = fs::read(file)?;
    let header = FileHeader64::<Endianness>::parse(&*data)?;
    let endian = header.endian()?;
    let parts = header.program_headers(endian, &*data)?;
    ensure!(parts.iter().all(|part| part.p_type(endian) != PT_INTERP), "it asks for an interpreter: not static");
    for part in parts {
        let entries = part.dynamic(endian, &*data)?.unwrap_or_default();
        let needs = entries.iter().any(|entry| entry.tag(endian) == DT_NEEDED);
        ensure!(!needs, "it asks for a shared library: not static");
    }
    ensure!(parts.iter().any(|part| part.p_type(endian) == elf::PT_LOAD), "nothing to load");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This test is a program with an interpreter and libraries.
    #[test]
    fn what_is_not_static_is_refused() {
        let this = std::env::current_exe().expect("this program");
        let why = check(&this).expect_err("not static").to_string();
        assert!(why.contains("interpreter"), "{why}");
    }
}
