//! Which fields of the kernel's structures the programs read.
//!
//! The one list of them: the daemon resolves each from the running kernel's BTF (`rstwatch/src/kernel/layout.rs`),
//! the programs add the offsets to pointers (`rstwatch-ebpf/src/kernel.rs`).

/// Offset of a field that this kernel does not have.
pub const ABSENT: u16 = u16::MAX;

/// A field of the kernel's: a structure and a path of members, as in `("net", "ns.inum")`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name of the field in [`Layout`].
    pub field: &'static str,
    /// The kernel's structure.
    pub structure: &'static str,
    /// Members, outermost first, separated by dots.
    pub path: &'static str,
}

/// Fields of what only newer kernels have: the buckets of a bound port by address, since Linux 6.8.
pub const OPTIONAL: &[&str] = &["bind_bhash2", "bind2_node", "bind2_address", "bind2_owners"];

macro_rules! layout {
    ($($field:ident: $structure:literal $path:literal,)+) => {
        wire! {
            /// Byte offsets; [`ABSENT`] where this kernel lacks the field.
            pub struct Layout {
                $(
                    #[doc = concat!("`", $structure, ".", $path, "`")]
                    pub $field: u16,
                )+
            }
        }

        impl Layout {
            /// No field resolved.
            pub const ABSENT: Self = Self { $($field: ABSENT,)+ };

            /// The kernel's name of each field.
            pub const SOURCES: &[Source] = &[$(
                Source { field: stringify!($field), structure: $structure, path: $path },
            )+];

            /// The layout with every offset that `resolve` finds.
            pub fn resolved(mut resolve: impl FnMut(&Source) -> Option<u16>) -> Self {
                let mut sources = Self::SOURCES.iter();
                Self { $($field: {
                    let _ = stringify!($field);
                    sources.next().and_then(&mut resolve).unwrap_or(ABSENT)
                },)+ }
            }
        }
    };
}

