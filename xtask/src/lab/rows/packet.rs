//! A forged RST, as a device on the path would make it.

use std::net::SocketAddrV4;

const HEADER: u16 = 20;
const DONT_FRAGMENT: u16 = 0x4000;
const RST: u8 = 0x04;
const TCP: u8 = 6;

/// A bare RST with IPv4 header. The kernel fills in IP's own checksum.
pub(super) fn rst(from: SocketAddrV4, to: SocketAddrV4, sequence: u32, ttl: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((2 * HEADER).to_be_bytes());
    packet.extend(0u16.to_be_bytes());
    packet.extend(DONT_FRAGMENT.to_be_bytes());
    packet.extend([ttl, TCP, 0, 0]);
    packet.extend(from.ip().octets());
    packet.extend(to.ip().octets());
    // TCP's checksum covers the addresses too.
    let mut covered = [from.ip().octets(), to.ip().octets()].concat();
    covered.extend([0, TCP]);
    covered.extend(HEADER.to_be_bytes());
    covered.extend(segment(from.port(), to.port(), sequence, 0));
    packet.extend(segment(from.port(), to.port(), sequence, checksum(&covered)));
    packet
}

fn segment(from: u16, to: u16, sequence: u32, checksum: u16) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend(from.to_be_bytes());
    tcp.extend(to.to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    tcp.extend(0u32.to_be_bytes());
    tcp.extend([0x50, RST, 0, 0]);
    tcp.extend(checksum.to_be_bytes());
    tcp.extend([0, 0]);
    tcp
}

/// The internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| match pair {
        [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    });
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_rfc() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&bytes), !0xddf2);
    }

    #[test]
    fn a_reset_is_forty_bytes_with_its_ttl() {
        let from = "10.0.0.1:80".parse().expect("address");
        let to = "10.0.0.2:4000".parse().expect("address");
        let packet = rst(from, to, 7, 200);
        assert_eq!((packet.len(), packet[8], packet[33]), (40, 200, RST));
    }
}
