//! Hashes the sources of the committed eBPF object.
//!
//! Two programs include this file by path: `build.rs`, which refuses a stale object, and `cargo xtask ebpf`, which writes a
//! new one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Files that determine the object, relative to the root of the workspace.
pub(crate) const FILES: [&str; 3] =
    ["rstwatch-common/Cargo.toml", "rstwatch-ebpf/Cargo.lock", "rstwatch-ebpf/Cargo.toml"];

/// Folders in which every file determines the object.
pub(crate) const FOLDERS: [&str; 2] = ["rstwatch-common/src", "rstwatch-ebpf/src"];

/// All files that determine the object, relative to `root`, in the order in which they are hashed.
fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = FILES.iter().map(PathBuf::from).collect();
    for folder in FOLDERS {
        walk(root, Path::new(folder), &mut found)?;
    }
    found.sort();
    Ok(found)
}

/// Hashes the paths and contents of all these files.
pub(crate) fn sha256(root: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    for path in files(root)? {
        let content =
            fs::read(root.join(&path)).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        // Lengths are hashed too, so that moving a byte from a path to a content changes the hash.
        for part in [path.as_os_str().as_encoded_bytes(), &content] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Ok(hex(&hash.finalize()))
}

/// Hashes bytes, in lowercase hexadecimal.
pub(crate) fn sha256_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The value of `key = value` in a lock file's text.
pub(crate) fn lock_value<'a>(lock: &'a str, key: &str) -> Option<&'a str> {
    lock.lines().filter_map(|line| line.split_once(" = ")).find_map(|(name, value)| (name == key).then_some(value))
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let describe = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", folder.display()));
    for entry in fs::read_dir(root.join(folder)).map_err(describe)? {
        let entry = entry?;
        let name = entry.file_name();
        let path = folder.join(&name);
        if entry.file_type()?.is_dir() {
            walk(root, &path, found)?;
        } else if !is_scratch(&name.to_string_lossy()) {
            found.push(path);
        }
    }
    Ok(())
}

/// Whether an editor leaves such files behind; they are not sources.
fn is_scratch(name: &str) -> bool {
    name.starts_with('.') || name.ends_with('~')
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
