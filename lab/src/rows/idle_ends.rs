//! Idle connections that end otherwise than by the server's close and the client's next request.

use std::time::Instant;

use anyhow::Result;
use libc::{ECONNRESET, EPIPE};

use super::idle::{IDLE, PAUSE, SAMPLED};
use super::unanswered::{SCANS, UNSCANNED};
use super::{HELLO, Scene, idle};
use crate::network::host::Host;
use crate::network::nft::Rule;
use crate::network::procnet::State;
use crate::network::sock::Tcp;
use crate::rows::table::{A_FIN, APP, BARE, BASE, BOTH, C, KERNEL, LIVE_SOCKET, PEER, Row, S, received, sent};
use crate::wait::SOON;

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "5-push",
        what: "client closes its idle connection, then the server sends data",
        families: BOTH,
        make: push,
        rsts: &[(C, 1)],
        wants: &[sent(C, "idle_reaped", KERNEL).no_socket(), received(S, "idle_reaped", PEER).why(A_FIN)],
        ..BASE
    },
    Row {
        id: "5-push-lost",
        what: "client closes its idle connection and its FIN is lost, then the server sends data",
        make: push_fin_lost,
        rsts: &[(C, 1)],
        wants: &[sent(C, "idle_reaped", KERNEL), received(S, "idle_reaped", PEER).why(BARE)],
        ..BASE
    },
    Row {
        id: "5-push-message",
        what: "client sends a closing message and closes its idle connection, then the server answers it",
        families: BOTH,
        make: push_after_message,
        rsts: &[(C, 1)],
        wants: &[
            sent(C, "idle_reaped", KERNEL).no_socket().why_before(SCANS, UNSCANNED),
            received(S, "idle_reaped", PEER).why(A_FIN).why_before(SCANS, UNSCANNED),
        ],
        ..BASE
    },
    Row {
        id: "5-closing-message",
        what: "server sends a closing message (like TLS close_notify) and closes after an idle period, then the client writes",
        families: BOTH,
        make: closing_message,
        rsts: &[(S, 1)],
        wants: &[
            sent(S, "idle_reaped", KERNEL).no_socket().why_before(SCANS, UNSCANNED),
            received(C, "idle_reaped", PEER).why_before(SCANS, UNSCANNED),
        ],
        ..BASE
    },
    Row {
        id: "5-active",
        what: "server's idle timer aborts the connection with SO_LINGER 0",
        families: BOTH,
        make: active,
        rsts: &[(S, 1)],
        wants: &[sent(S, "idle_reaped", APP), received(C, "idle_reaped", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
];

/// A connection on which the server sent last, some time after the request: no response is outstanding.
fn answered(scene: &Scene) -> Result<(Tcp, Tcp)> {
    let (client, server) = scene.pair()?;
    idle(30);
    scene.timed(|| {
        server.send(HELLO)?;
        client.receive(HELLO.len())
    })?;
    Ok((client, server))
}

fn push(scene: &Scene) -> Result<()> {
    let (client, server) = answered(scene)?;
    let idle_start = Instant::now();
    idle(IDLE);
    client.close();
    scene.reaches(Host::Client, State::FIN_WAIT2, SOON)?;
    idle(PAUSE);
    scene.idle_since(idle_start);
    server.send(HELLO)?;
    server.error_is(EPIPE)
}

fn push_fin_lost(scene: &Scene) -> Result<()> {
    let (client, server) = answered(scene)?;
    let idle_start = Instant::now();
    let fins = format!("tcp dport {} tcp flags & fin == fin", scene.port);
    let _loss = Rule::drop(&scene.net.server, "input", &fins)?;
    idle(IDLE);
    client.close();
    idle(PAUSE);
    scene.idle_since(idle_start);
    server.send(HELLO)?;
    server.read_fails(ECONNRESET)
}

/// The closing message has the length of a TLS close_notify alert.
fn closing_message(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    idle(SAMPLED);
    server.send(&[21; 24])?;
    server.close();
    scene.reaches(Host::Client, State::CLOSE_WAIT, SOON)?;
    scene.reaches(Host::Server, State::FIN_WAIT2, SOON)?;
    idle(PAUSE);
    client.send(HELLO)?;
    client.error_is(EPIPE)
}

/// A client that no longer needs the connection says so before it closes, as SMTP and TLS do.
fn push_after_message(scene: &Scene) -> Result<()> {
    let (client, server) = answered(scene)?;
    idle(SAMPLED);
    client.send(&[21; 24])?;
    client.close();
    scene.reaches(Host::Client, State::FIN_WAIT2, SOON)?;
    idle(PAUSE);
    server.send(HELLO)?;
    server.error_is(EPIPE)
}

fn active(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let idle_start = Instant::now();
    idle(IDLE);
    scene.idle_since(idle_start);
    server.abort()?;
    client.read_fails(ECONNRESET)
}
