//! Verdicts about sent resets, from the agent's stream of events.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};

use anyhow::{Result, anyhow};
use serde::Deserialize;

use super::web;

const STREAM: &str = "/api/v1/events?follow=1";

/// The fields of an event that the bench checks.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Verdict {
    direction: String,
    pub(crate) cause: String,
    pub(crate) idle_ms: Option<u64>,
    pub(crate) process: Option<Process>,
    local: SocketAddr,
    remote: SocketAddr,
    netns: u64,
}

/// The owner of the resetting end.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Process {
    pub(crate) comm: String,
}

/// A connection: its network namespace, the address of the end that sent the reset, and the address of the other.
pub(crate) type Connection = (u64, SocketAddr, SocketAddr);

/// A follower of the stream.
pub(crate) struct Verdicts {
    stream: TcpStream,
    reading: JoinHandle<HashMap<Connection, Verdict>>,
}

impl Verdicts {
    /// Follows the stream from now on.
    pub(crate) fn follow() -> Result<Self> {
        let stream = web::request(STREAM)?;
        stream.set_read_timeout(None)?;
        let theirs = BufReader::new(stream.try_clone()?);
        let reading = thread::spawn(move || {
            // Lines of the response's head are not JSON, so they are skipped.
            let lines = theirs.lines().map_while(Result::ok);
            let verdicts = lines.filter_map(|line| serde_json::from_str::<Verdict>(&line).ok());
            let sent = verdicts.filter(|verdict| verdict.direction == "sent");
            sent.map(|verdict| ((verdict.netns, verdict.local, verdict.remote), verdict)).collect()
        });
        Ok(Self { stream, reading })
    }

    /// The last verdict about each connection.
    pub(crate) fn end(self) -> Result<HashMap<Connection, Verdict>> {
        // Fails only if the agent has already closed the connection.
        let _ = self.stream.shutdown(Shutdown::Both);
        self.reading.join().map_err(|_| anyhow!("the follower panicked"))
    }
}
