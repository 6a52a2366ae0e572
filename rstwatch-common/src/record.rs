//! The ring record: one shape for every reset, facts only.
//!
//! Times are `CLOCK_MONOTONIC` nanoseconds (0: did not happen) or jiffies, as the kernel keeps them.

mod conn_state;
mod segment;
mod task;
mod tcp;

pub use conn_state::{
    CHALLENGE_NS, Challenge, Closed, Closing, ConnState, Fin, Reset, Rst, Sampled, last_payload, mark, role,
};
pub use segment::{Segment, present, tcp_flag};
pub use task::{PF_EXITING, PF_KTHREAD, Task};
pub use tcp::{TcpFacts, sock_flag, state};

use crate::flow::Flow;

/// Bytes that the kernel side needs for each connection that it keeps: a state, the flow, and a word that identifies it.
pub const SLOT_BYTES: usize = size_of::<ConnState>() + size_of::<Flow>() + size_of::<u64>();

/// Bytes that the kernel side needs for each entry of its index of connections: two addresses of sockets.
pub const ENDS_BYTES: usize = 2 * size_of::<u64>();

/// Bytes of a short record: what comes before the blocks that [`flags`] announce. Refusals and rejects have no more.
pub const HEAD_BYTES: usize = core::mem::offset_of!(ResetRecord, tcp);

/// First word of every record; changes with its shape.
pub const MAGIC: u32 = 0x5253_5408;

/// `ResetRecord::kind`: what happened.
pub mod kind {
    /// The stack sent an RST (`tcp_send_reset`).
    pub const SENT: u8 = 1;
    /// A socket accepted an RST (`tcp_receive_reset`).
    pub const RECEIVED: u8 = 2;
    /// netfilter sent an RST (`nf_send_reset`).
    pub const FIREWALL: u8 = 3;
    /// Another RST came for a connection that an RST had just ended: evidence, not a reset of its own.
    pub const REPEATED_RST: u8 = 4;
}

/// `ResetRecord::sk_class`: the kind of socket that `sk` was at the hook.
pub mod sk_class {
    /// No socket.
    pub const NONE: u8 = 0;
    /// A connection's socket.
    pub const FULL: u8 = 1;
    /// A listener.
    pub const LISTEN: u8 = 2;
    /// A TIME_WAIT mini-socket.
    pub const TIME_WAIT: u8 = 3;
}

/// Bits of `ResetRecord::flags`.
pub mod flags {
    /// A segment provoked it (skb was not NULL).
    pub const SKB: u32 = 1;
    /// `tcp` is filled.
    pub const TCP: u32 = 1 << 1;
    /// `conn` is the state of the socket's connection.
    pub const CONN_STATE: u32 = 1 << 2;
    /// `conn` is the tombstone of a connection that is gone.
    pub const TOMBSTONE: u32 = 1 << 3;
    /// The segment's sequence number follows that of a SYN that came to this listener before.
    pub const HANDSHAKE: u32 = 1 << 4;
    /// The receive event reported just before for the same socket was a phantom.
    pub const PHANTOM: u32 = 1 << 5;
    /// The reject was inferred from a dropped segment, not seen at nf_send_reset.
    pub const INFERRED: u32 = 1 << 6;
    /// The answered segment belongs to a live connection of the same local end towards another address:
    /// `ResetRecord::true_remote`. Without a listener, `conn` is its state, if that is known.
    pub const UNTRANSLATED: u32 = 1 << 7;
    /// A received reset: when the socket accepted it, the other end's socket was alive on this host, in a watched namespace.
    pub const OTHER_END_ALIVE: u32 = 1 << 8;
}

wire! {
    /// One reset.
    pub struct ResetRecord {
        /// [`MAGIC`].
        pub magic: u32,
        /// Kernel's reason; `u32::MAX`: none given.
        pub reason: u32,
        /// When it happened.
        pub time_ns: u64,
        /// Identity of the socket, good for comparing only; 0: none.
        pub sock: u64,
        /// Id of the socket's cgroup (v2); 0: not known.
        pub cgroup: u64,
        /// When the conntrack table of this namespace, or the host's, was last full; 0: never, or not seen.
        pub conntrack_full_ns: u64,
        /// Inode of the network namespace.
        pub netns: u32,
        /// [`flags`].
        pub flags: u32,
        /// [`kind`].
        pub kind: u8,
        /// [`sk_class`].
        pub sk_class: u8,
        /// `sk_state` at the hook.
        pub state: u8,
        /// 1: the socket is an MPTCP subflow.
        pub subflow: u8,
        /// Padding.
        pub reserved: u32,
        /// The connection from this end.
        pub flow: Flow,
        /// Sent: the segment that provoked it. Received: the RST.
        pub segment: Segment,
        /// The socket's numbers; written where [`flags::TCP`] is set.
        pub tcp: TcpFacts,
        /// The connection's state; written where [`flags::CONN_STATE`] or [`flags::TOMBSTONE`] is set.
        pub conn: ConnState,
        /// The running task; written for active resets only. Where [`flags::UNTRANSLATED`] is set, its room holds
        /// [`ResetRecord::true_remote`].
        pub task: Task,
    }
}

impl ResetRecord {
    /// Writes [`ResetRecord::true_remote`], in the room of the task, which answers to segments do not have.
    #[inline(always)]
    pub const fn set_true_remote(&mut self, address: &[u8; 16], port: u16) {
        self.task.comm = *address;
        self.task.tgid = port as u32;
    }

    /// The remote end of the live connection that the answered segment belongs to: an address in network order, as in
    /// [`Flow`], and a port.
    pub const fn true_remote(&self) -> ([u8; 16], u16) {
        let [low, high, ..] = self.task.tgid.to_le_bytes();
        (self.task.comm, u16::from_le_bytes([low, high]))
    }
}

/// [`sk_class`] of a socket that is not NULL.
#[inline(always)]
pub const fn sock_class_of_state(socket_state: u8) -> u8 {
    match socket_state {
        state::LISTEN => sk_class::LISTEN,
        state::TIME_WAIT => sk_class::TIME_WAIT,
        _ => sk_class::FULL,
    }
}
