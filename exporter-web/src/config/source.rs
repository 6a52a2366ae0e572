//! The files that a configuration was read from, and whether they have changed since.

use std::io::Error;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::files;

/// Reads files, and keeps their contents and metadata.
#[derive(Debug, Default)]
pub(super) struct SourceFiles(Vec<SourceFile>);

/// A file as it was read.
#[derive(Debug)]
struct SourceFile {
    path: PathBuf,
    stamp: Option<Stamp>,
    bytes: Vec<u8>,
}

impl SourceFiles {
    /// Reads a file and keeps its bytes.
    pub(super) fn read(&mut self, path: &Path) -> Result<Vec<u8>, Error> {
        // Taken before the bytes are read: if the file changes in between, the stamp no longer matches.
        let stamp = Stamp::of(path);
        let bytes = files::read(path)?;
        self.0.push(SourceFile { path: path.to_owned(), stamp, bytes: bytes.clone() });
        Ok(bytes)
    }

    /// Paths of the files that were read.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.0.iter().map(|file| file.path.clone()).collect()
    }

    /// Whether a file's metadata differs from when it was read.
    pub(super) fn have_changed(&self) -> bool {
        self.0.iter().any(|file| Stamp::of(&file.path) != file.stamp)
    }

    /// Whether a file changed so recently that another change might not show in its metadata.
    pub(super) fn are_recent(&self) -> bool {
        self.0.iter().any(|file| file.stamp.is_none_or(Stamp::is_recent))
    }

    /// Whether both have the same paths and bytes.
    pub(super) fn same_content(&self, other: &Self) -> bool {
        let same = |(one, other): (&SourceFile, &SourceFile)| one.path == other.path && one.bytes == other.bytes;
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(same)
    }
}

/// Metadata that differs once a file has changed, or a symbolic link points to another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Whether another change could get the same timestamp: file systems have coarse clocks.
    fn is_recent(self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.as_secs()).unwrap_or(0).saturating_sub(self.changed.0) < 2
    }
}
