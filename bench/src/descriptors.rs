//! The limit of file descriptors of this process (`RLIMIT_NOFILE`).

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The usual `fs.nr_open`: no more descriptors are asked for, even where the hard limit is higher or absent.
const NR_OPEN: u64 = 1 << 20;

/// The highest soft limit that this process may set.
pub(crate) fn most() -> u64 {
    getrlimit(Resource::Nofile).maximum.map_or(NR_OPEN, |most| most.min(NR_OPEN))
}

/// Raises the soft limit to [`most`].
pub(crate) fn raise() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(most()), maximum }).context("the limit of descriptors")
}
