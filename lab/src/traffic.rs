//! Rounds of resets, silences and overflows, for those who want to see metrics move.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::net::Net;
use super::nft::Rejects;
use super::peer::Process;
use super::place::{Family, Place, at};
use super::rows::Scene;
use super::rows::timers::{Timed, survive_and_die};
use super::run::{FIRST_PORT, build};
use super::select::missing;
use super::sock::{Listener, Tcp};
use super::table::rows;

/// What each round makes.
const MADE: [&str; 9] = ["1", "2", "3", "3-client", "4", "5", "6a", "9-server", "10d"];
/// Servers that are not those of rows, by port.
const TIMERS: [(u16, u64); 3] = [(9_001, 2_000), (9_002, 3_000), (9_003, 5_000)];
const MINUTE: (u16, Duration) = (9_004, Duration::from_secs(60));
const CROWDED: u16 = 9_005;
/// The queue takes one more.
const BACKLOG: i32 = 1;
const CROWD: u32 = 5;
const TRIES: u32 = 3;

/// The lab's network, with servers that stay from round to round.
pub struct Traffic {
    rejects: Rejects,
    /// Its queue is left full between rounds.
    crowded: Listener,
    crowd: Vec<Tcp>,
    minutes: VecDeque<Timed>,
    _inhabitants: Vec<Process>,
    // Last: nothing of ours must be left in it.
    net: Net,
}

impl Traffic {
    /// Builds the network and starts the servers that stay.
    pub fn build() -> Result<Self> {
        let net = build()?;
        let crowded = Listener::open(&net.server, at(Family::V4.server(), CROWDED), BACKLOG)?;
        let (rejects, crowd, minutes) = (Rejects::default(), Vec::new(), VecDeque::new());
        let inhabitants = Place::ALL.into_iter().map(|place| inhabit(&net, place)).collect::<Result<_>>()?;
        Ok(Self { rejects, crowded, crowd, minutes, _inhabitants: inhabitants, net })
    }

    /// The namespaces whose programs can stand for hosts of their own, by name.
    pub fn hosts(&self) -> [(&'static str, PathBuf); 2] {
        [("client", self.net.client.path()), ("server", self.net.server.path())]
    }

    /// One of everything; takes some seconds.
    pub fn round(&mut self) -> Result<()> {
        patiently(|| self.crowd()).context("the crowd")?;
        self.rows()?;
        patiently(|| self.minute()).context("a minute's silence")?;
        let scenes = TIMERS.map(|(port, timeout)| (self.scene(port), Duration::from_millis(timeout)));
        patiently(|| survive_and_die(&scenes)).context("idle timeouts")
    }

    fn rows(&self) -> Result<()> {
        let made = rows().filter(|row| MADE.contains(&row.id) && missing(row).is_none());
        for (row, port) in made.zip(FIRST_PORT..) {
            patiently(|| (row.make)(&self.scene(port))).with_context(|| format!("row {}", row.id))?;
        }
        Ok(())
    }

    /// More connections than the queue takes. Nobody accepts them before the next round.
    fn crowd(&mut self) -> Result<()> {
        for early in self.crowd.drain(..).take(BACKLOG.unsigned_abs() as usize + 1) {
            drop((self.crowded.accept()?, early));
        }
        let to = at(Family::V4.server(), CROWDED);
        self.crowd = (0..CROWD).map(|_| Tcp::start(&self.net.client, to)).collect::<Result<_>>()?;
        Ok(())
    }

    /// One connection more that will be closed after a minute, and the end of those that are due.
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

/// A process that lives in the namespace, as in any container: counters are read where one does.
fn inhabit(net: &Net, place: Place) -> Result<Process> {
    Process::start(net.ns(place), &net.janitor, Command::new("sleep").arg("infinity"))
}

/// On a busy machine a scenario may miss its moment; then it is made again.
fn patiently(mut make: impl FnMut() -> Result<()>) -> Result<()> {
    (1..TRIES).find_map(|_| make().ok()).map_or_else(make, Ok)
}
