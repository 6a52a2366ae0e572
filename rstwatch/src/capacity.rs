//! Queues and tables that fill up: what the last look at them found.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::record::Workload;

pub mod kernel_side;
mod ledger;
mod netns;
pub mod procfs;
mod queues;
mod reconcile;
pub mod seen;
pub mod series;
mod totals;
pub mod watcher;

/// What one look found. What cannot be read is absent, never 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Listeners, the fullest first.
    pub listeners: Vec<Listener>,
    /// Listeners beyond the limit, which have no entry of their own.
    pub listeners_folded: u64,
    /// Listeners that the kernel side had no room for, since the start. They are not seen at all.
    pub listeners_unlisted: u64,
    /// Overflows of those beyond the limit.
    pub folded_overflows: u64,
    /// Overflows of listeners that nobody knows, so that the sum is the kernel's.
    pub unattributed_overflows: u64,
    /// Connection tracking of the host's first network namespace; `None`: there is none, or it does not show.
    pub conntrack: Option<Conntrack>,
    /// Packets and entries lost to connection tracking since the start, over all namespaces that can be read.
    pub conntrack_drops: Option<ConntrackDrops>,
    /// Entries of other network namespaces by inode, the fullest first. The limit is the same.
    pub conntrack_elsewhere: Vec<(u32, u64)>,
    /// TCP's own limits.
    pub stack: Stack,
    /// Counters of the kernel since the start by name (`tcp_ext_listen_overflows`), over all namespaces that can be read.
    pub counters: BTreeMap<String, u64>,
    /// Sent resets that we counted less those that the kernel counted (`TcpOutRsts`), in the namespaces that can be read.
    pub out_rsts_difference: Option<i64>,
    /// Of such differences those that stood still for five minutes, and are left out since: how many more we had counted,
    /// and how many fewer.
    pub out_rsts_over: (u64, u64),
    /// Network namespaces that can be read.
    pub netns_readable: u64,
    /// Network namespaces with listeners that cannot be read.
    pub netns_unreadable: u64,
}

/// The listeners of one address, port and owner; of several sockets (SO_REUSEPORT, pods alike) the fullest is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// Where it listens; `0.0.0.0` or `::` for every address.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// Whose it is.
    pub workload: Option<Workload>,
    /// Inode of the network namespace of the fullest.
    pub netns: u32,
    /// How many sockets listen so; 0: none any more.
    pub sockets: u32,
    /// Connections in the fullest one's accept queue.
    pub length: u32,
    /// Its limit (`sk_max_ack_backlog`); it takes one more than this.
    pub limit: u32,
    /// Connections lost to full accept queues since the start, over all its sockets.
    pub overflows: u64,
}

/// A connection tracking table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Conntrack {
    /// Entries in it.
    pub entries: u64,
    /// Most that it takes (`nf_conntrack_max`).
    pub limit: u64,
}

/// What connection tracking lost, by kind; `None`: this kernel does not count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConntrackDrops {
    /// Packets dropped because no entry could be made, as the table was full.
    pub full: Option<u64>,
    /// Entries evicted to make room.
    pub early_drop: Option<u64>,
    /// Entries that could not be inserted, most of them doubles.
    pub insert_failed: Option<u64>,
    /// Packets that fitted no connection.
    pub invalid: Option<u64>,
}

/// How near TCP is to its limits, in this host or, for TIME_WAIT, in its first network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stack {
    /// Sockets that no program holds any more.
    pub orphans: Option<u64>,
    /// `tcp_max_orphans`.
    pub orphans_limit: Option<u64>,
    /// Connections in TIME_WAIT.
    pub time_wait: Option<u64>,
    /// `tcp_max_tw_buckets`.
    pub time_wait_limit: Option<u64>,
    /// Bytes in TCP's buffers.
    pub memory_bytes: Option<u64>,
    /// Above this memory is refused: the third number of `tcp_mem`.
    pub memory_limit_bytes: Option<u64>,
}

/// The last look, shared between the watcher and its readers.
#[derive(Debug, Default)]
pub struct Capacity(Mutex<Arc<Snapshot>>);

impl Capacity {
    /// The last look.
    pub fn get(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces it.
    pub fn set(&self, snapshot: Snapshot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }
}
