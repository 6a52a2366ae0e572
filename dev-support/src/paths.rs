//! Where things stand in the workspace.

use std::env;
use std::path::{Path, PathBuf};

/// The workspace's root.
pub fn root() -> PathBuf {
    // `cargo run` says where the sources are now; they may have moved since compilation.
    let here =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().map_or(here.clone(), Path::to_path_buf)
}

/// What the browser test is made of.
pub fn browser() -> PathBuf {
    root().join("xtask/browser")
}

/// The page's files, as they are embedded.
pub fn page() -> PathBuf {
    root().join("rstwatch/src/export/page")
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The release build of the daemon.
pub fn rstwatch() -> PathBuf {
    target().join("release/rstwatch")
}

/// Where a program stands: in PATH, then where Debian keeps root's programs.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(system).map(|dir| dir.join(name)).find(|file| file.is_file())
}
