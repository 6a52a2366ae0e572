//! The lab's network for who wants resets to look at: no judging, no proof.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use super::net::Net;
use super::nft::Rejects;
use super::peer::{Peer, command};
use super::place::{Family, Place, at};
use super::rows::Scene;
use super::run::{FIRST_PORT, build};
use super::select::missing;
use super::sock::{Listener, Tcp};
use super::table::rows;

/// A scenario is made again where the machine was too slow for it.
const TRIES: u32 = 3;

/// The queue of a crowd's server takes one more, and that many come.
const BACKLOG: usize = 8;
const CROWD: usize = 12;

/// The network, and the next free port of its server. All goes when this goes.
pub struct Stage {
    crowds: Vec<(Peer, Vec<Tcp>)>,
    // After what lives in it.
    net: Net,
    rejects: Rejects,
    port: u16,
}

/// What a row came to.
pub enum Played {
    /// It was made, at this port of the server.
    At(u16),
    /// It needs this program.
    Lacks(&'static str),
}

impl Stage {
    /// Builds the network namespaces.
    pub fn build() -> Result<Self> {
        Ok(Self { crowds: Vec::new(), net: build()?, rejects: Rejects::default(), port: FIRST_PORT })
    }

    /// The network namespaces, for `--netns`.
    pub fn namespaces(&self) -> Vec<PathBuf> {
        Place::ALL.iter().map(|place| self.net.ns(*place).path()).collect()
    }

    /// Makes the resets of a row of the lab.
    pub fn play(&mut self, id: &str) -> Result<Played> {
        let row = rows().find(|row| row.id == id).with_context(|| format!("no row {id:?}"))?;
        if let Some(program) = missing(row) {
            return Ok(Played::Lacks(program));
        }
        let mut tries = 1;
        loop {
            let port = self.next_port();
            let scene = Scene::new(&self.net, &self.rejects, Family::V4, port);
            match (row.make)(&scene) {
                Ok(()) => return Ok(Played::At(port)),
                Err(error) if tries == TRIES => return Err(error.context(format!("row {id}"))),
                Err(_) => tries += 1,
            }
        }
    }

    /// A process of that name connects and aborts; the server's port.
    pub fn abort_as(&mut self, name: &str) -> Result<u16> {
        let port = self.next_port();
        let server: SocketAddr = at(Family::V4.server(), port);
        let _listener = Listener::open(&self.net.server, server, 16)?;
        let mut helper = command(&["abort", &server.to_string(), name])?;
        let mut helper = self.net.client.spawn(helper.stdin(Stdio::null()))?;
        let status = helper.wait()?;
        ensure!(status.success(), "the process that should abort: {status}");
        Ok(port)
    }

    /// A process accepts nothing, and more clients come than its queue takes, until all goes; the server's port.
    pub fn crowd(&mut self) -> Result<u16> {
        let port = self.next_port();
        let server = at(Family::V4.server(), port);
        let peer = Peer::start(&self.net.server, &self.net.janitor, "queue", server, BACKLOG)?;
        let clients = (0..CROWD).map(|_| Tcp::offer(&self.net.client, server)).collect::<Result<_>>()?;
        self.crowds.push((peer, clients));
        Ok(port)
    }

    /// Some scenarios use the next port as well.
    fn next_port(&mut self) -> u16 {
        self.port += 2;
        self.port
    }
}
