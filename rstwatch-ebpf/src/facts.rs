//! Reading facts of sockets, packets and tasks.

use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_get_current_task, bpf_get_current_task_btf};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_jiffies64, bpf_ktime_get_ns};
use rstwatch_common::flow::{Flow, IPV4, IPV6};
use rstwatch_common::layout::ABSENT;
use rstwatch_common::record::{PF_KTHREAD, Task, TcpFacts, sock_class_of_state};

use crate::kernel::{Base, Typed, field, offset, read, setting, value, zeroed};
use crate::maps::NETNS;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Steps towards the root that the cgroup filter takes.
const CGROUP_DEPTH: usize = 16;

pub use rstwatch_common::record::sk_class as class;

/// Monotonic nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: takes no argument.
    unsafe { bpf_ktime_get_ns() }
}

/// The clock of most of TCP's time stamps.
#[inline(always)]
pub fn jiffies() -> u32 {
    // SAFETY: takes no argument.
    unsafe { bpf_jiffies64() as u32 }
}

/// `sk_class` of a socket, NULL included.
#[inline(always)]
pub fn class_of(sk: u64, state: u8) -> u8 {
    if sk == 0 { class::NONE } else { sock_class_of_state(state) }
}

/// Whether this namespace is watched.
#[inline(always)]
pub fn watched(netns: u32) -> bool {
    // SAFETY: the value is not read, only found.
    setting!(filter_netns) == 0 || unsafe { NETNS.get(&netns) }.is_some()
}

/// The id of a socket's cgroup; 0 where unknown.
#[inline(never)]
pub fn cgroup_of(sk: impl Base) -> u64 {
    sk.follow(offset!(sk_cgroup)).map_or(0, |cgroup| cgroup_id(cgroup))
}

#[inline(always)]
fn cgroup_id(cgroup: impl Base) -> u64 {
    cgroup.follow(offset!(cgroup_kn)).map_or(0, |node| value!(node, kernfs_id, u64))
}

/// Whether the socket is in the watched cgroup, or below. Without a filter: yes.
#[inline(never)]
pub fn in_cgroup(sk: impl Base) -> bool {
    let sk = sk.address();
    if setting!(filter_cgroup) == 0 {
        return true;
    }
    let wanted = setting!(cgroup);
    let mut cgroup = value!(sk, sk_cgroup, u64);
    for _ in 0..CGROUP_DEPTH {
        if cgroup == 0 {
            return false;
        }
        if cgroup_id(cgroup) == wanted {
            return true;
        }
        // `self.parent` points at the `self` inside the parent.
        let parent = value!(cgroup, cgroup_parent, u64);
        cgroup = if parent == 0 { 0 } else { parent - offset!(cgroup_self) as u64 };
    }
    false
}

/// The flow of a connection's socket. The port comes from `inet_sport`: `skc_num` is 0 once aborted.
#[inline(always)]
pub fn flow_of(sk: impl Base) -> Flow {
    let mut flow = zeroed();
    read_flow(sk, &mut flow);
    flow
}

/// The same, into a flow that is empty.
#[inline(never)]
pub fn read_flow(sk: impl Base, flow: &mut Flow) {
    flow.local_port = u16::from_be(value!(sk, inet_sport, u16));
    flow.remote_port = u16::from_be(value!(sk, skc_dport, u16));
    match field!(sk, skc_family, u16) {
        Some(AF_INET) => ipv4_of(sk, flow),
        Some(AF_INET6) => ipv6_of(sk, flow),
        _ => {}
    }
}

/// [`Flow::family`] of a connection's socket.
#[inline(always)]
pub fn family_of(sk: impl Base) -> u32 {
    match field!(sk, skc_family, u16) {
        Some(AF_INET) => IPV4,
        Some(AF_INET6) if !is_mapped(&remote_v6(sk)) => IPV6,
        Some(AF_INET6) => IPV4,
        _ => 0,
    }
}

#[inline(always)]
fn remote_v6(sk: impl Base) -> [u8; 16] {
    field!(sk, skc_v6_daddr, [u8; 16]).unwrap_or([0; 16])
}

/// ::ffff:0:0/96, RFC 4291 section 2.5.5.2.
#[inline(always)]
fn is_mapped(address: &[u8; 16]) -> bool {
    address[10] == 0xff && address[11] == 0xff && address[..10] == [0; 10]
}

