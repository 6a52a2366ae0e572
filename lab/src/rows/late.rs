//! Resets by the kernel's own timers and for sockets without an owner.

use std::time::Duration;

use anyhow::Result;
use libc::{ECONNRESET, EPIPE, ETIMEDOUT};
use socket2::TcpKeepalive;

use super::idle::MAYBE_REAPED;
use super::{HELLO, Scene};
use crate::network::nft::Rule;
use crate::network::place::Place;
use crate::network::procnet::State;
use crate::rows::table::{APP, Alike, BASE, BOTH, C, KERNEL, PEER, Row, S, like, received, sent};
use crate::wait::SOON;

/// TCP_LINGER2, which libc names only for some targets.
const LINGER2: i32 = 8;
const FORGETS: Alike = like(
    "no_such_connection",
    PEER,
    "a bare RST: the peer's stack does not know the connection any more, and why stays there",
);
const ABORTS: Alike = like("linger_abort", PEER, "an abort as any other: which timer of the peer's did it stays there");
const CLOSED: Alike =
    like("data_after_close", PEER, "the peer had closed; that it also abandoned the orphan stays there");

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "12a",
        what: "keepalive unanswered",
        families: BOTH,
        make: keepalive,
        rsts: &[(S, 1)],
        wants: &[sent(S, "keepalive_timeout", KERNEL).sure(), received(C, "keepalive_timeout", PEER).alone(&[ABORTS])],
        ..BASE
    },
    Row {
        id: "12b",
        what: "the client's user timeout ends it silently, later the server writes",
        families: BOTH,
        make: user_timeout,
        rsts: &[(C, 1)],
        wants: &[
            sent(C, "keepalive_timeout", KERNEL).no_socket(),
            received(S, "keepalive_timeout", PEER).alone(&[FORGETS, MAYBE_REAPED]),
        ],
        ..BASE
    },
    Row {
        id: "16",
        what: "data for an orphan in FIN_WAIT2",
        families: BOTH,
        make: fin_wait2,
        rsts: &[(S, 1)],
        wants: &[sent(S, "data_after_close", KERNEL).sure(), received(C, "data_after_close", PEER)],
        ..BASE
    },
    Row {
        id: "16-early",
        what: "the server answers and closes, the client goes on at once",
        make: goes_on,
        rsts: &[(S, 1)],
        wants: &[sent(S, "data_after_close", KERNEL), received(C, "data_after_close", PEER)],
        ..BASE
    },
    Row {
        id: "16e",
        what: "TCP_LINGER2 below zero, then close: no FIN_WAIT2 for this one",
        make: linger2,
        rsts: &[(S, 1)],
        wants: &[
            sent(S, "linger_abort", KERNEL).also(&[like(
                "linger_abort",
                APP,
                "the option is the program's, the timing the stack's",
            )]),
            received(C, "linger_abort", PEER).alone(&[CLOSED]),
        ],
        ..BASE
    },
    Row {
        id: "16f",
        what: "TCP_LINGER2 below zero, shutdown, then close in FIN_WAIT2",
        make: linger2_late,
        rsts: &[(S, 1)],
        wants: &[sent(S, "linger_abort", APP).sure(), received(C, "linger_abort", PEER)],
        ..BASE
    },
];

/// The server's probes arrive, the answers do not.
fn keepalive(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let _hole = Rule::drop(&scene.net.router, "forward", &scene.to_server())?;
    let second = Duration::from_secs(1);
    let probes = TcpKeepalive::new().with_time(second).with_interval(second).with_retries(2);
    server.options().set_tcp_keepalive(&probes)?;
    server.options().set_read_timeout(Some(2 * SOON))?;
    server.dies(ETIMEDOUT)?;
    client.dies(ECONNRESET)
}

fn user_timeout(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let hole = Rule::drop(&scene.net.router, "forward", &scene.to_server())?;
    client.options().set_tcp_user_timeout(Some(Duration::from_millis(500)))?;
    client.send(HELLO)?;
    client.dies(ETIMEDOUT)?;
    drop(hole);
    server.send(HELLO)?;
    server.dies(ECONNRESET)
}

/// Beyond a minute of tcp_fin_timeout the orphan stays a real socket.
fn fin_wait2(scene: &Scene) -> Result<()> {
    let _real = scene.net.server.sysctl("ipv4.tcp_fin_timeout", "120")?;
    let (client, server) = scene.pair()?;
    scene.busy();
    server.close();
    client.ends()?;
    scene.reaches(Place::Server, State::FIN_WAIT2, SOON)?;
    client.send(HELLO)?;
    client.fails(EPIPE)
}

/// The client's data and the acknowledgment of the FIN are one segment.
fn goes_on(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    server.close();
    client.send(HELLO)?;
    client.fails(EPIPE)
}

fn linger2(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    server.tcp_option(LINGER2, -1)?;
    server.close();
    client.ends()?;
    client.fails(EPIPE)
}

fn linger2_late(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    server.tcp_option(LINGER2, -1)?;
    server.finish()?;
    client.ends()?;
    scene.reaches(Place::Server, State::FIN_WAIT2, SOON)?;
    server.close();
    client.fails(EPIPE)
}
