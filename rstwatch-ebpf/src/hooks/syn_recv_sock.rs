//! fentry on `tcp_v4_syn_recv_sock`, `tcp_v6_syn_recv_sock`: a handshake's last ACK, above all one that meets a full
//! accept queue.
//!
//! With tcp_abort_on_overflow=0 it is dropped without a word. The client believes that it is connected, and what it sends
//! after the request has expired draws an RST.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use core::ffi::c_void;
use rstwatch_common::flow::IPV6;
use rstwatch_common::layout::ABSENT;
use rstwatch_common::record::tcp_flag;

use crate::facts;
use crate::kernel::{argument, offset};
use crate::maps::SOCKETS;
use crate::memory;
use crate::segment::{self, Seen};

/// `tcp_v4_syn_recv_sock(sk, skb, ..)`, net/ipv4/tcp_ipv4.c: gives up first thing where the queue is full.
#[fentry(function = "tcp_v4_syn_recv_sock")]
pub fn tcp_v4_syn_recv_sock(ctx: FEntryContext) -> i32 {
    completes(&ctx)
}

/// `tcp_v6_syn_recv_sock(sk, skb, ..)`, net/ipv6/tcp_ipv6.c; passes IPv4 on to the above.
#[fentry(function = "tcp_v6_syn_recv_sock")]
pub fn tcp_v6_syn_recv_sock(ctx: FEntryContext) -> i32 {
    completes(&ctx)
}

#[inline(always)]
fn completes(ctx: &FEntryContext) -> i32 {
    let (listener, skb) = (argument(ctx.as_ptr(), 0), argument(ctx.as_ptr(), 1));
    let full = facts::queue_is_full(listener);
    // mcast_hops cannot be read where it is a bit field (before Linux 6.6).
    let hops_wanted = offset!(mcast_hops) == ABSENT;
    if !full && !hops_wanted {
        return 0;
    }
    let netns = facts::netns_of_sock(listener);
    let mut seen = Seen::NOTHING;
    if !facts::watched(netns) || !segment::read_skb(skb, &mut seen) {
        return 0;
    }
    // TCP Fast Open comes here with the SYN.
    if seen.segment.flags & tcp_flag::SYN != 0 {
        return 0;
    }
    if !full {
        if seen.flow.family == IPV6 {
            memory::handshake_ttl(&seen.flow.reversed(), netns, seen.segment.ttl);
        }
        return 0;
    }
    let typed = ctx.arg::<*mut c_void>(0);
    if typed.is_null() {
        return 0;
    }
    // SAFETY: storage of a socket that the caller holds.
    if let Some(kept) = unsafe { SOCKETS.get(typed).as_ref() } {
        memory::overflowed(kept, &seen.flow.reversed(), netns, &seen.segment);
    }
    0
}
