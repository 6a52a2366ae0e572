//! The vantage points of the watchers.

use crate::network::host::Host;

/// A watcher, by the namespaces that it watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Vantage {
    /// Every host, as if all were pods of one node.
    All,
    /// Only the client.
    Client,
    /// Only the server, before and after its reboot.
    Server,
}

impl Vantage {
    pub(crate) const EACH: [Self; 3] = [Self::All, Self::Client, Self::Server];

    pub(crate) fn hosts(self) -> &'static [Host] {
        match self {
            Self::All => &Host::ALL,
            Self::Client => &[Host::Client],
            Self::Server => &[Host::Server, Host::Rebooted],
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
