//! Silences that end otherwise than by the client's next request.

use std::time::Instant;

use anyhow::Result;
use libc::{ECONNRESET, EPIPE};

use super::answer::UNSEEN;
use super::idle::{PAUSE, QUIET};
use super::{HELLO, Scene, idle};
use crate::network::nft::Rule;
use crate::network::place::Place;
use crate::network::procnet::State;
use crate::network::sock::Tcp;
use crate::rows::table::{APP, Alike, BASE, BOTH, C, KERNEL, PEER, Row, S, like, received, sent};
use crate::wait::SOON;

const TIMER_OR_DEED: Alike =
    like("idle_reaped", PEER, "an abort after a silence: only the aborting program knows that its idle timer did it");

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "5-push",
        what: "the client closed its idle connection, the server pushes",
        families: BOTH,
        make: push,
        rsts: &[(C, 1)],
        wants: &[sent(C, "idle_reaped", KERNEL).no_socket(), received(S, "idle_reaped", PEER)],
        ..BASE
    },
    Row {
        id: "5-push-lost",
        what: "the same, the client's FIN lost",
        make: push_fin_lost,
        rsts: &[(C, 1)],
        wants: &[sent(C, "idle_reaped", KERNEL), received(S, "idle_reaped", PEER)],
        ..BASE
    },
    Row {
        id: "5-goodbye",
        what: "a goodbye (as TLS says it) and a close after a silence, then the client writes",
        families: BOTH,
        make: goodbye,
        rsts: &[(S, 1)],
        wants: &[
            sent(S, "idle_reaped", KERNEL).no_socket().also(&[like("unknown", KERNEL, UNSEEN)]),
            received(C, "idle_reaped", PEER).also(&[like("unknown", PEER, UNSEEN)]),
        ],
        ..BASE
    },
    Row {
        id: "5-active",
        what: "the server ends a quiet connection with an active RST",
        families: BOTH,
        make: active,
        rsts: &[(S, 1)],
        wants: &[sent(S, "linger_abort", APP).sure(), received(C, "linger_abort", PEER).alone(&[TIMER_OR_DEED])],
        ..BASE
    },
];

/// The server spoke last, and later than it was asked: it owes nothing.
fn answered(scene: &Scene) -> Result<(Tcp, Tcp)> {
    let (client, server) = scene.pair()?;
    idle(30);
    scene.timed(|| {
        server.send(HELLO)?;
        client.hear(HELLO.len())
    })?;
    Ok((client, server))
}

fn push(scene: &Scene) -> Result<()> {
    let (client, server) = answered(scene)?;
    let quiet = Instant::now();
    idle(QUIET);
    client.close();
    scene.reaches(Place::Client, State::FIN_WAIT2, SOON)?;
    idle(PAUSE);
    scene.idle_since(quiet);
    server.send(HELLO)?;
    server.fails(EPIPE)
}

fn push_fin_lost(scene: &Scene) -> Result<()> {
    let (client, server) = answered(scene)?;
    let quiet = Instant::now();
    let fins = format!("tcp dport {} tcp flags & fin == fin", scene.port);
    let _loss = Rule::drop(&scene.net.server, "input", &fins)?;
    idle(QUIET);
    client.close();
    idle(PAUSE);
    scene.idle_since(quiet);
    server.send(HELLO)?;
    server.dies(ECONNRESET)
}

/// Its length is that of a TLS close_notify alert.
fn goodbye(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    idle(QUIET);
    server.send(&[21; 24])?;
    server.close();
    scene.reaches(Place::Client, State::CLOSE_WAIT, SOON)?;
    scene.reaches(Place::Server, State::FIN_WAIT2, SOON)?;
    idle(PAUSE);
    client.send(HELLO)?;
    client.fails(EPIPE)
}

fn active(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let quiet = Instant::now();
    idle(QUIET);
    scene.idle_since(quiet);
    server.abort()?;
    client.dies(ECONNRESET)
}
