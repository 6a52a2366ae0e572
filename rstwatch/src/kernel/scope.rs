//! What is watched: `--netns` and `--cgroup`, checked and resolved to the numbers that the programs compare.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::mounts::Mounts;

/// `NSFS_MAGIC` of include/uapi/linux/magic.h.
const NSFS_MAGIC: i64 = 0x6e73_6673;
/// `CGROUP2_SUPER_MAGIC`.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// What the programs let through.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Inodes of network namespaces; empty for all.
    pub netns: Vec<u32>,
    /// Id of a cgroup (v2); `None` for all.
    pub cgroup: Option<u64>,
}

impl Scope {
    /// Resolves the paths of the command line.
    ///
    /// # Errors
    ///
    /// A path does not exist, or is not a network namespace or a cgroup v2 directory.
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

/// Where cgroup v2 is mounted. If a container sees several mounts, the host's.
pub fn cgroup2_mount() -> Option<PathBuf> {
    Mounts::read(Path::new("/proc")).unified
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_paths_of_other_kinds() {
        let error = netns_inode(Path::new("/proc/self/status")).expect_err("no namespace").to_string();
        assert!(error.contains("not a network namespace"), "{error}");
        let error = cgroup_id(Path::new("/proc")).expect_err("no cgroup").to_string();
        assert!(error.contains("not in a cgroup v2"), "{error}");
    }

    #[test]
    fn accepts_its_own_namespace() {
        assert!(netns_inode(Path::new("/proc/self/ns/net")).expect("own namespace") > 0);
    }
}
