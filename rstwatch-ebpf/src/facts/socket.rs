//! Facts of a socket: its flow, class, ages, queue.

use rstwatch_common::flow::{Flow, IPV4, IPV6};
use rstwatch_common::layout::ABSENT;
use rstwatch_common::record::{role, sk_class, sock_class_of_state, sock_flag};

use crate::facts::clock::jiffies;
use crate::kernel::{Base, field, offset, value};
use crate::words::zeroed;

/// `skc_family` of IPv4.
pub const AF_INET: u16 = 2;
/// `skc_family` of IPv6.
pub const AF_INET6: u16 = 10;

/// [`sk_class`] of a socket, NULL included.
#[inline(always)]
pub fn class_of(sk: u64, state: u8) -> u8 {
    if sk == 0 { sk_class::NONE } else { sock_class_of_state(state) }
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
/// the same fields hold the multicast default, 1: the result is 0.
#[inline(always)]
pub fn kept_ttl(sk: impl Base, family: u32) -> u8 {
    let ttl = if family == IPV4 {
        field!(sk, mc_ttl, u8)
    } else {
        field!(sk.address(), pinet6, u64).and_then(|ipv6| field!(ipv6, mcast_hops, u8))
    };
    ttl.filter(|ttl| *ttl > 1).unwrap_or(0)
}

/// Which end of its connection a socket is, and the TTL of the peer's handshake if it accepted; the role is
/// [`role::UNKNOWN`] where the kernel keeps no hop limit that can be read (IPv6 before Linux 6.6).
#[inline(always)]
pub fn role_of(sk: impl Base) -> (u8, u8) {
    let family = family_of(sk);
    let ttl = kept_ttl(sk, family);
    let readable = family == IPV4 || offset!(mcast_hops) != ABSENT;
    match (ttl, readable) {
        (0, true) => (role::CLIENT, 0),
        (0, false) => (role::UNKNOWN, 0),
        _ => (role::SERVER, ttl),
    }
}

/// Jiffies since a time stamp of TCP's; `u32::MAX` where the kernel lacks the field.
macro_rules! age {
    ($now:expr, $sk:expr, $field:ident) => {
        if offset!($field) == ABSENT { u32::MAX } else { $now.wrapping_sub(value!($sk, $field, u32)) }
    };
}
pub(crate) use age;

/// How long a socket has been quiet, in jiffies.
pub struct Ages {
    /// Since payload was sent.
    pub sent: u32,
    /// Since payload was received.
    pub received: u32,
    /// Since an ACK was accepted.
    pub ack: u32,
}

/// The ages of a socket's last segments.
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

/// Bytes written and not acknowledged.
#[inline(always)]
pub fn unacknowledged(sk: impl Base) -> u32 {
    let written = value!(sk, write_seq, u32);
    written.wrapping_sub(field!(sk, snd_una, u32).unwrap_or(written))
}

/// Whether no file refers to the socket any more.
#[inline(always)]
pub fn is_orphaned(sk: impl Base) -> bool {
    has_flag(sk, sock_flag::DEAD)
}

/// Whether the peer's FIN has come.
#[inline(always)]
pub fn has_fin(sk: impl Base) -> bool {
    has_flag(sk, sock_flag::DONE)
}

/// Whether SO_KEEPALIVE is set: our own probes draw ACKs.
#[inline(always)]
pub fn sends_keepalives(sk: impl Base) -> bool {
    has_flag(sk, sock_flag::KEEPOPEN)
}

/// Whether SO_LINGER is set with zero time: close() aborts.
#[inline(always)]
pub fn lingers_zero(sk: impl Base) -> bool {
    has_flag(sk, sock_flag::LINGER) && field!(sk, sk_lingertime, u64) == Some(0)
}

#[inline(always)]
fn has_flag(sk: impl Base, flag: u32) -> bool {
    value!(sk, skc_flags, u32) & flag != 0
}

/// Whether a listener's accept queue is full: `sk_acceptq_is_full`, include/net/sock.h.
#[inline(always)]
pub fn queue_is_full(listener: impl Base) -> bool {
    let limit = field!(listener, sk_max_ack_backlog, u32).unwrap_or(u32::MAX);
    value!(listener, sk_ack_backlog, u32) > limit
}
