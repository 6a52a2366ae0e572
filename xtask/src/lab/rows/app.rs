//! Resets that an application or an administrator asks for.

use anyhow::Result;
use libc::{ECONNABORTED, ECONNREFUSED, ECONNRESET};

use super::{HELLO, Scene};
use crate::lab::place::Place;
use crate::lab::procnet::State;
use crate::lab::sock::{Tcp, expect};
use crate::lab::wait::{SOON, readable};

/// Row 1.
pub(in crate::lab) fn refused(scene: &Scene) -> Result<()> {
    let client = Tcp::new(&scene.net.client, scene.server())?;
    expect(ECONNREFUSED, client.join(scene.server()))
}

/// Row 2.
pub(in crate::lab) fn linger(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    server.abort()?;
    client.dies(ECONNRESET)
}

/// Row 3.
pub(in crate::lab) fn unread(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    client.send(HELLO)?;
    // At once: before the delayed ACK tells the client that its data arrived.
    readable(server.options())?;
    server.close();
    client.dies(ECONNRESET)
}

/// Row 4b.
pub(in crate::lab) fn listener_closed(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let client = scene.connect()?;
    // The third ACK may still be on its way when connect() is done.
    scene.reaches(Place::Server, State::ESTABLISHED, SOON)?;
    drop(listener);
    client.dies(ECONNRESET)
}

/// Row 13.
pub(in crate::lab) fn killed_by_admin(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let ours = format!("sport = :{}", scene.port);
    scene.net.server.tool("ss", &["-K", "-t", "state", "established", &ours])?;
    server.dies(ECONNABORTED)?;
    client.dies(ECONNRESET)
}
