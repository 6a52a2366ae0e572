//! Whose connection it was: the process, and the pod, container or unit that it belongs to.
//!
//! A record bears ids alone. [`path`] reads what a cgroup's path says; `tree` keeps which id has which path, and `tasks`
//! asks `/proc` where that is not enough, both on a thread of their own (`worker`) that fills a bounded `cache`.
//! [`Owners`] answers from there, and names what it finds with what the Kubernetes API said ([`pods`]). When an event's owner
//! is decided for good is decided in one place: [`naming`].

use std::path::Path;
use std::sync::Arc;

use crate::kernel::mounts::Mounts;
use rstwatch_verdict::escape;

mod cache;
pub mod metrics;
pub mod naming;
mod owners;
pub mod path;
pub mod pods;
mod tasks;
mod tree;
mod worker;

pub use owners::{Outcome, Owners};

/// What limits the naming of owners on this host, in words; nothing where nothing does.
pub fn limits() -> Option<&'static str> {
    match Mounts::read(Path::new("/proc")) {
        Mounts { hosts: true, .. } => None,
        Mounts { unified: Some(_), .. } => Some(
            "the cgroup hierarchy here is this container's own: mount the host's /sys/fs/cgroup to know owners that are gone",
        ),
        Mounts { v1: true, .. } => {
            Some("cgroup2 is not mounted here: owners are known as long as their processes live")
        }
        Mounts { .. } => {
            Some("no cgroups are mounted here: owners are told by /proc alone, as long as their processes live")
        }
    }
}

/// A name out of a path or the API, fit to be shown.
fn shown(name: &Arc<str>) -> String {
    escape::printable(name).into_owned()
}
