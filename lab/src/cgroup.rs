//! Cgroups of version 2 for helpers: made below the hierarchy's root, and removed however the lab ends.

use std::fs::{create_dir, remove_dir};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dev_support::cgroups;

use super::janitor::Janitor;
use super::wait::{SOON, until_true};

/// Names the cgroup that a helper enters first thing.
pub(super) const ENTER: &str = "RSTWATCH_LAB_CGROUP";

/// A path of cgroups. Those that were not there go with this.
pub(super) struct Cgroup {
    leaf: PathBuf,
    /// From the first that was made to the last.
    made: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes it, and what is above it; `None`: this machine has no cgroup2, or allows none to be made.
    pub(super) fn make(janitor: &Janitor, path: &str) -> Result<Option<Self>> {
        let Some(root) = cgroups::root() else { return Ok(None) };
        let mut cgroup = Self { leaf: root, made: Vec::new() };
        for name in path.split('/') {
            cgroup.leaf.push(name);
            if cgroup.leaf.is_dir() {
                continue;
            }
            janitor.cgroup(&cgroup.leaf)?;
            if create_dir(&cgroup.leaf).is_err() {
                return Ok(None);
            }
            cgroup.made.push(cgroup.leaf.clone());
        }
        Ok(Some(cgroup))
    }

    /// For the helper's environment.
    pub(super) fn path(&self) -> &Path {
        &self.leaf
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for made in self.made.iter().rev() {
            // Busy until the kernel has done with the process that was in it; the janitor tries again.
            let _ = until_true("an empty cgroup", SOON, || Ok(remove_dir(made).is_ok()));
        }
    }
}

/// Enters the cgroup that the environment names; without, leaves all that this process is in, for a machine may have started
/// the lab in a unit of its own.
pub(super) fn settle() -> Result<()> {
    match std::env::var_os(ENTER) {
        Some(cgroup) => cgroups::enter(Path::new(&cgroup)).context("the helper's cgroup"),
        None => {
            cgroups::leave_all();
            Ok(())
        }
    }
}
