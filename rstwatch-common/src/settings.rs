//! The constants that the daemon gives the eBPF programs when it loads them.
//!
//! With the [layout](crate::layout) they become `.rodata`, which is frozen: the verifier knows every value and removes the
//! branches that are off.

wire! {
    /// Constants of one load.
    pub struct Settings {
        /// 1: `tcp_send_reset` has its third argument (Linux 6.10).
        pub has_reason: u16,
        /// Which network namespaces are watched; see [`netns_filter`].
        pub filter_netns: u16,
        /// 1: only sockets in the cgroup `cgroup` or below are watched.
        pub filter_cgroup: u16,
        /// 1: there is a helper that returns the running task as a typed pointer (Linux 5.11).
        pub typed_task: u16,
        /// Offsets of the first three arguments in this machine's `struct pt_regs`, for kprobes.
        pub argument_at: [u16; 3],
        /// Padding.
        pub reserved: u16,
        /// Living connections that have a state each, and recent tombstones: a power of two from 4,096.
        pub connections: u32,
        /// Padding.
        pub reserved_too: u32,
        /// `SKB_DROP_REASON_NETFILTER_DROP` of this kernel.
        pub netfilter_drop: u32,
        /// `SK_RST_REASON_INVALID_SYN` of this kernel; `u32::MAX`: it gives no reasons.
        pub invalid_syn: u32,
        /// `SKB_DROP_REASON_TCP_LISTEN_OVERFLOW` of this kernel; `u32::MAX`: it has none.
        pub listen_overflow: u32,
        /// Jiffies in a second.
        pub hz: u32,
        /// Id of the watched cgroup.
        pub cgroup: u64,
        /// Nanoseconds between two detail events of one kind on one CPU, on average.
        pub detail_interval_ns: u64,
        /// How far a burst may exceed that rate, in nanoseconds.
        pub detail_burst_ns: u64,
        /// Random, so that no remote host can predict a flow's slot in a table.
        pub hash_seed: u64,
    }
}

/// Slots of a bucket: as many words as a cache line holds.
pub const SLOTS_PER_BUCKET: u32 = 8;

/// Slots of the table's regions: living connections, as many recent tombstones, half as many lasting ones.
#[must_use]
pub const fn table_slots(connections: u32) -> u32 {
    connections / 2 * 5
}

/// Slots behind them for each possible CPU, for sockets that have none.
pub const SCRATCH_PER_CPU: u32 = 4;

/// The smallest `connections`.
pub const MIN_CONNECTIONS: u32 = 1 << 12;

/// How long after a wake-up of the ring's reader the same CPU sends records without another one, in nanoseconds. The reader
/// polls by itself for longer than that.
pub const WOKEN_NS: u64 = 10_000_000;

/// Which network namespaces are watched.
pub mod netns_filter {
    /// All.
    pub const ALL: u16 = 0;
    /// Those with an inode that is a key of the map `NETNS`. The daemon holds them open, so that no other gets their inodes.
    pub const INODES: u16 = 1;
    /// Those with a cookie that is a key of the map `NETNS`. Since Linux 5.12 each namespace has one.
    pub const COOKIES: u16 = 2;
}

/// Bits of the map `INFER`: what `kfree_skb` must infer, because another hook is missing.
pub mod infer {
    /// Rejects of IPv4 (`nf_send_reset`).
    pub const REJECTS_V4: u64 = 1;
    /// Rejects of IPv6 (`nf_send_reset6`).
    pub const REJECTS_V6: u64 = 1 << 1;
    /// Handshakes that a full accept queue ended (`tcp_v4_syn_recv_sock`).
    pub const OVERFLOWS: u64 = 1 << 2;
}

impl Settings {
    /// No constant known, no filter. Not all zero, so that it stays in `.rodata`.
    pub const UNSET: Self = Self {
        has_reason: 0,
        filter_netns: 0,
        filter_cgroup: 0,
        typed_task: 1,
        argument_at: [0; 3],
        reserved: 0,
        connections: MIN_CONNECTIONS,
        reserved_too: 0,
        netfilter_drop: u32::MAX,
        invalid_syn: u32::MAX,
        listen_overflow: u32::MAX,
        hz: 0,
        cgroup: 0,
        detail_interval_ns: 0,
        detail_burst_ns: 0,
        hash_seed: 0,
    };
}
