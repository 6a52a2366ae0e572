//! Ourselves as `RUSTC_WRAPPER` of the eBPF build.
//!
//! Cargo hashes the absolute path of a crate that stands outside the workspace being
//! built (rstwatch-common does) into `-C metadata`, and rustc puts that into the
//! names of symbols. So two checkouts would give two objects. This gives each
//! crate a metadata of its name and version instead.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::builder::TARGET;

/// Set for the eBPF build: we are to act as its wrapper.
pub(crate) const ASKED: &str = "RSTWATCH_XTASK_IS_RUSTC_WRAPPER";

/// Becomes rustc when Cargo started us as its wrapper; returns only when it did not, or
/// with the error that kept us from it.
pub(crate) fn become_rustc_if_asked() -> Option<io::Error> {
    env::var_os(ASKED)?;
    let mut args = env::args_os().skip(1);
    let rustc = args.next()?;
    let args = stable_metadata(args.collect());
    Some(Command::new(rustc).args(args).exec())
}

/// Replaces `metadata=…` in the compilations for the kernel; leaves those for the host.
fn stable_metadata(args: Vec<OsString>) -> Vec<OsString> {
    let Some(name) = crate_name().filter(|_| args.iter().any(|arg| arg == TARGET)) else {
        return args;
    };
    let replace = |arg: OsString| {
        let is_metadata = arg.as_encoded_bytes().starts_with(b"metadata=");
        if is_metadata { name.clone() } else { arg }
    };
    args.into_iter().map(replace).collect()
}

/// `metadata=crate-version`. Our own crates' version is left out: a release by
/// itself changes nothing in the kernel.
fn crate_name() -> Option<OsString> {
    let name = env::var_os("CARGO_CRATE_NAME")?;
    let ours = name.as_encoded_bytes().starts_with(b"rstwatch");
    let version = env::var_os("CARGO_PKG_VERSION").filter(|_| !ours);
    let mut metadata = OsString::from("metadata=");
    metadata.push(name);
    metadata.push("-");
    metadata.push(version.as_deref().unwrap_or(OsStr::new("ours")));
    Some(metadata)
}
