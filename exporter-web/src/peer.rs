//! Which addresses count as one client.

use std::net::{IpAddr, Ipv6Addr};

/// The address by which a client is counted: an IPv4 address, or the /64 network of an IPv6 address.
///
/// A single host usually owns its whole /64, so limits by IPv6 address would not bind it.
pub(crate) fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_addresses_count_by_network() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        for (peer, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::"),
            ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::"),
        ] {
            assert_eq!(network(ip(peer)), ip(expected), "{peer}");
        }
    }
}
