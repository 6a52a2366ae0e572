//! Addresses of a flow in the standard library's types.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rstwatch_common::flow::{Flow, IPV4};

/// Addresses and ports of the local and of the remote end.
pub fn ends(flow: &Flow) -> (SocketAddr, SocketAddr) {
    let address = |bytes: &[u8; 16]| -> IpAddr {
        if flow.family == IPV4 {
            Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()
        } else {
            Ipv6Addr::from(*bytes).into()
        }
    };
    let local = SocketAddr::new(address(&flow.local), flow.local_port);
    (local, SocketAddr::new(address(&flow.remote), flow.remote_port))
}
