//! The task that ran when an active reset was sent.

use std::fmt;

use rstwatch_common::record::{ResetRecord, Task, flags};

use crate::identity;

/// A task, shown as `comm[pid]`. Few sentences name it, so it is formatted only for them.
#[derive(Clone, Copy, Debug)]
pub struct Actor(Task);

impl Actor {
    /// The running task of an active reset; `None` if it is unknown.
    pub(super) fn of(record: &ResetRecord) -> Option<Self> {
        let known = record.flags & flags::SKB == 0 && record.task.tgid != 0;
        known.then_some(Self(record.task))
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", identity::comm(&self.0), self.0.tgid)
    }
}
