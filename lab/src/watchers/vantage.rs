//! The vantage points of the watchers.

use crate::network::place::Place;

/// A watcher, by the namespaces that it watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Vantage {
    /// Both ends and the router, as on one host with three pods.
    All,
    /// Only the client.
    Client,
    /// Only the server, before and after its reboot.
    Server,
}

impl Vantage {
    pub(crate) const EACH: [Self; 3] = [Self::All, Self::Client, Self::Server];

    pub(crate) fn places(self) -> &'static [Place] {
        match self {
            Self::All => &Place::ALL,
            Self::Client => &[Place::Client],
            Self::Server => &[Place::Server, Place::Rebooted],
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}
