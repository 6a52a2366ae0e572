//! The flags under which rustc builds the kernel side.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::toolchain::Toolchain;
use dev_support::paths;

/// What stands between two flags in `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\u{1f}";

/// The flags, for `CARGO_ENCODED_RUSTFLAGS`.
pub(crate) fn encoded(toolchain: &Toolchain) -> OsString {
    let mut flags: Vec<OsString> = [
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        // It names the registers of kprobes, and would else be the building host's.
        // Nothing here uses them, so one object serves all little-endian hosts.
        "--cfg=bpf_target_arch=\"x86_64\"",
    ]
    .map(OsString::from)
    .into();
    flags.extend(remaps(toolchain));
    flags.join(SEPARATOR.as_ref())
}

/// Gives the folders of sources a name that is the same everywhere. The last that matches wins, so the particular
/// stands after the general.
pub(crate) fn remaps_of_sources() -> Vec<OsString> {
    let cargo_home = cargo_home();
    let mut remaps = vec![remap(&paths::root(), "/rstwatch"), remap(&cargo_home, "/cargo")];
    remaps.extend(registries(&cargo_home).iter().map(|dir| remap(dir, "/registry")));
    remaps
}

/// Every folder that rustc may name, the core library's too.
fn remaps(toolchain: &Toolchain) -> Vec<OsString> {
    let library = &toolchain.library;
    let mut remaps = remaps_of_sources();
    remaps.push(remap(library, "/rust-src"));
    // Distributions have a symbolic link there.
    remaps.extend(library.canonicalize().ok().map(|dir| remap(&dir, "/rust-src")));
    remaps
}

/// The folders of unpacked crates; their names depend on the registry's address.
fn registries(cargo_home: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(cargo_home.join("registry/src"));
    let mut found: Vec<PathBuf> = folders.into_iter().flatten().flatten().map(|folder| folder.path()).collect();
    // Flags in another order would make Cargo build everything again.
    found.sort();
    found
}

fn cargo_home() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo");
    env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

fn remap(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
}
