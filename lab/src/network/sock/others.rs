//! Listeners and raw sockets.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::Tcp;
use crate::network::host::{Family, at};
use crate::network::ns::Ns;
use crate::network::packet::{ForgedSegment, destination};
use crate::wait::SOON;

/// A listener. Dropping it resets the connections that were not accepted, as in any program.
pub(crate) struct Listener {
    socket: Socket,
}

impl Listener {
    pub(crate) fn open(ns: &Ns, at: SocketAddr, backlog: i32) -> Result<Self> {
        Self::with_protocol(ns, Protocol::TCP, at, backlog)
    }

    /// A listener of another protocol, such as MPTCP.
    pub(crate) fn with_protocol(ns: &Ns, protocol: Protocol, at: SocketAddr, backlog: i32) -> Result<Self> {
        let domain = Domain::for_address(at);
        let socket = ns.run(|| Ok(Socket::new(domain, Type::STREAM, Some(protocol))?))?;
        socket.set_reuse_address(true)?;
        socket.set_read_timeout(Some(SOON))?;
        socket.bind(&at.into())?;
        socket.listen(backlog)?;
        Ok(Self { socket })
    }

    pub(crate) fn options(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn accept(&self) -> Result<Tcp> {
        let (socket, _) = self.socket.accept().context("accept")?;
        Ok(Tcp::of(socket)?)
    }
}

/// Sends packets that include their IP header. Over IPv4 the kernel fills in the header's checksum and length (raw(7)).
pub(crate) struct Raw {
    socket: Socket,
}

impl Raw {
    pub(crate) fn open(ns: &Ns, family: Family) -> Result<Self> {
        let domain = Domain::for_address(at(family.server(), 0));
        let raw = Some(Protocol::from(libc::IPPROTO_RAW));
        Ok(Self { socket: ns.run(|| Ok(Socket::new(domain, Type::RAW, raw)?))? })
    }

    pub(crate) fn send(&self, packet: &[u8]) -> Result<()> {
        let to = destination(packet).context("a packet without an address")?;
        self.socket.send_to(packet, &to.into()).context("a raw packet")?;
        Ok(())
    }
}

/// Sends one forged segment from a namespace.
pub(crate) fn forge(ns: &Ns, segment: &ForgedSegment) -> Result<()> {
    let family = if segment.to.is_ipv4() { Family::V4 } else { Family::V6 };
    Raw::open(ns, family)?.send(&segment.to_bytes())
}
