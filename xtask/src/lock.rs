//! The lock file of the committed object: hashes of its sources and of itself, and the tools that built it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::sources;

/// The contents of rstwatch.bpf.lock.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    /// Hash of the sources.
    pub(crate) sources: String,
    /// Hash of the object.
    pub(crate) object: String,
    /// The output of `rustc --version`.
    pub(crate) rustc: String,
    /// bpf-linker's version and its LLVM's.
    pub(crate) bpf_linker: String,
}

/// Path of the committed object in a workspace.
pub(crate) fn object_path(root: &Path) -> PathBuf {
    root.join("rstwatch/ebpf/rstwatch.bpf.o")
}

/// Path of its lock.
pub(crate) fn lock_path(root: &Path) -> PathBuf {
    root.join("rstwatch/ebpf/rstwatch.bpf.lock")
}

impl Lock {
    /// Reads the committed lock.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let text = fs::read_to_string(lock_path(root)).context("cannot read rstwatch.bpf.lock")?;
        let value = |key: &str| {
            sources::lock_value(&text, key)
                .map(str::to_owned)
                .with_context(|| format!("rstwatch.bpf.lock has no line `{key} = …`"))
        };
        Ok(Self {
            sources: value("sources")?,
            object: value("object")?,
            rustc: value("rustc")?,
            bpf_linker: value("bpf-linker")?,
        })
    }

    /// Writes the lock beside the object.
    pub(crate) fn write(&self, root: &Path) -> Result<()> {
        let Self { sources, object, rustc, bpf_linker } = self;
        let text = format!(
            "# Written by `cargo xtask ebpf`: what rstwatch.bpf.o was built from, and by what.\n\
             sources = {sources}\nobject = {object}\nrustc = {rustc}\nbpf-linker = {bpf_linker}\n"
        );
        fs::write(lock_path(root), text).context("cannot write rstwatch.bpf.lock")
    }

    /// The tools that built the object, for messages.
    pub(crate) fn built_by(&self) -> String {
        describe(&self.rustc, &self.bpf_linker)
    }
}

/// A compiler and a linker, for messages.
pub(crate) fn describe(rustc: &str, bpf_linker: &str) -> String {
    format!("{rustc} with bpf-linker {bpf_linker}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dev_support::paths;

    #[test]
    fn the_committed_lock_matches_object_and_sources() {
        let root = paths::root();
        let lock = Lock::read(&root).unwrap();
        let object = fs::read(object_path(&root)).unwrap();
        let remedy = "run cargo xtask ebpf";
        assert_eq!(lock.object, sources::sha256_of(&object), "{remedy}");
        assert_eq!(lock.sources, sources::sha256(&root).unwrap(), "{remedy}");
    }

    #[test]
    fn a_lock_is_read_as_written() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("rstwatch/ebpf")).unwrap();
        let word = |text: &str| text.to_owned();
        let lock = Lock {
            sources: word("01"),
            object: word("02"),
            rustc: word("rustc 1.96.0 (x = y)"),
            bpf_linker: word("0.13.0, LLVM version 22.1.8"),
        };
        lock.write(root.path()).unwrap();
        assert_eq!(Lock::read(root.path()).unwrap(), lock);
    }
}
