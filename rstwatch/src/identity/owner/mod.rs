//! Who owns a connection: the process, and the pod, container or systemd unit that it belongs to.
//!
//! A record carries only ids. [`path`] derives the owner from a cgroup's path; `tree` maps cgroup ids to paths, and `tasks`
//! reads `/proc` where that is not enough. Both run on a thread of their own (`worker`), which fills a bounded `cache`.
//! [`Owners`] resolves from that cache and adds names from the Kubernetes API ([`pods`]). [`naming`] decides when an event's
//! owner is final.

use std::path::Path;

use crate::kernel::mounts::Mounts;

mod cache;
mod inotify;
pub mod metrics;
pub mod naming;
mod outcome;
mod owners;
pub mod path;
pub mod pods;
mod shared;
mod tasks;
mod tree;
mod worker;
mod workload;

pub use outcome::Outcome;
pub use owners::Owners;

/// What limits the resolution of owners on this host, in words; `None` if nothing does.
pub fn limits() -> Option<&'static str> {
    match Mounts::read(Path::new("/proc")) {
        Mounts { hosts: true, .. } => None,
        Mounts { unified: Some(_), .. } => Some(
            "this container has its own view of the cgroup hierarchy: mount the host's /sys/fs/cgroup to resolve owners that have ended",
        ),
        Mounts { v1: true, .. } => {
            Some("cgroup2 is not mounted here: owners are resolved only while their processes live")
        }
        Mounts { .. } => {
            Some("no cgroups are mounted here: owners are resolved from /proc, only while their processes live")
        }
    }
}
