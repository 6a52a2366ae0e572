//! cgroup_skb ingress: RST, SYN and SYN-ACK headers, where tcp_reset cannot be hooked.
//!
//! It sees each packet of a socket, so the common case is a few loads: anything but RST and SYN leaves at once.

use aya_ebpf::helpers::generated::{bpf_sk_fullsock, bpf_skb_load_bytes};
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use rstwatch_common::record::{state, tcp_flag};

use crate::facts::now;
use crate::maps::{SOCKETS, SYNS};
use crate::memory;
use crate::segment::{self, Seen};

const PASS: i32 = 1;
const IPPROTO_TCP: u8 = 6;

/// BPF_CGROUP_INET_INGRESS: runs in sk_filter, before the socket or its backlog. The data begin at the IP header.
#[cgroup_skb]
pub fn ingress(ctx: SkBuffContext) -> i32 {
    if let Some(tcp_at) = interesting(&ctx) {
        keep(&ctx, tcp_at);
    }
    PASS
}

/// Where the TCP header begins, for segments with RST or SYN.
#[inline(always)]
fn interesting(ctx: &SkBuffContext) -> Option<u32> {
    // SAFETY: the context; the verifier turns these into the packet's bounds.
    let start = unsafe { (*ctx.skb.skb).data } as usize;
    // SAFETY: as above.
    let end = unsafe { (*ctx.skb.skb).data_end } as usize;
    if start + 34 > end {
        return None;
    }
    let byte = |at: usize| {
        // SAFETY: below 34, which was checked.
        unsafe { *((start + at) as *const u8) }
    };
    let tcp_at = match (byte(0) >> 4, byte(9), byte(6)) {
        (4, IPPROTO_TCP, _) => ((byte(0) & 0xf) as usize) * 4,
        (6, _, IPPROTO_TCP) => 40,
        _ => return None,
    };
    let flags_at = start + tcp_at + 13;
    if flags_at + 1 > end {
        return None;
    }
    // SAFETY: checked just above.
    let flags = unsafe { *(flags_at as *const u8) };
    (flags & (tcp_flag::RST | tcp_flag::SYN) != 0).then_some(tcp_at as u32)
}

/// Keeps the header with the socket. Request sockets have no storage; they are no connections yet.
#[inline(never)]
fn keep(ctx: &SkBuffContext, tcp_at: u32) -> Option<()> {
    // SAFETY: the context's socket, NULL included.
    let sk = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return None;
    }
    // SAFETY: answers NULL for anything but a full socket.
    let sk = unsafe { bpf_sk_fullsock(sk) };
    if sk.is_null() {
        return None;
    }
    // SAFETY: a full socket's copy of its state.
    let socket_state = unsafe { (*sk).state } as u8;
    let seen = load(ctx, tcp_at)?;
    let header = seen.segment;
    if socket_state == state::LISTEN {
        if header.flags & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN {
            let _ = SYNS.insert(&seen.flow, &header.seq, 0);
        }
        return None;
    }
    // SAFETY: storage of the packet's socket.
    let kept = unsafe { SOCKETS.get_or_create(sk.cast()).as_mut() }?;
    if header.flags & tcp_flag::RST != 0 {
        if kept.rst_ns != 0 {
            // The one before was not accepted, or there would be no socket any more.
            memory::challenged(kept, kept.rst_ns);
        }
        kept.rst = header;
        kept.rst_ns = now();
    } else if socket_state == state::SYN_SENT {
        kept.ttl = header.ttl;
    }
    Some(())
}

#[inline(always)]
fn load(ctx: &SkBuffContext, tcp_at: u32) -> Option<Seen> {
    // Both families' headers fit: behind the twenty bytes of IPv4 comes TCP.
    let mut ip = [0u8; 40];
    let mut tcp = [0u8; 32];
    load_bytes(ctx, 0, &mut ip)?;
    // Without options the segment is shorter than what we ask for.
    if load_bytes(ctx, tcp_at, &mut tcp).is_none() {
        let mut bare = [0u8; 20];
        load_bytes(ctx, tcp_at, &mut bare)?;
        tcp[..20].copy_from_slice(&bare);
    }
    // SAFETY: the context's length.
    let length = unsafe { (*ctx.skb.skb).len };
    let mut seen = Seen::nothing();
    segment::fill_ip(&ip, &mut seen);
    segment::fill_ports(&tcp, &mut seen.flow);
    segment::fill_tcp(&tcp, length.wrapping_sub(tcp_at), &mut seen.segment);
    Some(seen)
}

#[inline(always)]
fn load_bytes<const N: usize>(ctx: &SkBuffContext, at: u32, into: &mut [u8; N]) -> Option<()> {
    // SAFETY: the helper writes at most N bytes, or fails.
    let failed = unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), at, into.as_mut_ptr().cast(), N as u32) };
    (failed == 0).then_some(())
}
