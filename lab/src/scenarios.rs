//! Produces the lab's resets for demos and browser tests, without checking the verdicts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};

use crate::network::host::{Family, Host, at};
use crate::network::net::Net;
use crate::network::nft::Rejects;
use crate::network::peer::{Peer, Process, command};
use crate::network::sock::{Listener, Tcp};
use crate::rows::Scene;
use crate::rows::table::rows;
use crate::run::{FIRST_PORT, build};
use crate::select::missing;

/// Maximum number of attempts at a scenario.
const TRIES: u32 = 3;

/// Backlog of the server whose accept queue overflows.
const BACKLOG: usize = 8;
/// Clients that connect to that server.
const CLIENTS: usize = 12;

/// The lab's network and what runs in it. Everything is removed on drop.
pub struct Scenarios {
    overflows: Vec<(Peer, Vec<Tcp>)>,
    // Fields drop in order: the network after the processes in it.
    net: Net,
    rejects: Rejects,
    /// The last server port that was used.
    port: u16,
}

/// Whether a row's resets were made.
pub enum Made {
    /// Made, at this server port.
    AtPort(u16),
    /// Skipped, because this program is not installed.
    Missing(&'static str),
}

impl Scenarios {
    /// Builds the network namespaces.
    pub fn build() -> Result<Self> {
        Ok(Self { overflows: Vec::new(), net: build()?, rejects: Rejects::default(), port: FIRST_PORT })
    }

    /// The network namespaces, for `--netns`.
    pub fn namespaces(&self) -> Vec<PathBuf> {
        Host::ALL.iter().map(|host| self.net.ns(*host).path()).collect()
    }

    /// Adopts a child process. It is killed when the returned value is dropped or, at the latest, with the lab.
    pub(crate) fn adopt(&self, child: Child) -> Result<Process> {
        Process::adopt(child, &self.net.cleanup)
    }

    /// Makes the resets of one row.
    pub fn make(&mut self, id: &str) -> Result<Made> {
        let row = rows().find(|row| row.id == id).with_context(|| format!("no row {id:?}"))?;
        if let Some(program) = missing(row) {
            return Ok(Made::Missing(program));
        }
        let mut tries = 1;
        loop {
            let port = self.next_port();
            let scene = Scene::new(&self.net, &self.rejects, Family::V4, port);
            match (row.make)(&scene) {
                Ok(()) => return Ok(Made::AtPort(port)),
                Err(error) if tries == TRIES => return Err(error.context(format!("row {id}"))),
                Err(_) => tries += 1,
            }
        }
    }

    /// Runs a process of this name that aborts a connection. Returns the server's port.
    pub fn abort_as(&mut self, name: &str) -> Result<u16> {
        let port = self.next_port();
        let server: SocketAddr = at(Family::V4.server(), port);
        let _listener = Listener::open(&self.net.server, server, 16)?;
        let mut helper = command(&["abort", &server.to_string(), name])?;
        let mut helper = self.net.client.spawn(helper.stdin(Stdio::null()))?;
        let status = helper.wait()?;
        ensure!(status.success(), "the aborting process: {status}");
        Ok(port)
    }

    /// Overflows an accept queue: more clients connect to a server that never accepts than its queue holds. Returns the server's
    /// port.
    pub fn overflow(&mut self) -> Result<u16> {
        let port = self.next_port();
        let server = at(Family::V4.server(), port);
        let peer = Peer::start(&self.net.server, &self.net.cleanup, "queue", server, BACKLOG)?;
        let clients = (0..CLIENTS).map(|_| Tcp::offer(&self.net.client, server)).collect::<Result<_>>()?;
        self.overflows.push((peer, clients));
        Ok(port)
    }

    /// Ports are handed out in pairs, because some scenarios also use the next one.
    fn next_port(&mut self) -> u16 {
        self.port += 2;
        self.port
    }
}
