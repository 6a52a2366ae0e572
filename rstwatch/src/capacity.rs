//! Queues and tables that fill up: accept queues, conntrack tables, and the limits of TCP, scanned every second.

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

/// Result of one scan. What cannot be read is absent, never 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CapacitySnapshot {
    /// Listeners, the fullest first.
    pub listeners: Vec<Listener>,
    /// Listeners beyond the limit, which have no entry of their own.
    pub listeners_folded: u64,
    /// Listeners that did not fit into the kernel side's map since the agent started. They are not seen at all.
    pub listeners_unlisted: u64,
    /// Overflows of the listeners beyond the limit.
    pub folded_overflows: u64,
    /// Overflows without a known listener. With them the sum is the kernel's count.
    pub unattributed_overflows: u64,
    /// Connection tracking of the host's network namespace; `None`: not in use, or /proc does not show it.
    pub conntrack: Option<Conntrack>,
    /// Packets and entries lost by connection tracking since the agent started, over all readable namespaces.
    pub conntrack_drops: Option<ConntrackDrops>,
    /// Entries of other network namespaces by inode, the fullest first. The limit is the same.
    pub conntrack_elsewhere: Vec<(u32, u64)>,
    /// TCP's own limits.
    pub stack: Stack,
    /// Counters of the kernel since the agent started by name (`tcp_ext_listen_overflows`), over all readable namespaces.
    pub counters: BTreeMap<String, u64>,
    /// Sent resets counted by the agent minus those counted by the kernel (`TcpOutRsts`), over all readable namespaces.
    pub out_rsts_difference: Option<i64>,
    /// Differences that stayed constant for five minutes and were written off: resets that the agent counted more, and fewer.
    pub out_rsts_over: (u64, u64),
    /// Network namespaces that can be read.
    pub netns_readable: u64,
    /// Network namespaces with listeners that cannot be read.
    pub netns_unreadable: u64,
}

/// The listeners of one address, port and owner. If several sockets share them (SO_REUSEPORT, pods of one controller), the
/// fullest one is described.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// Address that it is bound to; `0.0.0.0` or `::`: any address.
    pub address: String,
    /// Port that it is bound to.
    pub port: u16,
    /// Its owner.
    pub workload: Option<Workload>,
    /// Inode of the fullest socket's network namespace.
    pub netns: u32,
    /// Number of listening sockets; 0: all were closed.
    pub sockets: u32,
    /// Connections in the fullest socket's accept queue.
    pub length: u32,
    /// Limit of that queue (`sk_max_ack_backlog`); the kernel accepts one more.
    pub limit: u32,
    /// Connections dropped at full accept queues since the agent started, over all sockets.
    pub overflows: u64,
}

/// A connection tracking table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Conntrack {
    /// Entries in it.
    pub entries: u64,
    /// Maximum entries (`nf_conntrack_max`).
    pub limit: u64,
}

/// Losses of connection tracking by kind; `None`: this kernel does not count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConntrackDrops {
    /// Packets dropped because the table was full.
    pub full: Option<u64>,
    /// Entries evicted in favour of new ones.
    pub early_drop: Option<u64>,
    /// Entries that could not be inserted, most of them duplicates.
    pub insert_failed: Option<u64>,
    /// Packets that matched no connection.
    pub invalid: Option<u64>,
}

/// TCP resources and their limits, of the host or, for TIME_WAIT, of its network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stack {
    /// Sockets closed by their process, but not yet by TCP.
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

/// The last scan, shared between the scanner and its readers.
#[derive(Debug, Default)]
pub struct Capacity(Mutex<Arc<CapacitySnapshot>>);

impl Capacity {
    /// The result of the last scan.
    pub fn get(&self) -> Arc<CapacitySnapshot> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the result.
    pub fn set(&self, snapshot: CapacitySnapshot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }
}
