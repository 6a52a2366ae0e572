//! Ourselves as `RUSTC_WRAPPER` of the eBPF build.
//!
//! Cargo hashes the absolute path of a crate that stands outside the workspace being
//! built (rstwatch-common does) into `-C metadata`, and rustc puts that into the
//! names of symbols. So two checkouts would give two objects. This gives each
//! crate a metadata of its name and version instead.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context as _, Result};

use crate::builder::TARGET;

/// Set for the eBPF build: we are to act as its wrapper.
pub(crate) const ASKED: &str = "RSTWATCH_XTASK_IS_RUSTC_WRAPPER";

/// Becomes rustc when Cargo started us as its wrapper; returns only when it did not, or
/// with the error that kept us from it.
pub(crate) fn become_rustc_if_requested() -> Option<io::Error> {
    env::var_os(ASKED)?;
    let mut args = env::args_os().skip(1);
    let rustc = args.next()?;
    let args = stable_metadata(args.collect());
    Some(Command::new(rustc).args(args).exec())
}

/// Puts a copy of this program into a folder: Cargo may replace the original meanwhile.
pub(crate) fn install(folder: &Path) -> Result<PathBuf> {
    let wrapper = folder.join("rustc-wrapper");
    // A copy in use cannot be written to, but another can take its name.
    let fresh = folder.join(format!("rustc-wrapper-{}", process::id()));
    fs::create_dir_all(folder)
        .and_then(|()| fs::copy("/proc/self/exe", &fresh))
        .and_then(|_| fs::rename(&fresh, &wrapper))
        .with_context(|| format!("cannot copy this program to {}", folder.display()))?;
    Ok(wrapper)
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
