//! What the daemon tells the eBPF programs before it loads them.
//!
//! With the [layout](crate::layout) it becomes `.rodata`, which is frozen: the verifier knows every value and drops the branches that are off.

wire! {
    /// Constants of one load.
    pub struct Settings {
        /// 1: `tcp_send_reset` has its third argument (Linux 6.10).
        pub has_reason: u16,
        /// 1: only namespaces in the map `NETNS` are seen.
        pub filter_netns: u16,
        /// 1: only sockets in the cgroup `cgroup` or below are seen.
        pub filter_cgroup: u16,
        /// Which argument of nf_send_reset is the rejected packet.
        pub reject_skb_arg: u16,
        /// Padding.
        pub reserved: [u16; 2],
        /// `SKB_DROP_REASON_NETFILTER_DROP` of this kernel.
        pub netfilter_drop: u32,
        /// `SK_RST_REASON_INVALID_SYN` of this kernel; `u32::MAX`: it gives no reasons.
        pub invalid_syn: u32,
        /// Padding.
        pub reserved2: u32,
        /// The cgroup's id.
        pub cgroup: u64,
        /// Nanoseconds between two detail events of one kind on one CPU, on average.
        pub detail_interval_ns: u64,
        /// How far a burst may run ahead, in nanoseconds of the above.
        pub detail_burst_ns: u64,
    }
}

impl Settings {
    /// Nothing known, nothing filtered. Not all zero, so that it stays in `.rodata`.
    pub const UNSET: Self = Self {
        has_reason: 0,
        filter_netns: 0,
        filter_cgroup: 0,
        reject_skb_arg: 0,
        reserved: [0; 2],
        netfilter_drop: u32::MAX,
        invalid_syn: u32::MAX,
        reserved2: 0,
        cgroup: 0,
        detail_interval_ns: 0,
        detail_burst_ns: 0,
    };
}
