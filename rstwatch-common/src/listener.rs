//! Listeners and their accept queues: what the map `LISTENERS` holds, and what a look at them writes.

use crate::flow::Flow;
use crate::record::Task;

wire! {
    /// A listener, as it was last seen.
    pub struct Listener {
        /// Who called listen().
        pub owner: Task,
        /// Address of its socket, good for comparing only.
        pub sock: u64,
        /// When it began to listen, or was first seen, `CLOCK_MONOTONIC` nanoseconds.
        pub since_ns: u64,
        /// Handshakes that met its queue full, as far as they are seen.
        pub met_full: u64,
        /// Of these, last ACKs that were seen where they are dropped, for want of another hook. `sk_drops` has them twice.
        pub met_full_late: u64,
        /// Where it listens; there is no remote end.
        pub flow: Flow,
        /// Inode of its network namespace.
        pub netns: u32,
        /// `sk_drops` when it was first seen.
        pub drops_before: u32,
        /// `sk_drops`: what was dropped at it. An overflow is in it once, or twice if it was the last ACK's.
        pub drops: u32,
        /// Connections in the accept queue.
        pub length: u32,
        /// Its limit; it takes one more than this.
        pub limit: u32,
        /// 1: it listens no more.
        pub gone: u32,
    }
}

wire! {
    /// Names a listener that is gone: its socket's address may be another's by now.
    #[derive(PartialEq, Eq, Hash)]
    pub struct Gone {
        /// Address of its socket.
        pub sock: u64,
        /// When it began to listen.
        pub since_ns: u64,
    }
}
