//! Listeners and their accept queues: the values of the map `LISTENERS`, which the periodic scan writes out.

use crate::flow::Flow;
use crate::record::Task;

wire! {
    /// A listener, as last seen.
    pub struct Listener {
        /// The process that called listen().
        pub owner: Task,
        /// Address of its socket, good for comparing only.
        pub sock: u64,
        /// When it started to listen, or was first seen, `CLOCK_MONOTONIC` nanoseconds.
        pub since_ns: u64,
        /// Handshakes that found its queue full, as far as hooks see them.
        pub met_full: u64,
        /// Those of them seen only where the last ACK is dropped, because another hook is missing. `sk_drops` counts them twice.
        pub met_full_late: u64,
        /// Its local end; there is no remote end.
        pub flow: Flow,
        /// Inode of its network namespace.
        pub netns: u32,
        /// `sk_drops` when it was first seen.
        pub drops_before: u32,
        /// `sk_drops`: segments dropped at it. An overflow counts once, or twice if the last ACK was dropped.
        pub drops: u32,
        /// Connections in the accept queue.
        pub length: u32,
        /// Its limit; the queue takes one connection more than this.
        pub limit: u32,
        /// 1: it is closed.
        pub gone: u32,
        /// Hashes of its user, cgroup and network namespace.
        pub share: u32,
        /// Zero.
        pub reserved: u32,
    }
}

wire! {
    /// Identifies a listener that is gone: another socket may have its address by now.
    #[derive(PartialEq, Eq, Hash)]
    pub struct Gone {
        /// Address of its socket.
        pub sock: u64,
        /// When it started to listen.
        pub since_ns: u64,
    }
}