layout! {
    skc_daddr: "sock_common" "skc_daddr",
    skc_rcv_saddr: "sock_common" "skc_rcv_saddr",
    skc_dport: "sock_common" "skc_dport",
    skc_num: "sock_common" "skc_num",
    skc_family: "sock_common" "skc_family",
    skc_state: "sock_common" "skc_state",
    skc_net: "sock_common" "skc_net.net",
    skc_v6_daddr: "sock_common" "skc_v6_daddr",
    skc_v6_rcv_saddr: "sock_common" "skc_v6_rcv_saddr",
    skc_flags: "sock_common" "skc_flags",
    skc_bind_node: "sock_common" "skc_bind_node",
    net_hash_mix: "net" "hash_mix",
    net_hashinfo: "net" "ipv4.tcp_death_row.hashinfo",
    bhash: "inet_hashinfo" "bhash",
    bhash_size: "inet_hashinfo" "bhash_size",
    bhash_chain: "inet_bind_hashbucket" "chain",
    bind_net: "inet_bind_bucket" "ib_net.net",
    bind_port: "inet_bind_bucket" "port",
    bind_node: "inet_bind_bucket" "node",
    bind_bhash2: "inet_bind_bucket" "bhash2",
    bind2_node: "inet_bind2_bucket" "bhash_node",
    bind2_address: "inet_bind2_bucket" "v6_rcv_saddr",
    bind2_owners: "inet_bind2_bucket" "owners",
    net_inum: "net" "ns.inum",
    net_cookie: "net" "net_cookie",
    sk_protocol: "sock" "sk_protocol",
    sk_slock: "sock" "sk_lock.slock",
    sk_lock_owned: "sock" "sk_lock.owned",
    sk_shutdown: "sock" "sk_shutdown",
    sk_uid: "sock" "sk_uid",
    sk_lingertime: "sock" "sk_lingertime",
    sk_socket: "sock" "sk_socket",
    sk_ack_backlog: "sock" "sk_ack_backlog",
    sk_max_ack_backlog: "sock" "sk_max_ack_backlog",
    sk_drops: "sock" "sk_drops",
    sk_cgroup: "sock" "sk_cgrp_data.cgroup",
    sk_rtx_queue: "sock" "tcp_rtx_queue",
    cgroup_kn: "cgroup" "kn",
    cgroup_self: "cgroup" "self",
    cgroup_parent: "cgroup" "self.parent",
    kernfs_id: "kernfs_node" "id",
    inet_sport: "inet_sock" "inet_sport",
    inet_saddr: "inet_sock" "inet_saddr",
    mc_ttl: "inet_sock" "mc_ttl",
    pinet6: "inet_sock" "pinet6",
    mcast_hops: "ipv6_pinfo" "mcast_hops",
    icsk_rto: "inet_connection_sock" "icsk_rto",
    icsk_retransmits: "inet_connection_sock" "icsk_retransmits",
    icsk_backoff: "inet_connection_sock" "icsk_backoff",
    icsk_probes_out: "inet_connection_sock" "icsk_probes_out",
    lrcvtime: "inet_connection_sock" "icsk_ack.lrcvtime",
    lsndtime: "tcp_sock" "lsndtime",
    linger2: "tcp_sock" "linger2",
    rcv_tstamp: "tcp_sock" "rcv_tstamp",
    last_oow_ack_time: "tcp_sock" "last_oow_ack_time",
    retrans_stamp: "tcp_sock" "retrans_stamp",
    snd_una: "tcp_sock" "snd_una",
    snd_nxt: "tcp_sock" "snd_nxt",
    write_seq: "tcp_sock" "write_seq",
    rcv_nxt: "tcp_sock" "rcv_nxt",
    rcv_wnd: "tcp_sock" "rcv_wnd",
    copied_seq: "tcp_sock" "copied_seq",
    packets_out: "tcp_sock" "packets_out",
    bytes_sent: "tcp_sock" "bytes_sent",
    bytes_received: "tcp_sock" "bytes_received",
    data_segs_in: "tcp_sock" "data_segs_in",
    data_segs_out: "tcp_sock" "data_segs_out",
    srtt_us: "tcp_sock" "srtt_us",
    ts_recent: "tcp_sock" "rx_opt.ts_recent",
    first_tx_mstamp: "tcp_sock" "first_tx_mstamp",
    tcp_mstamp: "tcp_sock" "tcp_mstamp",
    delivered_mstamp: "tcp_sock" "delivered_mstamp",
    rcv_wup: "tcp_sock" "rcv_wup",
    tsorted_sent_queue: "tcp_sock" "tsorted_sent_queue",
    is_mptcp: "tcp_sock" "is_mptcp",
    mptcp_first: "mptcp_sock" "first",
    rtt_min: "tcp_sock" "rtt_min",
    skb_head: "sk_buff" "head",
    skb_network_header: "sk_buff" "network_header",
    skb_protocol: "sk_buff" "protocol",
    skb_dev: "sk_buff" "dev",
    skb_sk: "sk_buff" "sk",
    skb_dst: "sk_buff" "_skb_refdst",
    skb_mstamp: "sk_buff" "skb_mstamp_ns",
    dst_dev: "dst_entry" "dev",
    rt_type: "rtable" "rt_type",
    rt6i_flags: "rt6_info" "rt6i_flags",
    dev_net: "net_device" "nd_net.net",
    task_flags: "task_struct" "flags",
    task_exit_code: "task_struct" "exit_code",
    task_start_time: "task_struct" "start_time",
    task_group_leader: "task_struct" "group_leader",
    task_tgid: "task_struct" "tgid",
    task_comm: "task_struct" "comm",
    task_nsproxy: "task_struct" "nsproxy",
    task_thread_pid: "task_struct" "thread_pid",
    nsproxy_net: "nsproxy" "net_ns",
    pid_level: "pid" "level",
    pid_numbers: "pid" "numbers",
    socket_sk: "socket" "sk",
}
