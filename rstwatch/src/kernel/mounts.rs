//! Where the cgroup hierarchies are mounted.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The cgroup mounts of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    /// The best mount of the cgroup2 hierarchy; `None` if it is not mounted.
    pub unified: Option<PathBuf>,
    /// That mount shows the whole host.
    pub hosts: bool,
    /// The mount of the memory controller, if that is of version 1.
    pub memory: Option<PathBuf>,
    /// Controllers of version 1 are mounted: the version 2 path may not identify the container.
    pub v1: bool,
}

/// Inode of the hierarchy's root (fs/kernfs/dir.c, kernfs_create_root: the first id).
const ROOT_INODE: u64 = 1;

impl Mounts {
    /// Reads `/proc/self/mountinfo`. If it cannot be read, there are no mounts.
    pub fn read(proc: &Path) -> Self {
        let text = std::fs::read(proc.join("self/mountinfo")).unwrap_or_default();
        let inode = |path: &Path| std::fs::metadata(path).map(|folder| folder.ino()).ok();
        Self::parse(&text, inode)
    }

    /// In a cgroup namespace mountinfo shows roots relative to the namespace (`/../..`), which does not identify the host's
    /// mount. The inode of its root does.
    fn parse(text: &[u8], inode: impl Fn(&Path) -> Option<u64>) -> Self {
        let mut mounts = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            match mount(line) {
                Some((b"cgroup", at, options)) => {
                    mounts.v1 = true;
                    if options.split(|byte| *byte == b',').any(|option| option == b"memory") {
                        mounts.memory.get_or_insert(at);
                    }
                }
                Some((b"cgroup2", at, _)) if !mounts.hosts => {
                    let here = inode(&at);
                    mounts.hosts = here == Some(ROOT_INODE);
                    if mounts.hosts || (mounts.unified.is_none() && here.is_some()) {
                        mounts.unified = Some(at);
                    }
                }
                _ => (),
            }
        }
        mounts
    }
}

/// File system type, mount point and options of the file system in one line (Documentation/filesystems/proc.rst, 3.5).
fn mount(line: &[u8]) -> Option<(&[u8], PathBuf, &[u8])> {
    let mut fields = line.split(|byte| *byte == b' ');
    let at = unescaped(fields.nth(4)?);
    let mut fields = fields.skip_while(|field| *field != b"-");
    fields.next()?;
    let kind = fields.next()?;
    // Between them is the source.
    Some((kind, at, fields.nth(1)?))
}

/// Decodes octal escapes such as `\040`.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            out.push(byte);
            rest = &tail[3..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[&str], roots: &[&str]) -> Mounts {
        let inode = |path: &Path| Some(if roots.iter().any(|root| Path::new(root) == path) { 1 } else { 4711 });
        Mounts::parse(lines.join("\n").as_bytes(), inode)
    }

    fn found(unified: Option<&str>, v1: bool) -> Mounts {
        let memory = v1.then(|| PathBuf::from("/sys/fs/cgroup/memory"));
        Mounts { unified: unified.map(PathBuf::from), hosts: unified.is_some(), memory, v1 }
    }

    #[test]
    fn reads_each_layout() {
        let v2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(parse(&[v2], &["/sys/fs/cgroup"]), found(Some("/sys/fs/cgroup"), false));
        let hybrid = [
            "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755",
            "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory",
            "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw",
        ];
        let unified = "/sys/fs/cgroup/unified";
        assert_eq!(parse(&hybrid, &[unified]), found(Some(unified), true));
        assert_eq!(parse(&hybrid[..2], &[]), found(None, true));
        assert_eq!(parse(&["", "1 2", "36 35 98:0 /a /b rw"], &[]), found(None, false));
    }

    /// A DaemonSet's pod has its own hierarchy, and the host's as a volume.
    #[test]
    fn prefers_the_hosts_mount_in_a_container() {
        let own = "900 800 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw";
        let hosts = r"901 800 0:26 /../../.. /host/sys\040fs ro - cgroup2 cgroup2 rw";
        let expected = found(Some("/host/sys fs"), false);
        assert_eq!(parse(&[own, hosts], &["/host/sys fs"]), expected);
        assert_eq!(parse(&[hosts, own], &["/host/sys fs"]), expected);
        let only_own = Mounts { hosts: false, ..found(Some("/sys/fs/cgroup"), false) };
        assert_eq!(parse(&[own], &[]), only_own, "the only one is used");
    }

    #[test]
    fn reads_this_host() {
        let mounts = Mounts::read(Path::new("/proc"));
        assert!(mounts.unified.is_none_or(|at| at.join("cgroup.procs").exists()));
    }
}
