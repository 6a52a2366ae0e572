//! IPv6 extension headers (RFC 8200 section 4): where TCP begins behind them.
//!
//! The kernel's transport header is no help where netfilter drops or rejects a packet: it points behind the hop-by-hop options
//! at most, because the other headers are read after the input hook (net/ipv6/ip6_input.c, ip6_protocol_deliver_rcu).

/// include/uapi/linux/in.h.
pub const IPPROTO_TCP: u8 = 6;

/// Length of the IPv6 header.
pub const IPV6_BYTES: u32 = 40;

/// Every extension header has at least this many bytes, and its length among the first of them.
pub const HEAD: usize = 8;

/// Headers that are read. RFC 8200 section 4.1 expects at most six before TCP: each once, destination options twice.
const MOST: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// Whether a header with this number may precede TCP (net/ipv6/exthdrs_core.c, ipv6_ext_hdr).
#[inline(always)]
pub fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION)
}

/// Where the TCP header begins, in bytes from the IPv6 header, of which `next` is the Next Header field; 0: there is none.
/// `read` returns the first bytes of the header at an offset.
#[inline(always)]
pub fn tcp_behind(mut next: u8, read: impl Fn(u32) -> Option<[u8; HEAD]>) -> u32 {
    let mut at = IPV6_BYTES;
    for _ in 0..MOST {
        let Some(head) = read(at) else { return 0 };
        let length = match next {
            // Only the first fragment has the TCP header. The lowest three bits are flags.
            FRAGMENT if u16::from_be_bytes([head[2], head[3]]) & !7 != 0 => return 0,
            FRAGMENT => 8,
            AUTHENTICATION => (head[1] as u32 + 2) * 4,
            HOP_BY_HOP | ROUTING | DESTINATION => (head[1] as u32 + 1) * 8,
            _ => return 0,
        };
        at += length;
        next = head[0];
        if next == IPPROTO_TCP {
            return at;
        }
    }
    0
}
