//! Where the kernel's hierarchies of cgroups are mounted.

use std::fs::read_to_string;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// Inode of a hierarchy's own root, which a mount need not show.
const ROOT: u64 = 1;

/// Mounts of hierarchies of this kind, `cgroup` or `cgroup2`.
pub(crate) fn mounts(kind: &str) -> Vec<PathBuf> {
    let mounts = read_to_string("/proc/self/mounts").unwrap_or_default();
    let words = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    words.filter(|words| words.get(2) == Some(&kind)).filter_map(|words| words.get(1).map(PathBuf::from)).collect()
}

/// The root of cgroup v2; `None` where no mount shows it.
pub(crate) fn root() -> Option<PathBuf> {
    mounts("cgroup2").into_iter().find(|at| at.metadata().is_ok_and(|it| it.ino() == ROOT))
}
