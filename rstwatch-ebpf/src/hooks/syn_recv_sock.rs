//! `tcp_v4_syn_recv_sock`, `tcp_v6_syn_recv_sock`: a handshake's last ACK, above all one that finds the accept queue full.
//!
//! With tcp_abort_on_overflow=0 it is dropped silently. The client believes that it is connected, and what it sends after the
//! request has expired is answered by an RST.

use core::ffi::c_void;
use core::ptr::null_mut;

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{fentry, kprobe};
use aya_ebpf::programs::{FEntryContext, ProbeContext};
use rstwatch_common::flow::IPV6;
use rstwatch_common::layout::ABSENT;
use rstwatch_common::record::tcp_flag;

use crate::conn_state::{slots, tombstones, ttl};
use crate::facts::netns::{net_of_sock, netns_of_sock, watched};
use crate::facts::segment::{self, Seen};
use crate::facts::socket::queue_is_full;
use crate::kernel::{argument, offset, register, value};
use crate::listeners;
use crate::words::copy;

/// include/uapi/linux/if_ether.h.
const ETH_P_IP: u16 = 0x0800;

/// `tcp_v4_syn_recv_sock(sk, skb, ..)`, net/ipv4/tcp_ipv4.c: returns first thing if the queue is full.
#[fentry(function = "tcp_v4_syn_recv_sock")]
pub fn tcp_v4_syn_recv_sock(ctx: FEntryContext) -> i32 {
    completes(ctx.as_ptr(), argument, ctx.arg(0), false)
}

/// `tcp_v6_syn_recv_sock(sk, skb, ..)`, net/ipv6/tcp_ipv6.c; passes IPv4 on to the above.
#[fentry(function = "tcp_v6_syn_recv_sock")]
pub fn tcp_v6_syn_recv_sock(ctx: FEntryContext) -> i32 {
    completes(ctx.as_ptr(), argument, ctx.arg(0), true)
}

/// The same by a kprobe: some kernels give the function more than six arguments, which fentry does not accept.
#[kprobe]
pub fn k_v4_syn_recv(ctx: ProbeContext) -> u32 {
    completes(ctx.as_ptr(), register, null_mut(), false) as u32
}

/// The same by a kprobe.
#[kprobe]
pub fn k_v6_syn_recv(ctx: ProbeContext) -> u32 {
    completes(ctx.as_ptr(), register, null_mut(), true) as u32
}

/// `typed`: the listener; NULL if the verifier has not typed it. `v6`: in the function
/// for IPv6.
#[inline(always)]
fn completes(ctx: *mut c_void, argument: fn(*mut c_void, u64) -> u64, typed: *mut c_void, v6: bool) -> i32 {
    let (listener, skb) = (argument(ctx, 0), argument(ctx, 1));
    let full = queue_is_full(listener);
    // mcast_hops cannot be read where it is a bit field (before Linux 6.6).
    let hops_wanted = offset!(mcast_hops) == ABSENT;
    if !full && !hops_wanted {
        return 0;
    }
    // Segments passed on to the function for IPv4 are counted there.
    if full && !(v6 && u16::from_be(value!(skb, skb_protocol, u16)) == ETH_P_IP) {
        listeners::met_full(listener);
    }
    let (netns, net) = (netns_of_sock(listener), net_of_sock(listener));
    let mut seen = Seen::empty();
    if !watched(netns, || net) || !segment::read_skb(skb, &mut seen) {
        return 0;
    }
    // TCP Fast Open comes here with the SYN.
    if seen.segment.flags & tcp_flag::SYN != 0 {
        return 0;
    }
    let flow = seen.flow.reversed();
    if !full {
        if seen.flow.family == IPV6 {
            ttl::keep_handshake_ttl(&flow, net, seen.segment.ttl);
        }
        return 0;
    }
    let known = if typed.is_null() { null_mut() } else { slots::get(typed) };
    // SAFETY: the state of a socket that the caller holds.
    let known = unsafe { known.as_ref() };
    // SAFETY: a tombstone: plain numbers.
    let overflowed = unsafe { tombstones::insert_overflowed(&flow, net, &seen.segment).as_mut() };
    if let (Some(known), Some(overflowed)) = (known, overflowed) {
        copy(&mut overflowed.owner, &known.owner);
    }
    0
}
