//! What is watched: `--netns` and `--cgroup`, checked and turned into what the kernel compares.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// `NSFS_MAGIC` of include/uapi/linux/magic.h.
const NSFS_MAGIC: i64 = 0x6e73_6673;
/// `CGROUP2_SUPER_MAGIC`.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// What the kernel side lets through.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Inodes of network namespaces; empty: all.
    pub netns: Vec<u32>,
    /// Id of a cgroup (v2).
    pub cgroup: Option<u64>,
}

impl Scope {
    /// Resolves the paths of the command line.
    ///
    /// # Errors
    ///
    /// A path that is not there, or is no network namespace or no cgroup v2 directory.
    pub fn resolve(netns: &[PathBuf], cgroup: Option<&Path>) -> anyhow::Result<Self> {
        Ok(Self {
            netns: netns.iter().map(|path| netns_inode(path)).collect::<anyhow::Result<_>>()?,
            cgroup: cgroup.map(cgroup_id).transpose()?,
        })
    }
}

fn netns_inode(path: &Path) -> anyhow::Result<u32> {
    let (inode, magic) = inode_and_magic(path).with_context(|| {
        format!("--netns {}: no such namespace: see ip netns list, or give /proc/PID/ns/net", path.display())
    })?;
    if magic != NSFS_MAGIC {
        bail!(
            "--netns {}: not a network namespace: give a path like /run/netns/NAME or /proc/PID/ns/net",
            path.display()
        );
    }
    u32::try_from(inode).with_context(|| format!("--netns {}: inode {inode} out of range", path.display()))
}

fn cgroup_id(path: &Path) -> anyhow::Result<u64> {
    let (inode, magic) = inode_and_magic(path).with_context(|| {
        format!("--cgroup {}: no such directory: give a path below the cgroup2 mount", path.display())
    })?;
    if magic != CGROUP2_MAGIC {
        bail!("--cgroup {}: not in a cgroup v2 hierarchy: give a path below the cgroup2 mount", path.display());
    }
    Ok(inode)
}

fn inode_and_magic(path: &Path) -> std::io::Result<(u64, i64)> {
    let inode = std::fs::metadata(path)?.ino();
    Ok((inode, rustix::fs::statfs(path)?.f_type))
}

/// Where cgroup v2 is mounted, if it is.
pub fn cgroup2_mount() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    cgroup2_mount_in(&mounts)
}

/// `proc_pid_mountinfo(5)`: the mount point is the fifth field, the type follows a lone hyphen.
fn cgroup2_mount_in(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (head, tail) = line.split_once(" - ")?;
        let is_cgroup2 = tail.split(' ').next() == Some("cgroup2");
        is_cgroup2.then(|| head.split(' ').nth(4).map(PathBuf::from)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_cgroup2_among_v1_mounts() {
        let mounts = "31 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n\
                      32 31 0:27 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n\
                      33 31 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_mount_in(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(cgroup2_mount_in("1 2 0:3 / / rw - ext4 /dev/vda rw\ngarbage\n"), None);
    }

    #[test]
    fn refuses_what_is_no_namespace() {
        let error = netns_inode(Path::new("/proc/self/status")).expect_err("no namespace").to_string();
        assert!(error.contains("not a network namespace"), "{error}");
        let error = cgroup_id(Path::new("/proc")).expect_err("no cgroup").to_string();
        assert!(error.contains("not in a cgroup v2"), "{error}");
    }

    #[test]
    fn takes_the_own_namespace() {
        assert!(netns_inode(Path::new("/proc/self/ns/net")).expect("own namespace") > 0);
    }
}
