//! `cargo xtask dist`: builds the daemon as a static binary, in target/dist.

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

/// Links the C library statically; deploy/image/Containerfile has the same flag.
pub(crate) const STATIC: &str = "-C target-feature=+crt-static";
/// The build command; deploy/image/Containerfile has the same.
pub(crate) const BUILD: &str = "cargo build --release --locked --package rstwatch";

/// Runs `cargo xtask dist`.
pub(crate) fn dist() -> Result<()> {
    let file = build()?;
    let relative = file.strip_prefix(paths::root()).unwrap_or(&file);
    println!("{}  {} bytes, static", relative.display(), fs::metadata(&file)?.len());
    Ok(())
}

/// Builds the binary, and checks that it depends on nothing but the kernel.
pub(crate) fn build() -> Result<PathBuf> {
    // With an explicit target, the flags do not apply to build scripts, which must load shared libraries.
    let target = format!("{ARCH}-unknown-linux-gnu");
    let folder = paths::target().join("dist");
    let words: Vec<&str> = BUILD.split(' ').skip(1).chain(["--target", &target, "--target-dir"]).collect();
    let mut build = cargo(&words);
    build.arg(&folder).env("RUSTFLAGS", rust_flags()).env_remove("CARGO_ENCODED_RUSTFLAGS");
    // Symbols are a third of the binary, and no message contains a backtrace.
    build.env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    command::run(&mut build)?;
    let file = folder.join(target).join("release/rstwatch");
    check_static(&file).with_context(|| file.display().to_string())?;
    Ok(file)
}

/// Flags that link statically and remove the builder's folders from the binary.
fn rust_flags() -> String {
    let remaps = flags::remaps_of_sources();
    let remaps = remaps.iter().map(|flag| flag.to_string_lossy().into_owned());
    [STATIC.to_owned()].into_iter().chain(remaps).collect::<Vec<_>>().join(" ")
}

/// Checks that the binary has no interpreter and needs no library.
fn check_static(file: &Path) -> Result<()> {
    let data = fs::read(file)?;
    let header = FileHeader64::<Endianness>::parse(&*data)?;
    let endian = header.endian()?;
    let parts = header.program_headers(endian, &*data)?;
    ensure!(parts.iter().all(|part| part.p_type(endian) != PT_INTERP), "not static: it has an interpreter");
    for part in parts {
        let entries = part.dynamic(endian, &*data)?.unwrap_or_default();
        let needs = entries.iter().any(|entry| entry.tag(endian) == DT_NEEDED);
        ensure!(!needs, "not static: it needs a shared library");
    }
    ensure!(parts.iter().any(|part| part.p_type(endian) == elf::PT_LOAD), "not a program: it has no loadable segment");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test program itself has an interpreter and needs libraries.
    #[test]
    fn a_dynamic_binary_is_refused() {
        let this = std::env::current_exe().expect("this program");
        let why = check_static(&this).expect_err("not static").to_string();
        assert!(why.contains("interpreter"), "{why}");
    }
}