#[inline(always)]
fn ipv4_of(sk: impl Base, flow: &mut Flow) {
    flow.family = IPV4;
    let local: [u8; 4] = field!(sk, skc_rcv_saddr, [u8; 4]).unwrap_or([0; 4]);
    // connect() by a v4 socket may leave the receive address to the route.
    let local = if local == [0; 4] { field!(sk, inet_saddr, [u8; 4]).unwrap_or([0; 4]) } else { local };
    flow.local[..4].copy_from_slice(&local);
    flow.remote[..4].copy_from_slice(&field!(sk, skc_daddr, [u8; 4]).unwrap_or([0; 4]));
}

#[inline(always)]
fn ipv6_of(sk: impl Base, flow: &mut Flow) {
    let remote = remote_v6(sk);
    if is_mapped(&remote) {
        return ipv4_of(sk, flow);
    }
    flow.family = IPV6;
    flow.remote = remote;
    flow.local = field!(sk, skc_v6_rcv_saddr, [u8; 16]).unwrap_or([0; 16]);
}

/// The TTL or hop limit of the handshake's last segment, which the kernel keeps on passive sockets.
///
/// `tcp_v4_syn_recv_sock` and `tcp_v6_syn_recv_sock` (net/ipv4/tcp_ipv4.c, net/ipv6/tcp_ipv6.c). On active sockets
/// the same fields hold the multicast default, 1: 0 is answered.
#[inline(always)]
pub fn kept_ttl(sk: impl Base, family: u32) -> u8 {
    let ttl = if family == IPV4 {
        field!(sk, mc_ttl, u8)
    } else {
        field!(sk.address(), pinet6, u64).and_then(|ipv6| field!(ipv6, mcast_hops, u8))
    };
    ttl.filter(|ttl| *ttl > 1).unwrap_or(0)
}

/// The running task, with its exit code if it is on its way out.
#[inline(always)]
pub fn current(task: &mut Task) {
    tell_current(task, 0);
}

/// The same; a kernel thread, which works for somebody else, leaves what is there.
#[inline(always)]
pub fn current_process(task: &mut Task) {
    tell_current(task, PF_KTHREAD);
}

#[inline(never)]
fn tell_current(task: &mut Task, unless: u32) {
    // The typed pointer came with Linux 5.11, as did storage for tracing programs.
    if setting!(sk_storage) == 0 {
        // SAFETY: takes no argument.
        fill_task(task, unsafe { bpf_get_current_task() } as u64, unless);
    // SAFETY: takes no argument.
    } else if let Some(running) = Typed::new(unsafe { bpf_get_current_task_btf() } as *mut _) {
        fill_task(task, running, unless);
    }
}

#[inline(always)]
fn fill_task(task: &mut Task, running: impl Base, unless: u32) {
    let flags = value!(running, task_flags, u32);
    if flags & unless != 0 {
        return;
    }
    task.tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // The process's start and name, not the thread's.
    let leader = running.follow(offset!(task_group_leader)).unwrap_or(running);
    task.start_ns = value!(leader, task_start_time, u64);
    task.flags = flags;
    task.exit_code = value!(running, task_exit_code, u32);
    task.comm = value!(leader, task_comm, [u8; 16]);
    task.reserved = 0;
    // SAFETY: takes no argument.
    task.cgroup = unsafe { bpf_get_current_cgroup_id() };
}

/// Jiffies since a time stamp of TCP's; `u32::MAX` where the kernel lacks the field.
macro_rules! age {
    ($now:expr, $sk:expr, $field:ident) => {
        if offset!($field) == ABSENT { u32::MAX } else { $now.wrapping_sub(value!($sk, $field, u32)) }
    };
}

/// Jiffies since payload was sent and received, and an ACK came.
pub struct Ages {
    pub sent: u32,
    pub received: u32,
    /// Since an ACK was accepted.
    pub ack: u32,
}

/// How long a socket has been quiet, in each way.
#[inline(always)]
pub fn ages_of(sk: impl Base) -> Ages {
    let now = jiffies();
    Ages { sent: age!(now, sk, lsndtime), received: age!(now, sk, lrcvtime), ack: age!(now, sk, rcv_tstamp) }
}

/// Received bytes that the application has not read. A FIN takes one sequence number.
#[inline(always)]
pub fn unread_of(sk: impl Base) -> u32 {
    let next = value!(sk, rcv_nxt, u32);
    let copied = value!(sk, copied_seq, u32);
    next.wrapping_sub(copied)
}

