//! The lab's network: namespaces, firewall rules, sockets, servers and helper processes.

pub(crate) mod cgroup;
pub(crate) mod extension;
pub(crate) mod http;
pub(crate) mod cleanup;
pub(crate) mod net;
pub(crate) mod nft;
pub(crate) mod ns;
pub(crate) mod packet;
pub(crate) mod peer;
pub(crate) mod host;
pub(crate) mod procnet;
pub(crate) mod program;
pub(crate) mod sock;
