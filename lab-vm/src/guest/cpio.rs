//! Writes an initramfs in the "newc" format of Documentation/driver-api/early-userspace/buffer-format.rst.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
/// Each name and each file's contents are followed by zeros up to a multiple of four bytes in the archive.
const ALIGNMENT: usize = 4;

/// An archive being written. Adds the parent folders of each file.
#[derive(Clone, Default)]
pub(crate) struct Cpio {
    bytes: Vec<u8>,
    known: BTreeSet<String>,
    inodes: u32,
}

impl Cpio {
    /// Adds an executable file. A name that exists keeps its first contents.
    pub(crate) fn file(&mut self, path: &str, contents: &[u8]) -> Result<()> {
        self.parents(path)?;
        self.entry(path, PROGRAM, contents)
    }

    /// Adds a copy of a file of this machine.
    pub(crate) fn copy(&mut self, from: &Path, path: &str) -> Result<()> {
        if self.known.contains(path.trim_start_matches('/')) {
            return Ok(());
        }
        let contents = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.file(path, &contents)
    }

    /// Adds an empty folder.
    pub(crate) fn folder(&mut self, path: &str) -> Result<()> {
        self.parents(path)?;
        self.entry(path, FOLDER, &[])
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, &[])?;
        Ok(self.bytes)
    }

    fn parents(&mut self, path: &str) -> Result<()> {
        let path = path.trim_start_matches('/');
        let ends = path.match_indices('/').map(|(at, _)| at);
        for end in ends.collect::<Vec<_>>() {
            self.entry(path.get(..end).unwrap_or_default(), FOLDER, &[])?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, mode: u32, contents: &[u8]) -> Result<()> {
        let path = path.trim_start_matches('/');
        if !self.known.insert(path.to_owned()) {
            return Ok(());
        }
        self.inodes += 1;
        let links = if mode == FOLDER { 2 } else { 1 };
        let size = u32::try_from(contents.len()).with_context(|| format!("{path} is too large"))?;
        let name_size = u32::try_from(path.len() + 1)?;
        self.bytes.extend(b"070701");
        // Inode, mode, uid, gid, links, mtime, size, device (2), special file's device (2), length of the name, checksum.
        for field in [self.inodes, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0] {
            self.bytes.extend(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(contents);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses an archive into names, modes and contents.
    fn entries(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let number = |at: usize| u32::from_str_radix(std::str::from_utf8(&bytes[at..at + 8]).unwrap(), 16).unwrap();
        let (mut at, mut entries) = (0, Vec::new());
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (mode, size, name) = (number(at + 14), number(at + 54) as usize, number(at + 94) as usize);
            let data = (at + 110 + name).next_multiple_of(ALIGNMENT);
            let name = String::from_utf8(bytes[at + 110..at + 110 + name - 1].to_vec()).unwrap();
            entries.push((name, mode, bytes[data..data + size].to_vec()));
            at = (data + size).next_multiple_of(ALIGNMENT);
        }
        entries
    }

    #[test]
    fn writes_each_folder_once_before_its_files() {
        let mut cpio = Cpio::default();
        cpio.file("/usr/bin/ip", b"abcde").unwrap();
        cpio.file("/usr/bin/nft", b"").unwrap();
        cpio.file("/usr/bin/ip", b"another").unwrap();
        cpio.folder("/proc").unwrap();
        let entries = entries(&cpio.finish().unwrap());
        let names: Vec<_> = entries.iter().map(|(name, _, _)| name.as_str()).collect();
        assert_eq!(names, ["usr", "usr/bin", "usr/bin/ip", "usr/bin/nft", "proc", "TRAILER!!!"]);
        assert_eq!(entries[2], ("usr/bin/ip".to_owned(), PROGRAM, b"abcde".to_vec()));
        assert_eq!(entries[4].1, FOLDER);
    }
}
