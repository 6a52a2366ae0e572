//! Builds forged TCP segments, and parses and forwards captured ones.

use std::net::{IpAddr, SocketAddr};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;
const DONT_FRAGMENT: u16 = 0x4000;
const TCP: u8 = 6;
/// Offset of the checksum in the TCP header.
const CHECKSUM_OFFSET: usize = 16;

/// A segment without payload, to be sent from any address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForgedSegment {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) sequence: u32,
    pub(crate) acknowledges: u32,
    pub(crate) flags: u8,
    pub(crate) ttl: u8,
    pub(crate) window: u16,
}

impl ForgedSegment {
    /// A bare RST.
    pub(crate) fn rst(from: SocketAddr, to: SocketAddr, sequence: u32, ttl: u8) -> Self {
        Self { from, to, sequence, acknowledges: 0, flags: RST, ttl, window: 0 }
    }

    /// The whole packet, IP header included. The kernel fills in the IPv4 header checksum.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut packet = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut header = vec![0x45, 0, 0, 40, 0, 0];
                header.extend(DONT_FRAGMENT.to_be_bytes());
                header.extend([self.ttl, TCP, 0, 0]);
                header.extend(from.octets());
                header.extend(to.octets());
                header
            }
            (from, to) => {
                let mut header = vec![0x60, 0, 0, 0, 0, 20, TCP, self.ttl];
                header.extend(ipv6_octets(from));
                header.extend(ipv6_octets(to));
                header
            }
        };
        packet.extend(self.from.port().to_be_bytes());
        packet.extend(self.to.port().to_be_bytes());
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.acknowledges.to_be_bytes());
        packet.extend([0x50, self.flags]);
        packet.extend(self.window.to_be_bytes());
        packet.extend([0; 4]);
        fill_tcp_checksum(&mut packet);
        packet
    }
}

/// The address as IPv6, mapped if it is IPv4.
fn ipv6_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
    }
}

/// Parsed fields of a captured segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) from: u16,
    pub(crate) to: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledges: u32,
    pub(crate) flags: u8,
    /// Payload length in bytes.
    pub(crate) payload: u32,
}

impl Segment {
    /// Parses a packet; `None` if it is not TCP.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let start = tcp_offset(packet)?;
        let tcp = packet.get(start..)?;
        let u16_at = |at: usize| Some(u16::from_be_bytes(tcp.get(at..at + 2)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_be_bytes(tcp.get(at..at + 4)?.try_into().ok()?));
        let header = usize::from(tcp.get(12)? >> 4) * 4;
        Some(Self {
            from: u16_at(0)?,
            to: u16_at(2)?,
            sequence: u32_at(4)?,
            acknowledges: u32_at(8)?,
            flags: *tcp.get(13)?,
            payload: u32::try_from(tcp.len().checked_sub(header)?).ok()?,
        })
    }

    /// The sequence number that follows the segment; SYN and FIN count as one byte each.
    pub(crate) fn end(&self) -> u32 {
        let flags = u32::from(self.flags & FIN != 0) + u32::from(self.flags & SYN != 0);
        self.sequence.wrapping_add(self.payload).wrapping_add(flags)
    }
}

/// The packet as a router forwards it: TTL decremented, and the TCP checksum that checksum offload left incomplete filled in.
pub(crate) fn forward(mut packet: Vec<u8>) -> Vec<u8> {
    let ttl_offset = if packet.first().is_some_and(|first| first >> 4 == 4) { 8 } else { 7 };
    if let Some(ttl) = packet.get_mut(ttl_offset) {
        *ttl = ttl.saturating_sub(1);
    }
    fill_tcp_checksum(&mut packet);
    packet
}

/// The destination address, with port 0.
pub(crate) fn destination(packet: &[u8]) -> Option<SocketAddr> {
    let address = match packet.first()? >> 4 {
        4 => IpAddr::from(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?),
    };
    Some(SocketAddr::new(address, 0))
}

/// Offset of the TCP header; `None` if the packet is not TCP.
fn tcp_offset(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    match first >> 4 {
        4 if packet.get(9) == Some(&TCP) => Some(usize::from(first & 0x0f) * 4),
        6 if packet.get(6) == Some(&TCP) => Some(IPV6_HEADER),
        _ => None,
    }
}

/// Fills in the TCP checksum, which also covers the pseudo-header.
pub(super) fn fill_tcp_checksum(packet: &mut [u8]) {
    let Some(start) = tcp_offset(packet) else { return };
    let addresses = if start == IPV6_HEADER { 8..IPV6_HEADER } else { IPV4_HEADER - 8..IPV4_HEADER };
    if packet.len() < start + TCP_HEADER {
        return;
    }
    packet[start + CHECKSUM_OFFSET..start + CHECKSUM_OFFSET + 2].fill(0);
    let length = u32::try_from(packet.len() - start).unwrap_or_default();
    let mut covered = packet[addresses].to_vec();
    covered.extend(length.to_be_bytes());
    covered.extend([0, 0, 0, TCP]);
    covered.extend(&packet[start..]);
    let sum = checksum(&covered);
    packet[start + CHECKSUM_OFFSET..start + CHECKSUM_OFFSET + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The Internet checksum (RFC 1071). An odd last byte is padded with zero.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    let mut sum: u64 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_matches_the_example_in_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&bytes), !0xddf2);
        assert_eq!(checksum(&bytes[..7]), checksum(&[&bytes[..7], &[0]].concat()));
    }

    #[test]
    fn parses_what_it_builds() {
        for (from, to) in [("10.0.0.1:80", "10.0.0.2:4000"), ("[fd77::1]:80", "[fd77::2]:4000")] {
            let (from, to) = (from.parse().expect("address"), to.parse().expect("address"));
            let packet = ForgedSegment::rst(from, to, 7, 200).to_bytes();
            let segment = Segment::parse(&packet).expect("TCP");
            assert_eq!((segment.from, segment.to, segment.sequence), (80, 4000, 7));
            assert_eq!((segment.flags, segment.payload, segment.end()), (RST, 0, 7));
            assert_eq!(Segment::parse(&forward(packet)), Some(segment));
        }
    }

    #[test]
    fn tcp_checksum_verifies() {
        let from = "10.0.0.1:80".parse().expect("address");
        let to = "10.0.0.2:4000".parse().expect("address");
        let packet = ForgedSegment::rst(from, to, 7, 200).to_bytes();
        let with_pseudo_header = [&packet[12..20], &[0, TCP, 0, 20], &packet[20..]].concat();
        assert_eq!(checksum(&with_pseudo_header), 0);
    }
}
