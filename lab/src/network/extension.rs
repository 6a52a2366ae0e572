//! IPv6 extension headers, fragments and IPv4 options, made of forged packets that have none.

use super::packet::fill_tcp_checksum;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
/// Offset of the Next Header field in the IPv6 header.
const NEXT: usize = 6;
const TCP: u8 = 6;
/// Offset of the data offset in the TCP header.
const DATA_OFFSET: usize = 12;
/// TCP options that mean nothing.
const NO_OPERATIONS: [u8; 12] = [1; 12];
/// Identification of a fragmented packet.
const IDENTIFICATION: u8 = 77;
/// Padding that fills an extension header's eight bytes, or four options bytes: PadN (RFC 8200 section 4.2).
const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];
/// A routing type for experiments (RFC 4727), which every stack ignores if no segment is left.
const EXPERIMENT: u8 = 253;
/// Router alert (RFC 2113): the packet deserves a closer look.
const ROUTER_ALERT: [u8; 4] = [0x94, 4, 0, 0];

/// An IPv6 extension header, by its number. Each has eight bytes and says nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extension {
    HopByHop = 0,
    Routing = 43,
    /// Of a packet that is one fragment (RFC 6946).
    Fragment = 44,
    Destination = 60,
}

impl Extension {
    fn to_bytes(self, next: u8) -> [u8; 8] {
        let [a, b, c, d, e, f] = match self {
            Self::HopByHop | Self::Destination => PADDING,
            Self::Routing => [EXPERIMENT, 0, 0, 0, 0, 0],
            Self::Fragment => [0, 0, 0, 0, 0, IDENTIFICATION],
        };
        [next, 0, a, b, c, d, e, f]
    }
}

/// The IPv6 packet with these headers before TCP.
pub(crate) fn behind(chain: &[Extension], packet: &[u8]) -> Vec<u8> {
    let (header, tcp) = packet.split_at(IPV6_HEADER);
    let (mut next, mut payload) = (TCP, tcp.to_vec());
    for extension in chain.iter().rev() {
        payload = [&extension.to_bytes(next), payload.as_slice()].concat();
        next = *extension as u8;
    }
    let mut packet = [header, &payload].concat();
    fill_length(&mut packet);
    packet[NEXT] = next;
    packet
}

/// The IPv6 packet in two fragments: the first has the destination options and the TCP header, the second its last options.
/// Stacks drop a first fragment without the whole fixed header (net/ipv6/reassembly.c, ipv6frag_thdr_truncated).
pub(crate) fn in_two_fragments(packet: &[u8]) -> [Vec<u8>; 2] {
    let mut packet = [packet, &NO_OPERATIONS].concat();
    packet[IPV6_HEADER + DATA_OFFSET] = 0x80;
    fill_tcp_checksum(&mut packet);
    let whole = behind(&[Extension::Fragment, Extension::Destination], &packet);
    let (first, second) = whole.split_at(whole.len() - 8);
    let second = [&whole[..IPV6_HEADER + 8], second].concat();
    let offset = u16::try_from(first.len() - IPV6_HEADER - 8).unwrap_or_default();
    [fragment(first, 1), fragment(&second, offset)]
}

/// Sets offset and flag in the fragment header, and the length.
fn fragment(packet: &[u8], offset: u16) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[IPV6_HEADER + 2..IPV6_HEADER + 4].copy_from_slice(&offset.to_be_bytes());
    fill_length(&mut packet);
    packet
}

fn fill_length(packet: &mut [u8]) {
    let length = u16::try_from(packet.len() - IPV6_HEADER).unwrap_or_default();
    packet[4..NEXT].copy_from_slice(&length.to_be_bytes());
}

/// The IPv4 packet with an option. The kernel fills in length and checksum.
pub(crate) fn with_option(packet: &[u8]) -> Vec<u8> {
    let (header, tcp) = packet.split_at(IPV4_HEADER);
    let mut packet = [header, &ROUTER_ALERT, tcp].concat();
    packet[0] += 1;
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::packet::ForgedSegment;

    #[test]
    fn headers_are_chained_in_order() {
        let (from, to) = ("[fd77::1]:80".parse().expect("address"), "[fd77::2]:4000".parse().expect("address"));
        let plain = ForgedSegment::rst(from, to, 7, 200).to_bytes();
        let packet = behind(&[Extension::HopByHop, Extension::Fragment], &plain);
        assert_eq!((packet[NEXT], packet[IPV6_HEADER], packet[IPV6_HEADER + 8]), (0, 44, TCP));
        assert_eq!((&packet[4..6], &packet[IPV6_HEADER + 16..]), (&[0, 36][..], &plain[IPV6_HEADER..]));
        assert_eq!(behind(&[], &plain), plain);
    }
}
