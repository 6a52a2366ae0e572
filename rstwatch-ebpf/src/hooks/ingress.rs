//! cgroup_skb ingress: RST, SYN and SYN-ACK headers, where tcp_reset cannot be hooked.
//!
//! It runs for each packet of a socket, so the common case is a few loads: it returns at once for all but RST and SYN.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{bpf_sk_fullsock, bpf_skb_load_bytes};
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use rstwatch_common::record::{state, tcp_flag};

use crate::conn_state::{lifecycle, scratch, slots, syns};
use crate::facts::clock::now;
use crate::facts::extension::{self, IPPROTO_TCP, is_extension, tcp_behind};
use crate::facts::segment::{self, Seen};

const PASS: i32 = 1;
/// Offset of the flags in the TCP header.
const FLAGS: u32 = 13;

/// BPF_CGROUP_INET_INGRESS: runs in sk_filter, before the socket or its backlog. The data begin at the IP header.
#[cgroup_skb]
pub fn ingress(ctx: SkBuffContext) -> i32 {
    if let Some(opening) = interesting(&ctx) {
        keep(&ctx, opening.tcp_at, opening.flags, opening.ttl);
    }
    PASS
}

/// A segment with RST or SYN.
struct Opening {
    /// Where the TCP header begins.
    tcp_at: u32,
    flags: u8,
    ttl: u8,
}

impl Opening {
    #[inline(always)]
    fn of(tcp_at: u32, flags: u8, ttl: u8) -> Option<Self> {
        (flags & (tcp_flag::RST | tcp_flag::SYN) != 0).then_some(Self { tcp_at, flags, ttl })
    }
}

#[inline(always)]
fn interesting(ctx: &SkBuffContext) -> Option<Opening> {
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
    let (tcp_at, ttl) = match (byte(0) >> 4, byte(9), byte(6)) {
        (4, IPPROTO_TCP, _) => (((byte(0) & 0xf) as usize) * 4, byte(8)),
        (6, _, IPPROTO_TCP) => (extension::IPV6_BYTES as usize, byte(7)),
        (6, _, next) if is_extension(next) => return behind_extensions(ctx, next, byte(7)),
        _ => return None,
    };
    let flags_at = start + tcp_at + FLAGS as usize;
    if flags_at + 1 > end {
        return None;
    }
    // SAFETY: checked just above.
    let flags = unsafe { *(flags_at as *const u8) };
    Opening::of(tcp_at as u32, flags, ttl)
}

/// The same for IPv6 with extension headers. Not inlined: the packets without them need none of it.
#[inline(never)]
fn behind_extensions(ctx: &SkBuffContext, next: u8, ttl: u8) -> Option<Opening> {
    let tcp_at = tcp_behind(next, |at| {
        let mut head = MaybeUninit::<[u8; extension::HEAD]>::uninit();
        load_bytes(ctx, at, head.as_mut_ptr())?;
        // SAFETY: written by the helper.
        Some(unsafe { head.assume_init() })
    });
    if tcp_at == 0 {
        return None;
    }
    let mut flags = MaybeUninit::<[u8; 1]>::uninit();
    load_bytes(ctx, tcp_at + FLAGS, flags.as_mut_ptr())?;
    // SAFETY: written by the helper.
    Opening::of(tcp_at, unsafe { flags.assume_init() }[0], ttl)
}

/// Keeps the segment's facts with the socket. Request sockets have no storage; they are no connections yet.
#[inline(never)]
fn keep(ctx: &SkBuffContext, tcp_at: u32, flags: u8, ttl: u8) -> Option<()> {
    // SAFETY: the context's socket, NULL included.
    let sk = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return None;
    }
    // SAFETY: returns NULL for anything but a full socket.
    let sk = unsafe { bpf_sk_fullsock(sk) };
    if sk.is_null() {
        return None;
    }
    // SAFETY: a full socket's copy of its state.
    let socket_state = unsafe { (*sk).state } as u8;
    if flags & tcp_flag::RST == 0 {
        return match socket_state {
            state::LISTEN if flags & tcp_flag::ACK == 0 => opens(ctx, tcp_at),
            state::SYN_SENT => {
                // SAFETY: the state of the packet's socket.
                unsafe { slots::get(sk.cast()).as_mut() }?.ttl = ttl;
                Some(())
            }
            _ => None,
        };
    }
    // Neither a listener nor a closed socket has a connection that an RST could end.
    if matches!(socket_state, state::LISTEN | state::CLOSE) {
        return None;
    }
    let mut conn = slots::get_or_create_open(sk.cast(), socket_state, || 0);
    if conn.is_null() {
        conn = scratch::received_by(sk.cast());
    }
    // SAFETY: the state of the packet's socket, or one of this CPU's.
    let conn = unsafe { conn.as_mut() }?;
    if conn.rst.time_ns != 0 {
        // The previous RST was not accepted, or the socket would be gone.
        lifecycle::challenged(conn, conn.rst.time_ns);
    }
    conn.rst.segment = load(ctx, tcp_at)?.segment;
    conn.rst.time_ns = now();
    Some(())
}

/// A SYN comes to a listener.
#[inline(always)]
fn opens(ctx: &SkBuffContext, tcp_at: u32) -> Option<()> {
    let seen = load(ctx, tcp_at)?;
    syns::insert(&seen.flow, seen.segment.seq);
    Some(())
}

#[inline(always)]
fn load(ctx: &SkBuffContext, tcp_at: u32) -> Option<Seen> {
    // Both families' headers fit: TCP follows the twenty bytes of IPv4.
    let mut ip = MaybeUninit::<[u8; 40]>::uninit();
    load_bytes(ctx, 0, ip.as_mut_ptr())?;
    let mut tcp = MaybeUninit::<[u8; 32]>::uninit();
    // Without options the segment is shorter than the request; then the helper clears the whole buffer.
    if load_bytes(ctx, tcp_at, tcp.as_mut_ptr()).is_none() {
        load_bytes(ctx, tcp_at, tcp.as_mut_ptr().cast::<[u8; 20]>())?;
    }
    // SAFETY: written by the helper.
    let (ip, tcp) = unsafe { (ip.assume_init_ref(), tcp.assume_init_ref()) };
    // SAFETY: the context's length.
    let length = unsafe { (*ctx.skb.skb).len };
    let mut seen = Seen::empty();
    segment::fill_ip(ip, &mut seen);
    segment::fill_ports(tcp, &mut seen.flow);
    segment::fill_tcp(tcp, length.wrapping_sub(tcp_at), &mut seen.segment);
    Some(seen)
}

#[inline(always)]
fn load_bytes<const N: usize>(ctx: &SkBuffContext, at: u32, into: *mut [u8; N]) -> Option<()> {
    // SAFETY: the helper writes at most N bytes, or fails.
    let failed = unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), at, into.cast(), N as u32) };
    (failed == 0).then_some(())
}
