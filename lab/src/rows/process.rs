//! Resets after the exit of a process.

use std::time::Instant;

use anyhow::Result;
use libc::{ECONNREFUSED, ECONNRESET, EPIPE};

use super::{HELLO, Scene, idle};
use crate::network::host::Host;
use crate::network::peer::Peer;
use crate::network::procnet::State;
use crate::network::sock::{Tcp, expect};
use crate::rows::table::{
    A_FIN, APP, BASE, BOTH, C, KERNEL, LIVE_SOCKET, PEER, REFUSED_ALIKE, Row, S, Want, received, sent,
};
use crate::wait::SOON;

/// The client acknowledged the dead process's FIN, then wrote.
const THEN_DATA: &[Want] = &[sent(S, "process_died", KERNEL).no_socket(), received(C, "process_died", PEER).why(A_FIN)];
/// The same after a signal, which the kernel reports.
const KILLED: &[Want] =
    &[sent(S, "process_died", KERNEL).sure().no_socket(), received(C, "process_died", PEER).why(A_FIN)];

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "4",
        what: "server is killed (SIGKILL, as by the OOM killer), then the client writes",
        families: BOTH,
        make: killed,
        rsts: &[(S, 1)],
        wants: KILLED,
        ..BASE
    },
    Row {
        id: "4-at-timer",
        what: "server is killed (SIGKILL) two seconds after its response, as a timer would end the connection, then the client writes",
        families: BOTH,
        make: killed_idle,
        rsts: &[(S, 1)],
        wants: KILLED,
        ..BASE
    },
    Row {
        id: "4a",
        what: "server is killed (SIGKILL) with a request unread",
        families: BOTH,
        make: killed_unread,
        rsts: &[(S, 1)],
        wants: &[sent(S, "process_died", APP).sure(), received(C, "process_died", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        id: "4-segv",
        what: "server crashes (SIGSEGV), then the client writes",
        make: |scene| then_data(scene, "crash"),
        rsts: &[(S, 1)],
        wants: KILLED,
        ..BASE
    },
    Row {
        id: "4-segv-unread",
        what: "server crashes (SIGSEGV) with a request unread",
        make: |scene| exited_unread(scene, "crash"),
        rsts: &[(S, 1)],
        wants: &[sent(S, "process_died", APP).sure(), received(C, "process_died", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        id: "4-exit0",
        what: "server exits with status 0 without closing the connection, then the client writes",
        make: |scene| then_data(scene, "exit 0"),
        rsts: &[(S, 1)],
        wants: THEN_DATA,
        ..BASE
    },
    Row {
        id: "4-exit3",
        what: "server exits with status 3 without closing the connection, then the client writes",
        make: |scene| then_data(scene, "exit 3"),
        rsts: &[(S, 1)],
        wants: THEN_DATA,
        ..BASE
    },
    Row {
        id: "4-exit3-unread",
        what: "server exits with status 3 and a request unread",
        make: |scene| exited_unread(scene, "exit 3"),
        rsts: &[(S, 1)],
        wants: &[sent(S, "process_died", APP), received(C, "process_died", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        id: "4-many",
        what: "server with three connections is killed; all clients write, then a new connection is refused",
        families: BOTH,
        make: many,
        rsts: &[(S, 4)],
        wants: &[
            sent(S, "process_died", KERNEL).sure().no_socket(),
            sent(S, "process_died", KERNEL).sure().no_socket(),
            sent(S, "process_died", KERNEL).sure().no_socket(),
            received(C, "process_died", PEER).why(A_FIN),
            received(C, "process_died", PEER).why(A_FIN),
            received(C, "process_died", PEER).why(A_FIN),
            sent(S, "refused", KERNEL).sure().no_socket(),
            received(C, "refused", PEER).why(REFUSED_ALIKE),
        ],
        ..BASE
    },
    Row {
        id: "5-fork",
        what: "process forked for the connection exits on its idle timer, then the client reuses the connection",
        families: BOTH,
        make: forked,
        rsts: &[(S, 1)],
        wants: &[sent(S, "idle_reaped", KERNEL).no_socket(), received(C, "idle_reaped", PEER).why(A_FIN)],
        ..BASE
    },
];

fn killed(scene: &Scene) -> Result<()> {
    let (client, peer) = answered(scene)?;
    peer.kill();
    write_after_fin(scene, &client)
}

fn killed_idle(scene: &Scene) -> Result<()> {
    let mut peer = start(scene, "answer", 1)?;
    let client = asked(scene)?;
    let idle_start = Instant::now();
    peer.expect_line("accepted")?;
    idle(2_000);
    peer.kill();
    await_fin(scene)?;
    scene.idle_since(idle_start);
    write(&client)
}

fn then_data(scene: &Scene, how: &str) -> Result<()> {
    let (client, peer) = answered(scene)?;
    peer.order_to_die(how)?;
    write_after_fin(scene, &client)
}

/// A connection on which a helper process has responded.
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
        client.receive(HELLO.len())
    })?;
    Ok(client)
}

fn write_after_fin(scene: &Scene, client: &Tcp) -> Result<()> {
    await_fin(scene)?;
    write(client)
}

/// Waits until the client has acknowledged the dead process's FIN.
fn await_fin(scene: &Scene) -> Result<()> {
    scene.reaches(Host::Client, State::CLOSE_WAIT, SOON)?;
    scene.reaches(Host::Server, State::FIN_WAIT2, SOON)
}

fn write(client: &Tcp) -> Result<()> {
    client.send(HELLO)?;
    client.error_is(EPIPE)
}

fn killed_unread(scene: &Scene) -> Result<()> {
    let (client, peer) = unread(scene)?;
    peer.kill();
    client.read_fails(ECONNRESET)
}

fn exited_unread(scene: &Scene, how: &str) -> Result<()> {
    let (client, peer) = unread(scene)?;
    peer.order_to_die(how)?;
    client.read_fails(ECONNRESET)
}

fn unread(scene: &Scene) -> Result<(Tcp, Peer)> {
    let mut peer = start(scene, "read-nothing", 1)?;
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
    scene.becomes("three FINs heard", Host::Client, SOON, all(State::CLOSE_WAIT))?;
    scene.becomes("three FINs acknowledged", Host::Server, SOON, all(State::FIN_WAIT2))?;
    for client in &clients {
        client.send(HELLO)?;
        client.error_is(EPIPE)?;
    }
    expect(ECONNREFUSED, Tcp::new(&scene.net.client, scene.server())?.join(scene.server()))
}

fn forked(scene: &Scene) -> Result<()> {
    let _peer = start(scene, "forks", 1)?;
    let client = asked(scene)?;
    let idle_start = Instant::now();
    scene.reaches(Host::Client, State::CLOSE_WAIT, 2 * SOON)?;
    scene.reaches(Host::Server, State::FIN_WAIT2, SOON)?;
    idle(200);
    scene.idle_since(idle_start);
    client.send(HELLO)?;
    client.error_is(EPIPE)
}

fn start(scene: &Scene, how: &str, count: usize) -> Result<Peer> {
    Peer::start(&scene.net.server, &scene.net.cleanup, how, scene.server(), count)
}
