//! Whose connection it was: the process, and the pod, container or unit that it belongs to.
//!
//! A record bears ids alone. [`path`] reads what a cgroup's path says; `tree` keeps which id has which path, and `tasks`
//! asks `/proc` where that is not enough, both on a thread of their own (`worker`) that fills a bounded `cache`.
//! [`Owners`] answers from there, and names what it finds with what the Kubernetes API said ([`pods`]). When an event's owner
//! is decided for good is decided in one place: [`naming`].

use std::path::Path;
use std::sync::Arc;

use rstwatch_common::record::{ResetRecord, Task, flags};

use crate::escape;
use crate::kernel::mounts::Mounts;
use crate::record::{Process, Workload, WorkloadKind};

mod cache;
pub mod naming;
mod owners;
pub mod path;
pub mod pods;
mod tasks;
mod tree;
mod worker;

pub use owners::{Outcome, Owners};

/// The task that owned the socket, as far as it was seen: the one that connected, listened, or closed it.
///
/// The running task counts for nothing here: outside close() and exit it is anybody.
pub fn of(record: &ResetRecord) -> Option<&Task> {
    let remembered = record.flags & (flags::CONN_STATE | flags::TOMBSTONE) != 0;
    Some(&record.conn.owner).filter(|owner| remembered && owner.tgid != 0)
}

/// A task as users see it.
pub fn process(task: &Task) -> Option<Process> {
    let end = task.comm.iter().position(|byte| *byte == 0).unwrap_or(task.comm.len());
    let comm = String::from_utf8_lossy(&task.comm[..end]);
    (task.tgid != 0).then(|| Process { pid: task.tgid, comm: escape::printable(&comm).into_owned() })
}

/// The workload of a process of which nothing else is known.
pub fn workload(process: &Process) -> Workload {
    Workload {
        kind: WorkloadKind::Process,
        namespace: None,
        name: process.comm.clone(),
        container: None,
        controller: None,
    }
}

/// By what an owner is found. Numbers alone; 0: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key {
    /// Id of the owner's cgroup (v2) when it connected, listened or closed.
    pub cgroup: u64,
    /// Id of the cgroup that its socket was made in. It may be another's: a socket can be handed on, as by systemd.
    pub socket: u64,
    /// The owner's process id.
    pub tgid: u32,
    /// When it started, monotonic nanoseconds.
    pub start_ns: u64,
}

impl Key {
    /// Of a reset.
    pub fn of(record: &ResetRecord) -> Self {
        Self { socket: record.cgroup, ..of(record).map(Self::of_task).unwrap_or_default() }
    }

    /// Of a task.
    pub fn of_task(task: &Task) -> Self {
        let Task { cgroup, tgid, start_ns, .. } = *task;
        Self { cgroup, socket: 0, tgid, start_ns }
    }

    /// Nothing to go by.
    pub fn is_empty(&self) -> bool {
        (self.cgroup, self.socket, self.tgid) == (0, 0, 0)
    }
}

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
