//! A server that reboots and no longer knows its connections.

use std::time::Instant;

use anyhow::Result;
use libc::ECONNRESET;

use super::{HELLO, Scene};
use crate::network::sock::{Listener, Tcp};
use crate::rows::table::{BARE, BASE, BOTH, C, KERNEL, PEER, Row, S2, received, sent};

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "18a",
        what: "server reboots and listens again, then the client writes",
        families: BOTH,
        make: listening,
        rsts: &[(S2, 1)],
        wants: &[sent(S2, "no_such_connection", KERNEL), received(C, "no_such_connection", PEER).why(BARE)],
        ..BASE
    },
    Row {
        id: "18b",
        what: "server reboots and nothing listens, then the client writes",
        families: BOTH,
        make: not_listening,
        rsts: &[(S2, 1)],
        wants: &[sent(S2, "no_such_connection", KERNEL).no_socket(), received(C, "no_such_connection", PEER).why(BARE)],
        ..BASE
    },
];

fn listening(scene: &Scene) -> Result<()> {
    let (client, _old) = scene.pair()?;
    let idle_start = Instant::now();
    let _rebooted = scene.net.reboot()?;
    let _listener = Listener::open(&scene.net.rebooted, scene.server(), 16)?;
    reset(scene, &client, idle_start)
}

fn not_listening(scene: &Scene) -> Result<()> {
    let (client, _old) = scene.pair()?;
    let idle_start = Instant::now();
    let _rebooted = scene.net.reboot()?;
    reset(scene, &client, idle_start)
}

/// Moving the device may take a while, so the idle time is measured.
fn reset(scene: &Scene, client: &Tcp, idle_start: Instant) -> Result<()> {
    scene.idle_since(idle_start);
    client.send(HELLO)?;
    client.read_fails(ECONNRESET)
}
