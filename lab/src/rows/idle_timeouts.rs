//! Servers with idle timeouts of different lengths: traffic for dashboards, not a row.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Scene;
use super::idle::{reaped, reused};
use crate::network::sock::Tcp;

/// An idle time that every connection survives.
const SURVIVED: Duration = Duration::from_millis(1200);

/// A connection that its server will close after an idle time.
pub(crate) struct Timed {
    client: Tcp,
    server: Tcp,
    idle_start: Instant,
    timeout: Duration,
}

impl Timed {
    pub(crate) fn open(scene: &Scene, timeout: Duration) -> Result<Self> {
        let (client, server) = scene.pair()?;
        Ok(Self { client, server, idle_start: Instant::now(), timeout })
    }

    pub(crate) fn is_due(&self) -> bool {
        self.idle_start.elapsed() >= self.timeout
    }

    /// The server closes, then the client uses the connection once more.
    pub(crate) fn expire(self, scene: &Scene) -> Result<()> {
        sleep(self.timeout.saturating_sub(self.idle_start.elapsed()));
        reaped(scene, &self.client, self.server)?;
        reused(scene, &self.client, self.idle_start)
    }
}

/// Lets each connection survive a short idle time and then end after a longer one, in the order of the timeouts.
pub(crate) fn survive_and_die(scenes: &[(Scene, Duration)]) -> Result<()> {
    let open = |(scene, timeout): &(Scene, Duration)| Timed::open(scene, *timeout);
    let mut all = scenes.iter().map(open).collect::<Result<Vec<_>>>()?;
    sleep(SURVIVED);
    for (timed, (scene, _)) in all.iter_mut().zip(scenes) {
        scene.talk(&timed.client, &timed.server)?;
        timed.idle_start = Instant::now();
    }
    all.into_iter().zip(scenes).try_for_each(|(timed, (scene, _))| timed.expire(scene))
}
