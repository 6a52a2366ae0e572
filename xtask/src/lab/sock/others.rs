//! The sockets that are not connections.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::Tcp;
use crate::lab::ns::Ns;
use crate::lab::wait::SOON;

/// A listener. Closing it with connections unaccepted resets them, as it does anywhere.
pub(in crate::lab) struct Listener {
    socket: Socket,
}

impl Listener {
    pub(in crate::lab) fn open(ns: &Ns, at: SocketAddr, backlog: i32) -> Result<Self> {
        let domain = Domain::for_address(at);
        let socket = ns.run(|| Ok(Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?))?;
        socket.set_reuse_address(true)?;
        socket.set_read_timeout(Some(SOON))?;
        socket.bind(&at.into())?;
        socket.listen(backlog)?;
        Ok(Self { socket })
    }

    pub(in crate::lab) fn accept(&self) -> Result<Tcp> {
        let (socket, _) = self.socket.accept().context("accept")?;
        Ok(Tcp::of(socket)?)
    }
}

/// Sends one IPv4 packet exactly as given.
pub(in crate::lab) fn send_raw(ns: &Ns, packet: &[u8], to: SocketAddr) -> Result<()> {
    ns.run(|| {
        let raw = Protocol::from(libc::IPPROTO_RAW);
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(raw))?;
        socket.send_to(packet, &SockAddr::from(to))?;
        Ok(())
    })
}