/// Whether a listener's accept queue is full: `sk_acceptq_is_full`, include/net/sock.h.
#[inline(always)]
pub fn queue_is_full(listener: impl Base) -> bool {
    let limit = field!(listener, sk_max_ack_backlog, u32).unwrap_or(u32::MAX);
    value!(listener, sk_ack_backlog, u32) > limit
}

/// Fills the numbers of a connection's socket or a listener.
#[inline(never)]
pub fn tcp_facts(sk: impl Base, now: u64, tcp: &mut TcpFacts) {
    let now_jiffies = jiffies();
    tcp.bytes_sent = value!(sk, bytes_sent, u64);
    tcp.bytes_received = value!(sk, bytes_received, u64);
    tcp.rtx_age_ns = if value!(sk, sk_rtx_queue, u64) == 0 {
        0
    } else {
        // As a number: some verifiers know what it points at.
        oldest_unacked_age(value!(sk.address(), sk_rtx_queue, u64), now)
    };
    tcp.sent_age = age!(now_jiffies, sk, lsndtime);
    tcp.ack_age = age!(now_jiffies, sk, rcv_tstamp);
    tcp.received_age = age!(now_jiffies, sk, lrcvtime);
    // Zero until the first such segment comes.
    let never = value!(sk, last_oow_ack_time, u32) == 0;
    tcp.oow_age = if never { u32::MAX } else { age!(now_jiffies, sk, last_oow_ack_time) };
    tcp.snd_una = value!(sk, snd_una, u32);
    tcp.snd_nxt = value!(sk, snd_nxt, u32);
    tcp.write_seq = value!(sk, write_seq, u32);
    tcp.rcv_nxt = value!(sk, rcv_nxt, u32);
    tcp.copied_seq = value!(sk, copied_seq, u32);
    tcp.packets_out = value!(sk, packets_out, u32);
    tcp.data_segs_in = value!(sk, data_segs_in, u32);
    tcp.data_segs_out = value!(sk, data_segs_out, u32);
    tcp.srtt_us = value!(sk, srtt_us, u32);
    // struct minmax: the first sample is {u32 t; u32 v}.
    let sample = offset!(rtt_min);
    tcp.rtt_min_us = if sample == ABSENT { 0 } else { sk.value(sample + 4) };
    tcp.rto = value!(sk, icsk_rto, u32);
    tcp.retrans_stamp = value!(sk, retrans_stamp, u32);
    tcp.ts_recent = value!(sk, ts_recent, u32);
    tcp.rcv_wup = value!(sk, rcv_wup, u32);
    tcp.operation_age_ns = operation_age(sk, now);
    tcp.ack_backlog = value!(sk, sk_ack_backlog, u32);
    tcp.max_ack_backlog = value!(sk, sk_max_ack_backlog, u32);
    tcp.sk_flags = value!(sk, skc_flags, u32);
    tcp.retransmits = value!(sk, icsk_retransmits, u8);
    tcp.backoff = value!(sk, icsk_backoff, u8);
    tcp.probes_out = value!(sk, icsk_probes_out, u8);
    tcp.shutdown = value!(sk, sk_shutdown, u8) & 3;
}

/// Since the first segment left of those that are outstanding. `first_tx_mstamp` is set when a segment leaves an empty pipe
/// and when an ACK comes, not by retransmissions (net/ipv4/tcp_rate.c, tcp_rate_skb_sent). Microseconds of `ktime_get_ns`.
#[inline(always)]
fn operation_age(sk: impl Base, now: u64) -> u64 {
    match field!(sk, first_tx_mstamp, u64) {
        Some(stamp) if stamp != 0 => now.saturating_sub(stamp.wrapping_mul(1000)),
        _ => 0,
    }
}

/// Leftmost steps in the tree of unacknowledged segments; a window holds fewer than 2^24.
const RTX_DEPTH: usize = 24;

/// Nanoseconds since the oldest unacknowledged segment was (re)sent; 0: none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn oldest_unacked_age(root: u64, now: u64) -> u64 {
    let mut node = root;
    for _ in 0..RTX_DEPTH {
        // struct rb_node: {parent and colour, right, left}; it is the head of the sk_buff.
        let left: u64 = read(node, 16).unwrap_or(0);
        if left == 0 {
            break;
        }
        node = left;
    }
    match field!(node, skb_mstamp, u64) {
        Some(stamp) if stamp != 0 => now.saturating_sub(stamp),
        _ => 0,
    }
}
