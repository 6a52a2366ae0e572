//! The ids that identify the owner of a connection, and the owner's name as far as the record itself has it.

use std::borrow::Cow;

use rstwatch_common::record::{ResetRecord, Task, flags};

use crate::escape;
use crate::event::{Process, Workload, WorkloadKind};

/// The ids by which an owner is looked up; 0: unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Id of the owner's cgroup (v2) when it connected, listened or closed.
    pub cgroup: u64,
    /// Id of the cgroup that created the socket. It may differ from the owner's: systemd, for example, passes sockets
    /// to services.
    pub socket: u64,
    /// The owner's process id.
    pub tgid: u32,
    /// When that process started, monotonic nanoseconds.
    pub start_ns: u64,
}

impl Identity {
    /// The ids of the owner of a reset connection.
    pub fn of(record: &ResetRecord) -> Self {
        Self { socket: record.cgroup, ..owner(record).map(Self::of_task).unwrap_or_default() }
    }

    /// The ids of a task.
    pub fn of_task(task: &Task) -> Self {
        let Task { cgroup, tgid, start_ns, .. } = *task;
        Self { cgroup, socket: 0, tgid, start_ns }
    }

    /// Whether no id is known.
    pub fn is_empty(&self) -> bool {
        (self.cgroup, self.socket, self.tgid) == (0, 0, 0)
    }
}

/// The task that owned the socket, if it was seen: the one that connected, listened, or closed it.
///
/// The running task is no evidence of ownership: outside close() and exit it is arbitrary.
pub fn owner(record: &ResetRecord) -> Option<&Task> {
    let has_state = record.flags & (flags::CONN_STATE | flags::TOMBSTONE) != 0;
    Some(&record.conn.owner).filter(|owner| has_state && owner.tgid != 0)
}

/// A task as users see it.
pub fn process(task: &Task) -> Option<Process> {
    (task.tgid != 0).then(|| Process { pid: task.tgid, comm: comm(task).into() })
}

/// The command name of a task, escaped.
pub(crate) fn comm(task: &Task) -> Cow<'_, str> {
    let end = task.comm.iter().position(|byte| *byte == 0).unwrap_or(task.comm.len());
    match String::from_utf8_lossy(&task.comm[..end]) {
        Cow::Borrowed(name) => escape::printable(name),
        Cow::Owned(name) => escape::printable(&name).into_owned().into(),
    }
}

/// The workload of a process, if nothing else is known.
pub fn workload(process: &Process) -> Workload {
    Workload {
        kind: WorkloadKind::Process,
        namespace: None,
        name: process.comm.clone(),
        container: None,
        controller: None,
    }
}
