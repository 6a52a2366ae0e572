//! The files of the repository, without build output.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Folders that builds, fuzzing and version control create.
const EXCLUDED: [&str; 6] = [".git", "target", "node_modules", "corpus", "artifacts", "coverage"];

/// Whether a file or folder of this name belongs to the repository.
pub(super) fn is_kept(path: &Path) -> bool {
    !path.file_name().is_some_and(|name| EXCLUDED.iter().any(|excluded| name == *excluded))
}

/// Every file below `root`, relative to it, sorted.
pub(super) fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() && is_kept(&path) {
                folders.push(path);
            } else if entry.file_type()?.is_file() {
                files.push(path.strip_prefix(root)?.to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}
