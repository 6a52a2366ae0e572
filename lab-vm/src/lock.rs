//! Only one process at a time fetches lists, and only one boots a line of kernels: they
//! write the same files.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Held as long as this lives.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until the folder is free.
    pub(super) fn wait(folder: &Path) -> Result<Self> {
        let file = open(folder)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Self { _file: file })
    }

    /// An error where another holds the folder.
    pub(super) fn take(folder: &Path) -> Result<Self> {
        let file = open(folder)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => bail!("another `cargo xtask vm` uses {}: wait for its end", folder.display()),
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
    fn a_folder_is_one_users_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        assert!(Lock::take(folder.path()).is_err());
        drop(first);
        Lock::wait(folder.path()).unwrap();
        Lock::take(folder.path()).unwrap();
    }
}
