//! The mounted cgroup hierarchies, and moving this process between cgroups.

use std::fs::{read_to_string, write};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Inode of a hierarchy's root cgroup. A mount inside a container may show another cgroup as its root.
const ROOT_INODE: u64 = 1;

/// Mount points of the hierarchies of a kind, `cgroup` or `cgroup2`.
pub fn mounts(kind: &str) -> Vec<PathBuf> {
    let mounts = read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields.filter(|fields| fields.get(2) == Some(&kind)).filter_map(|fields| fields.get(1).map(PathBuf::from)).collect()
}

/// The mount point that shows the root of cgroup v2, if there is one.
pub fn root() -> Option<PathBuf> {
    mounts("cgroup2").into_iter().find(|at| at.metadata().is_ok_and(|it| it.ino() == ROOT_INODE))
}

/// Moves this process into a cgroup.
pub fn enter(cgroup: &Path) -> io::Result<()> {
    write(cgroup.join("cgroup.procs"), "0")
}

/// Moves this process to the root of every hierarchy, so that its connections are attributed to its name and not to the unit
/// that it was started in.
pub fn leave_all() {
    for root in ["cgroup2", "cgroup"].into_iter().flat_map(mounts) {
        // Where the host forbids the move, the process stays where it is.
        let _ = enter(&root);
    }
}
