//! The compiler flags of the kernel side.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::toolchain::Toolchain;
use dev_support::paths;

/// The eBPF virtual machine, little-endian.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Separates flags in `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\u{1f}";

/// The flags, for `CARGO_ENCODED_RUSTFLAGS`.
pub(crate) fn encoded(toolchain: &Toolchain) -> OsString {
    let mut flags: Vec<OsString> = [
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        // Selects the register names of kprobes; the default is the building host's architecture. No program uses registers,
        // so one object serves all little-endian hosts.
        "--cfg=bpf_target_arch=\"x86_64\"",
    ]
    .map(OsString::from)
    .into();
    flags.extend(remaps(toolchain));
    flags.join(SEPARATOR.as_ref())
}

/// Maps the folders of sources to names that are the same on every machine. The last matching flag applies, so specific
/// folders come after general ones.
pub(crate) fn remaps_of_sources() -> Vec<OsString> {
    let cargo_home = cargo_home();
    let mut remaps = vec![remap(&paths::root(), "/rstwatch"), remap(&cargo_home, "/cargo")];
    remaps.extend(registries(&cargo_home).iter().map(|dir| remap(dir, "/registry")));
    remaps
}

/// Maps every folder that rustc may name, including the core library's.
fn remaps(toolchain: &Toolchain) -> Vec<OsString> {
    let library = &toolchain.library;
    let mut remaps = remaps_of_sources();
    remaps.push(remap(library, "/rust-src"));
    // In distributions this is a symbolic link.
    remaps.extend(library.canonicalize().ok().map(|dir| remap(&dir, "/rust-src")));
    remaps
}

/// The folders of unpacked crates, of which the names depend on the registry's address.
fn registries(cargo_home: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(cargo_home.join("registry/src"));
    let mut registries: Vec<PathBuf> = folders.into_iter().flatten().flatten().map(|folder| folder.path()).collect();
    // Cargo rebuilds everything if the order of flags changes.
    registries.sort();
    registries
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
