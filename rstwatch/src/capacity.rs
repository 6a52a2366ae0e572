//! Accept queues, conntrack tables and TCP limits: how full they are, scanned every second.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use rstwatch_verdict::event::Workload;

mod attribution;
pub mod kernel_side;
pub mod metrics;
mod netns;
pub mod procfs;
mod queues;
mod reconcile;
pub mod scanned_listener;
pub mod scanner;
pub mod series;
mod totals;

/// The result of one scan. A value that cannot be read is `None`, never 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CapacitySnapshot {
    /// Listeners, fullest accept queue first.
    pub listeners: Vec<Listener>,
    /// Number of listeners beyond the limit, which have no entry in `listeners`.
    pub listeners_folded: u64,
    /// Number of listeners that did not fit into the kernel side's map since the agent started. Nothing is known about them.
    pub listeners_unlisted: u64,
    /// Overflows of the listeners counted in `listeners_folded`.
    pub folded_overflows: u64,
    /// Overflows that could not be attributed to a listener. All overflows together equal the kernel's count.
    pub unattributed_overflows: u64,
    /// The conntrack table of the host's network namespace; `None` if conntrack is not in use or not visible in `/proc`.
    pub conntrack: Option<Conntrack>,
    /// Packets and entries that conntrack dropped since the agent started, summed over all readable namespaces.
    pub conntrack_drops: Option<ConntrackDrops>,
    /// Conntrack entries of other network namespaces, as (inode, entries), fullest first. The limit is the same.
    pub conntrack_elsewhere: Vec<(u32, u64)>,
    /// TCP resources and their limits.
    pub stack: Stack,
    /// The kernel's counters since the agent started, by name (`tcp_ext_listen_overflows`), summed over all readable namespaces.
    pub counters: BTreeMap<String, u64>,
    /// Sent resets counted by the agent minus the kernel's `TcpOutRsts`, summed over all readable namespaces.
    pub out_rsts_difference: Option<i64>,
    /// Differences written off after staying constant for five minutes: (counted only by the agent, counted only by the kernel).
    pub out_rsts_over: (u64, u64),
    /// Number of network namespaces that can be read.
    pub netns_readable: u64,
    /// Number of network namespaces that have listeners but cannot be read.
    pub netns_unreadable: u64,
}

/// All listening sockets with the same address, port and owner. If there are several (SO_REUSEPORT, pods of one controller),
/// the queue fields describe the fullest one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// Local address; `0.0.0.0` or `::` means any.
    pub address: String,
    /// Local port.
    pub port: u16,
    /// The owner, if known.
    pub workload: Option<Workload>,
    /// Inode of the fullest socket's network namespace.
    pub netns: u32,
    /// Number of listening sockets; 0 if all have been closed.
    pub sockets: u32,
    /// Connections in the fullest socket's accept queue.
    pub length: u32,
    /// Limit of that queue (`sk_max_ack_backlog`); the kernel accepts one more.
    pub limit: u32,
    /// Connections dropped because the accept queue was full, since the agent started, summed over all sockets.
    pub overflows: u64,
}

/// A conntrack table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Conntrack {
    /// Current number of entries.
    pub entries: u64,
    /// Maximum number of entries (`nf_conntrack_max`).
    pub limit: u64,
}

/// Conntrack drops by kind; `None` if this kernel does not count the kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConntrackDrops {
    /// Packets dropped because the table was full.
    pub full: Option<u64>,
    /// Entries evicted in favour of new ones.
    pub early_drop: Option<u64>,
    /// Entries that could not be inserted, most of them duplicates.
    pub insert_failed: Option<u64>,
    /// Packets that conntrack could not assign to a connection.
    pub invalid: Option<u64>,
}

/// TCP resources and their limits. They are host-wide, except TIME_WAIT, which is that of the host's network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stack {
    /// Orphaned sockets: closed by their process, but still held by TCP.
    pub orphans: Option<u64>,
    /// `tcp_max_orphans`.
    pub orphans_limit: Option<u64>,
    /// Connections in TIME_WAIT.
    pub time_wait: Option<u64>,
    /// `tcp_max_tw_buckets`.
    pub time_wait_limit: Option<u64>,
    /// Bytes in socket buffers.
    pub memory_bytes: Option<u64>,
    /// Maximum bytes in socket buffers: the third number of `tcp_mem`.
    pub memory_limit_bytes: Option<u64>,
}

/// The result of the last scan, shared between the scanner and its readers.
#[derive(Debug, Default)]
pub struct Capacity(Mutex<Arc<CapacitySnapshot>>);

impl Capacity {
    /// The result of the last scan.
    pub fn get(&self) -> Arc<CapacitySnapshot> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Publishes the result of a new scan.
    pub fn set(&self, snapshot: CapacitySnapshot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }
}
