//! The note beside the committed object: what it was built from, and by what.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::sources;

/// What rstwatch.bpf.lock says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    /// Hash of the sources.
    pub(crate) sources: String,
    /// Hash of the object.
    pub(crate) object: String,
    /// The line of `rustc --version`.
    pub(crate) rustc: String,
    /// bpf-linker's version and its LLVM's.
    pub(crate) bpf_linker: String,
}

/// The committed object in a workspace.
pub(crate) fn object_path(root: &Path) -> PathBuf {
    root.join("rstwatch/ebpf/rstwatch.bpf.o")
}

/// The lock beside it.
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

    /// Writes it beside the object.
    pub(crate) fn write(&self, root: &Path) -> Result<()> {
        let Self { sources, object, rustc, bpf_linker } = self;
        let text = format!(
            "# Written by `cargo xtask ebpf`: what rstwatch.bpf.o was built from, and by what.\n\
             sources = {sources}\nobject = {object}\nrustc = {rustc}\nbpf-linker = {bpf_linker}\n"
        );
        fs::write(lock_path(root), text).context("cannot write rstwatch.bpf.lock")
    }

    /// Who built the object, for people.
    pub(crate) fn built_by(&self) -> String {
        describe(&self.rustc, &self.bpf_linker)
    }
}

/// A compiler and a linker, for people.
pub(crate) fn describe(rustc: &str, bpf_linker: &str) -> String {
    format!("{rustc} with bpf-linker {bpf_linker}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dev_support::paths;

    #[test]
    fn committed_lock_names_the_committed_object_and_sources() {
        let root = paths::root();
        let lock = Lock::read(&root).unwrap();
        let object = fs::read(object_path(&root)).unwrap();
        let mend = "run cargo xtask ebpf";
        assert_eq!(lock.object, sources::sha256_of(&object), "{mend}");
        assert_eq!(lock.sources, sources::sha256(&root).unwrap(), "{mend}");
    }

    #[test]
    fn a_lock_survives_writing_and_reading() {
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
