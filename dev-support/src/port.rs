//! A port for a server that another process will start.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};

/// A TCP port on loopback, reserved as long as this value exists: the kernel does not assign it to another socket.
///
/// The socket is bound with `SO_REUSEADDR` and does not listen. A server that binds the same port with `SO_REUSEADDR`, as
/// Rust's and Go's do, can share it; `inet_csk_find_open_port` and `__inet_hash_connect` skip it.
pub struct ReservedPort {
    _socket: OwnedFd,
    address: SocketAddr,
}

impl ReservedPort {
    /// Lets the kernel pick the port.
    pub fn new() -> Result<Self> {
        let reserve = || {
            let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
            sockopt::set_socket_reuseaddr(&socket, true)?;
            bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
            let address = getsockname(&socket)?.try_into()?;
            rustix::io::Result::Ok((socket, address))
        };
        let (socket, address) = reserve().context("cannot reserve a port on loopback")?;
        Ok(Self { _socket: socket, address })
    }

    /// Where the server has to listen.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_server_can_take_a_reserved_port() {
        let reserved = ReservedPort::new().expect("reserved");
        let listener = TcpListener::bind(reserved.address()).expect("shared");
        assert_eq!(listener.local_addr().expect("an address"), reserved.address());
    }

    /// `/proc/sys/net/ipv4/ip_local_port_range` cannot be narrowed here, so this asks for many ports.
    #[test]
    fn the_kernel_does_not_assign_a_reserved_port() {
        let reserved = ReservedPort::new().expect("reserved");
        let others: Vec<_> = (0..500).map(|_| TcpListener::bind("127.0.0.1:0").expect("bound")).collect();
        assert!(others.iter().all(|other| other.local_addr().expect("an address") != reserved.address()));
    }
}
