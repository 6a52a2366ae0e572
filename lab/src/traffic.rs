//! Rounds of resets, idle times and overflows, so that metrics change.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::network::host::{Family, Host, at};
use crate::network::net::Net;
use crate::network::nft::Rejects;
use crate::network::peer::Process;
use crate::network::sock::{Listener, Tcp};
use crate::rows::Scene;
use crate::rows::idle_timeouts::{Timed, survive_and_die};
use crate::rows::table::rows;
use crate::run::{FIRST_PORT, build};
use crate::select::missing;

/// The rows of each round.
const MADE: [&str; 9] = ["1", "2", "3", "3-client", "4", "5", "6a", "9-server", "10d"];
/// Additional servers: port, and timeout in milliseconds.
const TIMERS: [(u16, u64); 3] = [(9_001, 2_000), (9_002, 3_000), (9_003, 5_000)];
const MINUTE: (u16, Duration) = (9_004, Duration::from_secs(60));
const OVERFLOWING: u16 = 9_005;
/// The queue holds one connection more.
const BACKLOG: i32 = 1;
const OFFERED: u32 = 5;
const TRIES: u32 = 3;

/// The lab's network, with servers that stay from round to round.
pub struct Traffic {
    rejects: Rejects,
    /// Its queue stays full between rounds.
    overflowing: Listener,
    waiting: Vec<Tcp>,
    minutes: VecDeque<Timed>,
    _residents: Vec<Process>,
    // Last, because nothing may be left in it.
    net: Net,
}

impl Traffic {
    /// Builds the network and starts the servers that stay.
    pub fn build() -> Result<Self> {
        let net = build()?;
        let overflowing = Listener::open(&net.server, at(Family::V4.server(), OVERFLOWING), BACKLOG)?;
        let (rejects, waiting, minutes) = (Rejects::default(), Vec::new(), VecDeque::new());
        let residents = Host::ALL.into_iter().map(|host| start_resident(&net, host)).collect::<Result<_>>()?;
        Ok(Self { rejects, overflowing, waiting, minutes, _residents: residents, net })
    }

    /// The namespaces that act as hosts, by name.
    pub fn hosts(&self) -> [(&'static str, PathBuf); 2] {
        [("client", self.net.client.path()), ("server", self.net.server.path())]
    }

    /// Makes each kind once; takes some seconds.
    pub fn round(&mut self) -> Result<()> {
        with_retries(|| self.overflow()).context("the overflow")?;
        self.rows()?;
        with_retries(|| self.minute()).context("a minute of idle time")?;
        let scenes = TIMERS.map(|(port, timeout)| (self.scene(port), Duration::from_millis(timeout)));
        with_retries(|| survive_and_die(&scenes)).context("idle timeouts")
    }

    fn rows(&self) -> Result<()> {
        let made = rows().filter(|row| MADE.contains(&row.id) && missing(row).is_none());
        for (row, port) in made.zip(FIRST_PORT..) {
            with_retries(|| (row.make)(&self.scene(port))).with_context(|| format!("row {}", row.id))?;
        }
        Ok(())
    }

    /// Offers more connections than the queue holds. They are accepted in the next round.
    fn overflow(&mut self) -> Result<()> {
        for early in self.waiting.drain(..).take(BACKLOG.unsigned_abs() as usize + 1) {
            drop((self.overflowing.accept()?, early));
        }
        let to = at(Family::V4.server(), OVERFLOWING);
        self.waiting = (0..OFFERED).map(|_| Tcp::start(&self.net.client, to)).collect::<Result<_>>()?;
        Ok(())
    }

    /// Opens a connection that will be closed after a minute, and closes the one that is due.
    fn minute(&mut self) -> Result<()> {
        let (port, timeout) = MINUTE;
        if self.minutes.front().is_some_and(Timed::is_due)
            && let Some(due) = self.minutes.pop_front()
        {
            due.expire(&self.scene(port))?;
        }
        let timed = Timed::open(&self.scene(port), timeout)?;
        self.minutes.push_back(timed);
        Ok(())
    }

    fn scene(&self, port: u16) -> Scene<'_> {
        Scene::new(&self.net, &self.rejects, Family::V4, port)
    }
}

/// Starts a process in the namespace, through which the agent reads the namespace's counters.
fn start_resident(net: &Net, host: Host) -> Result<Process> {
    Process::start(net.ns(host), &net.cleanup, Command::new("sleep").arg("infinity"))
}

/// Makes a scenario again if a busy machine missed its timing.
fn with_retries(mut make: impl FnMut() -> Result<()>) -> Result<()> {
    (1..TRIES).find_map(|_| make().ok()).map_or_else(make, Ok)
}
