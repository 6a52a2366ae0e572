//! How many descriptors this process may have.

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Used where there is no limit: the usual `fs.nr_open`.
const UNLIMITED: u64 = 1 << 20;

/// The most that this process may allow itself.
pub(crate) fn most() -> u64 {
    getrlimit(Resource::Nofile).maximum.map_or(UNLIMITED, |most| most.min(UNLIMITED))
}

/// Allows this process that many.
pub(crate) fn raise() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(most()), maximum }).context("the limit of descriptors")
}
