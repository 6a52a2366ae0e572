//! Resets that follow a process's death.

use anyhow::Result;
use libc::{ECONNRESET, EPIPE};

use super::{HELLO, Scene};
use crate::lab::peer::Peer;
use crate::lab::place::Place;
use crate::lab::procnet::State;
use crate::lab::table::{APP, Alike, BASE, BOTH, C, KERNEL, PEER, Row, S, like, received, sent};
use crate::lab::wait::SOON;

const A_FIN: Alike = like("data_after_close", PEER, "a dead process's FIN looks like any close");
const UNREAD: Alike =
    like("unread_data", PEER, "the kernel closes for the dead process, with data unread: the same packet");

pub(in crate::lab) const ROWS: &[Row] = &[
    Row {
        id: "4",
        what: "server killed, then the client writes",
        families: BOTH,
        make: killed,
        rsts: &[(S, 1)],
        wants: &[sent(S, "process_died", KERNEL).sure().no_socket(), received(C, "process_died", PEER).alone(&[A_FIN])],
        ..BASE
    },
    Row {
        id: "4a",
        what: "server killed with data unread",
        families: BOTH,
        make: killed_unread,
        rsts: &[(S, 1)],
        wants: &[sent(S, "process_died", APP).sure(), received(C, "process_died", PEER).alone(&[UNREAD])],
        ..BASE
    },
];

/// The dead process's FIN is acknowledged before the client writes again.
fn killed(scene: &Scene) -> Result<()> {
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

fn killed_unread(scene: &Scene) -> Result<()> {
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
