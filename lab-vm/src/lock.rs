//! A lock per folder: only one process fetches lists, and only one boots kernels of a series, at a time.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Held until dropped.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the folder's lock.
    pub(super) fn wait(folder: &Path) -> Result<Self> {
        let file = open(folder)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Self { _file: file })
    }

    /// Takes the folder's lock, or fails if another process holds it.
    pub(super) fn take(folder: &Path) -> Result<Self> {
        let file = open(folder)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => bail!("another `cargo xtask vm` uses {}: wait until it ends", folder.display()),
            done => done?,
        }
        Ok(Self { _file: file })
    }
}

fn open(folder: &Path) -> Result<File> {
    fs::create_dir_all(folder)?;
    let file = folder.join("lock");
    File::create(&file).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_a_folder_for_one_process() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        assert!(Lock::take(folder.path()).is_err());
        drop(first);
        Lock::wait(folder.path()).unwrap();
        Lock::take(folder.path()).unwrap();
    }
}
