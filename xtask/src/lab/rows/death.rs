//! Resets that follow a process's death.

use anyhow::Result;
use libc::{ECONNRESET, EPIPE};

use super::{HELLO, Scene};
use crate::lab::peer::Peer;
use crate::lab::place::Place;
use crate::lab::procnet::State;
use crate::lab::wait::SOON;

/// Row 4: the dead process's FIN is acknowledged before the client writes again.
pub(in crate::lab) fn killed(scene: &Scene) -> Result<()> {
    let mut peer = start(scene, "answer")?;
    let client = scene.connect()?;
    client.send(HELLO)?;
    client.hear(HELLO.len())?;
    peer.hear("accepted")?;
    peer.kill();
    scene.reaches(Place::Client, State::CLOSE_WAIT, SOON)?;
    scene.reaches(Place::Server, State::FIN_WAIT2, SOON)?;
    client.send(HELLO)?;
    client.fails(EPIPE)
}

/// Row 4a.
pub(in crate::lab) fn killed_unread(scene: &Scene) -> Result<()> {
    let mut peer = start(scene, "deaf")?;
    let client = scene.connect()?;
    peer.hear("accepted")?;
    client.send(HELLO)?;
    peer.hear("unread")?;
    peer.kill();
    client.dies(ECONNRESET)
}

fn start(scene: &Scene, how: &str) -> Result<Peer> {
    Peer::start(&scene.net.server, &scene.net.janitor, how, scene.server())
}
