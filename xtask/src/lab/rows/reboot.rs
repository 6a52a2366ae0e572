//! A server that comes back without its memory.

use anyhow::Result;
use libc::ECONNRESET;

use super::{HELLO, Scene};
use crate::lab::sock::{Listener, Tcp};

/// Row 18a: the connection meets a listener.
pub(in crate::lab) fn listening(scene: &Scene) -> Result<()> {
    let (client, _old) = scene.pair()?;
    let _rebooted = scene.net.reboot()?;
    let _listener = Listener::open(&scene.net.rebooted, scene.server(), 16)?;
    reset(&client)
}

/// Row 18b: the connection meets nothing.
pub(in crate::lab) fn deaf(scene: &Scene) -> Result<()> {
    let (client, _old) = scene.pair()?;
    let _rebooted = scene.net.reboot()?;
    reset(&client)
}

fn reset(client: &Tcp) -> Result<()> {
    client.send(HELLO)?;
    client.dies(ECONNRESET)
}
