//! Whose connection it was.

use rstwatch_common::record::{ResetRecord, Task, flags};

use crate::escape;
use crate::record::{Process, Workload, WorkloadKind};

/// The task that owned the socket, as far as it was seen: the one that connected, listened, or closed it.
///
/// The running task counts for nothing here: outside close() and exit it is anybody.
pub fn of(record: &ResetRecord) -> Option<&Task> {
    let remembered = record.flags & (flags::MEMORY | flags::TOMBSTONE) != 0;
    Some(&record.memory.owner).filter(|owner| remembered && owner.tgid != 0)
}

/// A task as users see it.
pub fn process(task: &Task) -> Option<Process> {
    let end = task.comm.iter().position(|byte| *byte == 0).unwrap_or(task.comm.len());
    let comm = String::from_utf8_lossy(&task.comm[..end]);
    (task.tgid != 0).then(|| Process { pid: task.tgid, comm: escape::printable(&comm).into_owned() })
}

/// The workload of a process.
pub fn workload(process: &Process) -> Workload {
    Workload { kind: WorkloadKind::Process, namespace: None, name: process.comm.clone(), container: None }
}

pub mod pods;
