//! Reading a TCP segment's headers out of an skb.

use rstwatch_common::flow::{Flow, IPV4, IPV6};
use rstwatch_common::record::{Segment, present};

use crate::kernel::{field, read_at};

/// Bytes of a TCP header read: the fixed part and twelve of options, where Linux puts timestamps.
const TCP_BYTES: usize = 32;

/// No segment.
pub const NO_SEGMENT: Segment =
    Segment { seq: 0, ack: 0, payload: 0, window: 0, ip_id: 0, ttl: 0, flags: 0, present: 0, reserved: 0 };

const IPPROTO_TCP: u8 = 6;

/// A TCP segment, and the flow from its *sender's* end.
pub struct Seen {
    pub segment: Segment,
    pub flow: Flow,
}

impl Seen {
    pub const NOTHING: Self = Self { segment: NO_SEGMENT, flow: Flow::EMPTY };
}

/// Reads the segment in an skb; answers whether it is TCP. A function of its own in the object: its buffers would not
/// fit on the stacks of all its callers.
#[inline(never)]
pub fn read_skb(skb: u64, seen: &mut Seen) -> bool {
    of_skb(skb).map(|found| *seen = found).is_some()
}

#[inline(always)]
fn of_skb(skb: u64) -> Option<Seen> {
    let head: u64 = field!(skb, skb_head, u64)?;
    let network: u16 = field!(skb, skb_network_header, u16)?;
    let ip = head + network as u64;
    let first: u8 = read_at(ip)?;
    match first >> 4 {
        4 => of_ipv4(ip),
        6 => of_ipv6(ip, skb, head),
        _ => None,
    }
}

#[inline(always)]
fn of_ipv4(ip: u64) -> Option<Seen> {
    let header: [u8; 20] = read_at(ip)?;
    // A later fragment has no TCP header.
    if header[9] != IPPROTO_TCP || (be16(header[6], header[7]) & 0x1fff) != 0 {
        return None;
    }
    let header_len = ((header[0] & 0xf) as u64) * 4;
    let tcp: [u8; TCP_BYTES] = read_at(ip + header_len)?;
    let length = be16(header[2], header[3]) as u32;
    let mut segment = of_tcp(&tcp, length.wrapping_sub(header_len as u32));
    segment.ttl = header[8];
    segment.ip_id = be16(header[4], header[5]);
    segment.present |= present::IPV4;
    let mut flow = ports(&tcp, IPV4);
    flow.local[..4].copy_from_slice(&header[12..16]);
    flow.remote[..4].copy_from_slice(&header[16..20]);
    Some(Seen { segment, flow })
}

#[inline(always)]
fn of_ipv6(ip: u64, skb: u64, head: u64) -> Option<Seen> {
    let header: [u8; 40] = read_at(ip)?;
    // Behind extension headers only the kernel knows where TCP begins.
    let (at, extension) = if header[6] == IPPROTO_TCP {
        (ip + 40, 0)
    } else {
        let transport: u16 = field!(skb, skb_transport_header, u16)?;
        let at = head + transport as u64;
        (at, at.wrapping_sub(ip + 40) as u32)
    };
    let tcp: [u8; TCP_BYTES] = read_at(at)?;
    let length = be16(header[4], header[5]) as u32;
    let mut segment = of_tcp(&tcp, length.wrapping_sub(extension));
    segment.ttl = header[7];
    let mut flow = ports(&tcp, IPV6);
    flow.local.copy_from_slice(&header[8..24]);
    flow.remote.copy_from_slice(&header[24..40]);
    Some(Seen { segment, flow })
}

/// The TCP part of a segment; `length` is header plus payload.
#[inline(always)]
pub fn of_tcp(tcp: &[u8; TCP_BYTES], length: u32) -> Segment {
    let header_len = ((tcp[12] >> 4) as u32) * 4;
    let timestamps = header_len >= 32 && has_timestamps(tcp);
    Segment {
        seq: be32(tcp, 4),
        ack: be32(tcp, 8),
        payload: length.saturating_sub(header_len),
        window: be16(tcp[14], tcp[15]),
        ip_id: 0,
        ttl: 0,
        flags: tcp[13],
        present: present::SEGMENT | if timestamps { present::TIMESTAMPS } else { 0 },
        reserved: 0,
    }
}

/// RFC 7323 appendix A: NOP, NOP, timestamps. Others put the option first and pad behind.
#[inline(always)]
fn has_timestamps(tcp: &[u8; TCP_BYTES]) -> bool {
    (tcp[20] == 1 && tcp[21] == 1 && tcp[22] == 8 && tcp[23] == 10) || (tcp[20] == 8 && tcp[21] == 10)
}

#[inline(always)]
fn ports(tcp: &[u8; TCP_BYTES], family: u32) -> Flow {
    Flow { local_port: be16(tcp[0], tcp[1]), remote_port: be16(tcp[2], tcp[3]), family, ..Flow::EMPTY }
}

#[inline(always)]
fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

#[inline(always)]
fn be32(bytes: &[u8; TCP_BYTES], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
