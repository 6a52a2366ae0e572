//! Resets that follow a process's death.

use std::time::Instant;

use anyhow::Result;
use libc::{ECONNREFUSED, ECONNRESET, EPIPE};

use super::{HELLO, Scene, idle};
use crate::network::peer::Peer;
use crate::network::place::Place;
use crate::network::procnet::State;
use crate::network::sock::{Tcp, expect};
use crate::rows::table::{APP, Alike, BASE, BOTH, C, KERNEL, PEER, Row, S, Want, like, received, sent};
use crate::wait::SOON;

const A_FIN: Alike = like("data_after_close", PEER, "a dead process's FIN looks like any close");
const UNREAD: Alike =
    like("unread_data", PEER, "the kernel closes for the dead process, with data unread: the same packet");

/// The FIN of the dead was heard, then the client wrote.
const THEN_DATA: &[Want] =
    &[sent(S, "process_died", KERNEL).no_socket(), received(C, "process_died", PEER).alone(&[A_FIN])];
/// The same of a signal, which the kernel tells.
const KILLED: &[Want] =
    &[sent(S, "process_died", KERNEL).sure().no_socket(), received(C, "process_died", PEER).alone(&[A_FIN])];

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "4",
        what: "server killed (SIGKILL, as by the OOM killer), then the client writes",
        families: BOTH,
        make: killed,
        rsts: &[(S, 1)],
        wants: KILLED,
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
    Row {
        id: "4-segv",
        what: "server crashed (SIGSEGV), then the client writes",
        make: |scene| then_data(scene, "crash"),
        rsts: &[(S, 1)],
        wants: KILLED,
        ..BASE
    },
    Row {
        id: "4-segv-unread",
        what: "server crashed (SIGSEGV) with data unread",
        make: |scene| told_unread(scene, "crash"),
        rsts: &[(S, 1)],
        wants: &[sent(S, "process_died", APP).sure(), received(C, "process_died", PEER).alone(&[UNREAD])],
        ..BASE
    },
    Row {
        id: "4-exit0",
        what: "server exited with 0 and the connection open, then the client writes",
        make: |scene| then_data(scene, "exit 0"),
        rsts: &[(S, 1)],
        wants: THEN_DATA,
        ..BASE
    },
    Row {
        id: "4-exit3",
        what: "server exited with 3 and the connection open, then the client writes",
        make: |scene| then_data(scene, "exit 3"),
        rsts: &[(S, 1)],
        wants: THEN_DATA,
        ..BASE
    },
    Row {
        id: "4-exit3-unread",
        what: "server exited with 3 and data unread",
        make: |scene| told_unread(scene, "exit 3"),
        rsts: &[(S, 1)],
        wants: &[sent(S, "process_died", APP), received(C, "process_died", PEER).alone(&[UNREAD])],
        ..BASE
    },
    Row {
        id: "4-many",
        what: "server of three connections killed, all write, then reconnects are refused",
        families: BOTH,
        make: many,
        rsts: &[(S, 4)],
        wants: &[
            sent(S, "process_died", KERNEL).sure().no_socket(),
            sent(S, "process_died", KERNEL).sure().no_socket(),
            sent(S, "process_died", KERNEL).sure().no_socket(),
            received(C, "process_died", PEER).alone(&[A_FIN]),
            received(C, "process_died", PEER).alone(&[A_FIN]),
            received(C, "process_died", PEER).alone(&[A_FIN]),
            sent(S, "refused", KERNEL).sure().no_socket(),
            received(C, "refused", PEER),
        ],
        ..BASE
    },
    Row {
        id: "5-fork",
        what: "a process of its own for the connection exits on its idle timer, client reuses it",
        families: BOTH,
        make: forked,
        rsts: &[(S, 1)],
        wants: &[sent(S, "idle_reaped", KERNEL).no_socket(), received(C, "idle_reaped", PEER)],
        ..BASE
    },
];

fn killed(scene: &Scene) -> Result<()> {
    let (client, peer) = answered(scene)?;
    peer.kill();
    write_in_vain(scene, &client)
}

fn then_data(scene: &Scene, how: &str) -> Result<()> {
    let (client, peer) = answered(scene)?;
    peer.order_to_die(how)?;
    write_in_vain(scene, &client)
}

/// A connection that a helper has answered on.
fn answered(scene: &Scene) -> Result<(Tcp, Peer)> {
    let mut peer = start(scene, "answer", 1)?;
    let client = asked(scene)?;
    peer.expect_line("accepted")?;
    scene.busy();
    Ok((client, peer))
}

fn asked(scene: &Scene) -> Result<Tcp> {
    let client = scene.connect()?;
    scene.timed(|| {
        client.send(HELLO)?;
        client.hear(HELLO.len())
    })?;
    Ok(client)
}

/// The dead process's FIN is acknowledged before the client writes again.
fn write_in_vain(scene: &Scene, client: &Tcp) -> Result<()> {
    scene.reaches(Place::Client, State::CLOSE_WAIT, SOON)?;
    scene.reaches(Place::Server, State::FIN_WAIT2, SOON)?;
    client.send(HELLO)?;
    client.fails(EPIPE)
}

fn killed_unread(scene: &Scene) -> Result<()> {
    let (client, peer) = unread(scene)?;
    peer.kill();
    client.dies(ECONNRESET)
}

fn told_unread(scene: &Scene, how: &str) -> Result<()> {
    let (client, peer) = unread(scene)?;
    peer.order_to_die(how)?;
    client.dies(ECONNRESET)
}

fn unread(scene: &Scene) -> Result<(Tcp, Peer)> {
    let mut peer = start(scene, "deaf", 1)?;
    let client = scene.connect()?;
    peer.expect_line("accepted")?;
    client.send(HELLO)?;
    peer.expect_line("unread")?;
    Ok((client, peer))
}

fn many(scene: &Scene) -> Result<()> {
    let mut peer = start(scene, "answer", 3)?;
    scene.busy();
    let clients = [asked(scene)?, asked(scene)?, asked(scene)?];
    peer.expect_line("accepted")?;
    peer.kill();
    let all = |wanted: State| move |states: &[State]| states.iter().filter(|state| **state == wanted).count() == 3;
    scene.becomes("three FINs heard", Place::Client, SOON, all(State::CLOSE_WAIT))?;
    scene.becomes("three FINs acknowledged", Place::Server, SOON, all(State::FIN_WAIT2))?;
    for client in &clients {
        client.send(HELLO)?;
        client.fails(EPIPE)?;
    }
    expect(ECONNREFUSED, Tcp::new(&scene.net.client, scene.server())?.join(scene.server()))
}

fn forked(scene: &Scene) -> Result<()> {
    let _peer = start(scene, "forks", 1)?;
    let client = asked(scene)?;
    let quiet = Instant::now();
    scene.reaches(Place::Client, State::CLOSE_WAIT, 2 * SOON)?;
    scene.reaches(Place::Server, State::FIN_WAIT2, SOON)?;
    idle(200);
    scene.idle_since(quiet);
    client.send(HELLO)?;
    client.fails(EPIPE)
}

fn start(scene: &Scene, how: &str, count: usize) -> Result<Peer> {
    Peer::start(&scene.net.server, &scene.net.janitor, how, scene.server(), count)
}
