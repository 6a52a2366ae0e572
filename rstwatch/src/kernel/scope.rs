//! What is watched: `--netns` and `--cgroup`, checked and resolved to the numbers that the programs compare.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rstwatch_common::settings::netns_filter;

use super::mounts::Mounts;
use super::netns::Netns;

/// `CGROUP2_SUPER_MAGIC`.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// What the programs let through.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Network namespaces; empty for all.
    pub netns: Vec<Netns>,
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
        Ok(Self { netns: Netns::resolve(netns)?, cgroup: cgroup.map(cgroup_id).transpose()? })
    }

    /// What the programs compare of a namespace; see [`netns_filter`].
    pub fn netns_filter(&self) -> u16 {
        match self.netns.first() {
            None => netns_filter::ALL,
            Some(first) if first.has_cookie() => netns_filter::COOKIES,
            Some(_) => netns_filter::INODES,
        }
    }

    /// Whether the namespace that has this inode now is watched.
    pub fn has_netns(&self, inode: u32) -> bool {
        self.netns.is_empty() || self.netns.iter().any(|netns| netns.has_inode(inode))
    }
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
        let error = cgroup_id(Path::new("/proc")).expect_err("no cgroup").to_string();
        assert!(error.contains("not in a cgroup v2"), "{error}");
    }

    #[test]
    fn without_namespaces_all_are_watched() {
        let all = Scope::default();
        assert_eq!((all.netns_filter(), all.has_netns(7)), (netns_filter::ALL, true));
        let one = Scope { netns: vec![Netns::held(7)], cgroup: None };
        assert_eq!((one.netns_filter(), one.has_netns(7), one.has_netns(8)), (netns_filter::INODES, true, false));
    }
}
