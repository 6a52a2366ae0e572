//! cgroups for helpers, created below the root and removed however the lab ends.

use std::fs::{create_dir, remove_dir, write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dev_support::cgroups;

use crate::kernel;
use crate::network::cleanup::Cleanup;
use crate::wait::{SOON, until_true};

/// Environment variable with the cgroup that a helper enters at its start.
pub(crate) const ENTER: &str = "RSTWATCH_LAB_CGROUP";

/// A path of cgroups. Those that did not exist are removed when dropped.
pub(crate) struct Cgroup {
    leaf: PathBuf,
    /// The created cgroups, parents first.
    made: Vec<PathBuf>,
}

impl Cgroup {
    /// Creates the cgroup and its parents. `None` if this machine has no cgroup v2 or forbids to create one.
    pub(crate) fn make(cleanup: &Cleanup, path: &str) -> Result<Option<Self>> {
        cgroups::root().map_or(Ok(None), |root| Self::make_in(root, cleanup, path))
    }

    /// Creates a cgroup of the memory controller, of v2 or v1, with this limit in bytes. `None` if this machine has none.
    pub(crate) fn with_memory(cleanup: &Cleanup, path: &str, limit: &str) -> Result<Option<Self>> {
        if let Some(root) = cgroups::root().filter(|_| kernel::is_ours()) {
            // Fails only where this kernel has no memory controller.
            let _ = write(root.join("cgroup.subtree_control"), "+memory");
        }
        let v1 = cgroups::mounts("cgroup").into_iter().filter(|at| at.join("memory.limit_in_bytes").is_file());
        for root in cgroups::root().into_iter().chain(v1) {
            let cgroup = Self::make_in(root, cleanup, path)?;
            let set = |cgroup: &Self| {
                let files = ["memory.max", "memory.limit_in_bytes"].map(|file| cgroup.leaf.join(file));
                files.iter().filter(|file| file.is_file()).any(|file| write(file, limit).is_ok())
            };
            if cgroup.as_ref().is_some_and(set) {
                return Ok(cgroup);
            }
        }
        Ok(None)
    }

    fn make_in(root: PathBuf, cleanup: &Cleanup, path: &str) -> Result<Option<Self>> {
        let mut cgroup = Self { leaf: root, made: Vec::new() };
        for name in path.split('/') {
            cgroup.leaf.push(name);
            if cgroup.leaf.is_dir() {
                continue;
            }
            cleanup.cgroup(&cgroup.leaf)?;
            if create_dir(&cgroup.leaf).is_err() {
                return Ok(None);
            }
            cgroup.made.push(cgroup.leaf.clone());
        }
        Ok(Some(cgroup))
    }

    /// Returns the path to pass in the helper's environment.
    pub(crate) fn path(&self) -> &Path {
        &self.leaf
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for made in self.made.iter().rev() {
            // Busy until the kernel has released the process that was in it. The cleanup helper tries again.
            let _ = until_true("an empty cgroup", SOON, || Ok(remove_dir(made).is_ok()));
        }
    }
}

/// Enters the cgroup that the environment names. Without one, leaves the cgroups of the unit that the lab was started in.
pub(crate) fn enter_or_leave() -> Result<()> {
    match std::env::var_os(ENTER) {
        Some(cgroup) => cgroups::enter(Path::new(&cgroup)).context("the helper's cgroup"),
        None => {
            cgroups::leave_all();
            Ok(())
        }
    }
}
