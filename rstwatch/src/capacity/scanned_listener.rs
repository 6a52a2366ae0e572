//! A listener as a scan finds it, with its owner.

use std::net::SocketAddr;

use crate::kernel::listeners::AcceptQueue;
use rstwatch_verdict::event::Workload;
use rstwatch_verdict::identity::{self, Identity};

/// A listener at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedListener {
    /// Identifies the listener: its socket's address, and when it began to listen or was first seen.
    pub id: (u64, u64),
    /// Where it listens.
    pub local: SocketAddr,
    /// Inode of its network namespace.
    pub netns: u32,
    /// The key by which its owner is found.
    pub owner: Identity,
    /// Its owner: the process, until a better name is found.
    pub workload: Option<Workload>,
    /// The process that called listen().
    pub pid: u32,
    /// Connections in its accept queue.
    pub length: u32,
    /// The queue's limit; it takes one more.
    pub limit: u32,
    /// Handshakes that met a full queue since the listener was first seen, if a hook sees them.
    pub met_full: u64,
    /// Other drops at the listener. Where hooks do not see every overflow, some of these may be overflows, too.
    pub drops: u64,
    /// It has stopped listening, and this is its final report.
    pub gone: bool,
}

impl From<AcceptQueue> for ScannedListener {
    fn from(queue: AcceptQueue) -> Self {
        let AcceptQueue { id, local, netns, owner, length, limit, met_full, drops, gone } = queue;
        Self {
            id,
            local,
            netns,
            owner: Identity::of_task(&owner),
            workload: identity::process(&owner).as_ref().map(identity::workload),
            pid: owner.tgid,
            length,
            limit,
            met_full,
            drops,
            gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstwatch_common::record::Task;
    use zerocopy::FromZeros;

    use super::*;

    fn queue(owner: Task) -> AcceptQueue {
        AcceptQueue {
            id: (7, 8),
            local: ([127, 0, 0, 1], 80).into(),
            netns: 9,
            owner,
            length: 3,
            limit: 2,
            met_full: 4,
            drops: 0,
            gone: false,
        }
    }

    #[test]
    fn the_process_is_the_first_workload() {
        let mut owner = Task::new_zeroed();
        assert_eq!(ScannedListener::from(queue(owner)).workload, None);
        owner.tgid = 5;
        owner.comm[..2].copy_from_slice(b"\x1ba");
        let seen = ScannedListener::from(queue(owner));
        assert_eq!(seen.workload.map(|workload| workload.name).as_deref(), Some("\\u{1b}a"), "escaped");
        assert_eq!((seen.pid, seen.owner.tgid), (5, 5));
    }
}
