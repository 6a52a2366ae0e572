//! This program as `RUSTC_WRAPPER` of the eBPF build.
//!
//! For a crate outside the workspace being built, such as rstwatch-common, Cargo hashes the absolute path into
//! `-C metadata`, and rustc puts that hash into symbol names. Two checkouts would give two different objects. The wrapper
//! replaces the metadata by the crate's name and version.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context as _, Result};

use crate::flags::TARGET;

/// Environment variable that requests this role.
pub(crate) const ROLE: &str = "RSTWATCH_XTASK_IS_RUSTC_WRAPPER";

/// Becomes rustc if Cargo started this program as its wrapper. Returns `None` if it did not, and the error if rustc cannot be
/// started.
pub(crate) fn become_rustc_if_requested() -> Option<io::Error> {
    env::var_os(ROLE)?;
    let mut args = env::args_os().skip(1);
    let rustc = args.next()?;
    let args = stable_metadata(args.collect());
    Some(Command::new(rustc).args(args).exec())
}

/// Copies this program into a folder, because Cargo may replace the original during the build.
pub(crate) fn install(folder: &Path) -> Result<PathBuf> {
    let wrapper = folder.join("rustc-wrapper");
    // A running copy cannot be overwritten, but it can be replaced by a rename.
    let copy = folder.join(format!("rustc-wrapper-{}", process::id()));
    fs::create_dir_all(folder)
        .and_then(|()| fs::copy("/proc/self/exe", &copy))
        .and_then(|_| fs::rename(&copy, &wrapper))
        .with_context(|| format!("cannot copy this program to {}", folder.display()))?;
    Ok(wrapper)
}

/// Replaces `metadata=…` in compilations for the kernel. Those for the host are unchanged.
fn stable_metadata(args: Vec<OsString>) -> Vec<OsString> {
    let Some(metadata) = crate_metadata().filter(|_| args.iter().any(|arg| arg == TARGET)) else {
        return args;
    };
    let replace = |arg: OsString| {
        let is_metadata = arg.as_encoded_bytes().starts_with(b"metadata=");
        if is_metadata { metadata.clone() } else { arg }
    };
    args.into_iter().map(replace).collect()
}

/// `metadata=crate-version`. The version of rstwatch's own crates is omitted, so that a release alone does not change the
/// object.
fn crate_metadata() -> Option<OsString> {
    let name = env::var_os("CARGO_CRATE_NAME")?;
    let ours = name.as_encoded_bytes().starts_with(b"rstwatch");
    let version = env::var_os("CARGO_PKG_VERSION").filter(|_| !ours);
    let mut metadata = OsString::from("metadata=");
    metadata.push(name);
    metadata.push("-");
    metadata.push(version.as_deref().unwrap_or(OsStr::new("ours")));
    Some(metadata)
}
