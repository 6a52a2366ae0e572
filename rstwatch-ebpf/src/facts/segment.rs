//! Reading a TCP segment's headers from an skb.

use core::mem::MaybeUninit;

use rstwatch_common::flow::{Flow, IPV4, IPV6};
use rstwatch_common::record::{Segment, present};

use crate::facts::extension::{self, IPPROTO_TCP, IPV6_BYTES};
use crate::kernel::{Base, fill, read_at, value};
use crate::words::zeroed;

/// Bytes of a TCP header read: the fixed part and twelve of options, where Linux puts timestamps.
const TCP_BYTES: usize = 32;

/// A TCP segment, and the flow from its *sender's* end.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Seen {
    pub segment: Segment,
    pub flow: Flow,
}

impl Seen {
    /// An empty segment and flow.
    #[inline(always)]
    pub fn empty() -> Self {
        zeroed()
    }

    /// Reverses the flow in place, so that it is seen from the *receiver's* end.
    #[inline(always)]
    pub fn reverse_flow(&mut self) {
        let flow = &mut self.flow;
        let (local, remote) = (&raw mut flow.local, &raw mut flow.remote);
        for index in 0..4 {
            // SAFETY: words of the addresses; the flow is aligned to them.
            unsafe { core::ptr::swap(local.cast::<u32>().add(index), remote.cast::<u32>().add(index)) };
        }
        (flow.local_port, flow.remote_port) = (flow.remote_port, flow.local_port);
    }
}

/// Reads the segment in an skb; returns whether it is TCP. Not inlined: its buffers would not fit on the stacks of all its
/// callers (512 bytes for a whole chain of calls before Linux 6.13).
#[inline(never)]
pub fn read_skb(skb: impl Base, seen: &mut Seen) -> bool {
    let head = value!(skb, skb_head, u64);
    let network = value!(skb, skb_network_header, u16);
    let ip = head + network as u64;
    let mut header = MaybeUninit::<[u8; 40]>::uninit();
    if head == 0 || !fill(ip, header.as_mut_ptr()) {
        return false;
    }
    // SAFETY: the helper has written it.
    let header = unsafe { header.assume_init_ref() };
    let (tcp_at, length) = match header[0] >> 4 {
        4 => of_ipv4(header, ip, seen),
        6 => of_ipv6(header, ip, skb, seen),
        _ => return false,
    };
    let mut tcp = MaybeUninit::<[u8; TCP_BYTES]>::uninit();
    if tcp_at == 0 || !fill(tcp_at, tcp.as_mut_ptr()) {
        return false;
    }
    // SAFETY: the helper has written it.
    let tcp = unsafe { tcp.assume_init_ref() };
    fill_tcp(tcp, length, &mut seen.segment);
    fill_ports(tcp, &mut seen.flow);
    true
}

/// The ports of a flow from its sender's end.
#[inline(always)]
pub fn fill_ports(tcp: &[u8; TCP_BYTES], flow: &mut Flow) {
    flow.local_port = be16(tcp[0], tcp[1]);
    flow.remote_port = be16(tcp[2], tcp[3]);
}

/// Addresses and TTL, by the version in the header.
#[inline(always)]
pub fn fill_ip(header: &[u8; 40], seen: &mut Seen) {
    if header[0] >> 4 == 4 {
        seen.segment.ttl = header[8];
        seen.segment.ip_id = be16(header[4], header[5]);
        seen.segment.present = present::IPV4;
        seen.flow.family = IPV4;
        seen.flow.local[..4].copy_from_slice(&header[12..16]);
        seen.flow.remote[..4].copy_from_slice(&header[16..20]);
    } else {
        seen.segment.ttl = header[7];
        seen.flow.family = IPV6;
        seen.flow.local.copy_from_slice(&header[8..24]);
        seen.flow.remote.copy_from_slice(&header[24..40]);
    }
}

/// Where TCP begins (0: nowhere) and how long it is.
type Tcp = (u64, u32);

/// The forty bytes are readable: a TCP header follows the twenty of IPv4.
#[inline(always)]
fn of_ipv4(header: &[u8; 40], ip: u64, seen: &mut Seen) -> Tcp {
    // A later fragment has no TCP header.
    if header[9] != IPPROTO_TCP || (be16(header[6], header[7]) & 0x1fff) != 0 {
        return (0, 0);
    }
    let header_len = ((header[0] & 0xf) as u64) * 4;
    fill_ip(header, seen);
    (ip + header_len, (be16(header[2], header[3]) as u32).wrapping_sub(header_len as u32))
}

#[inline(always)]
fn of_ipv6(header: &[u8; 40], ip: u64, skb: impl Base, seen: &mut Seen) -> Tcp {
    let next = header[6];
    let at = if next == IPPROTO_TCP { IPV6_BYTES } else { behind_extensions(next, skb.address()) };
    if at == 0 {
        return (0, 0);
    }
    fill_ip(header, seen);
    (ip + at as u64, (be16(header[4], header[5]) as u32).wrapping_sub(at - IPV6_BYTES))
}

/// [`extension::tcp_behind`] for the packet of an skb.
#[inline(always)]
fn behind_extensions(next: u8, skb: u64) -> u32 {
    // Read as numbers: verifiers type the head of a typed skb, and allow a global function only numbers.
    let ip = value!(skb, skb_head, u64) + value!(skb, skb_network_header, u16) as u64;
    tcp_behind_extensions(ip, next as u32)
}

/// The same for the IPv6 header at an address.
///
/// A global function of numbers: a verifier walks it once, and not for each call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tcp_behind_extensions(ip: u64, next: u32) -> u32 {
    extension::tcp_behind(next as u8, |at| read_at(ip + at as u64))
}

/// The TCP part of a segment; `length` is header plus payload.
#[inline(always)]
pub fn fill_tcp(tcp: &[u8; TCP_BYTES], length: u32, segment: &mut Segment) {
    let header_len = ((tcp[12] >> 4) as u32) * 4;
    segment.seq = be32(tcp, 4);
    segment.ack = be32(tcp, 8);
    segment.payload = length.saturating_sub(header_len);
    segment.window = be16(tcp[14], tcp[15]);
    segment.flags = tcp[13];
    segment.present |= present::SEGMENT;
    if header_len >= 32 {
        timestamps(tcp, segment);
    }
}

/// RFC 7323 appendix A: NOP, NOP, timestamps. Others put the option first and pad after it.
#[inline(always)]
fn timestamps(tcp: &[u8; TCP_BYTES], segment: &mut Segment) {
    if tcp[20] == 1 && tcp[21] == 1 && tcp[22] == 8 && tcp[23] == 10 {
        segment.tsval = be32(tcp, 24);
    } else if tcp[20] == 8 && tcp[21] == 10 {
        segment.tsval = be32(tcp, 22);
    } else {
        return;
    }
    segment.present |= present::TIMESTAMPS;
}

#[inline(always)]
fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

#[inline(always)]
fn be32(bytes: &[u8; TCP_BYTES], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
