//! Hosts of the lab's network, and their addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn client(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 77, 1, 2).into(),
            Self::V6 => Ipv6Addr::new(0xfd77, 1, 0, 0, 0, 0, 0, 2).into(),
        }
    }

    pub(crate) fn server(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 77, 2, 2).into(),
            Self::V6 => Ipv6Addr::new(0xfd77, 2, 0, 0, 0, 0, 0, 2).into(),
        }
    }

    /// The router's address on the client's side.
    pub(crate) fn gateway(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 77, 1, 1).into(),
            Self::V6 => Ipv6Addr::new(0xfd77, 1, 0, 0, 0, 0, 0, 1).into(),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }
}

/// A network namespace of the lab, by its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Host {
    Client,
    Router,
    Server,
    Rebooted,
}

impl Host {
    pub(crate) const ALL: [Self; 4] = [Self::Client, Self::Router, Self::Server, Self::Rebooted];

    pub(crate) fn letter(self) -> &'static str {
        match self {
            Self::Client => "c",
            Self::Router => "r",
            Self::Server => "s",
            Self::Rebooted => "s2",
        }
    }
}

/// The socket address of an end.
pub(crate) fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}
