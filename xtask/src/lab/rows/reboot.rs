//! A server that comes back without its memory.

use anyhow::Result;
use libc::ECONNRESET;

use super::{HELLO, Scene};
use crate::lab::sock::{Listener, Tcp};
use crate::lab::table::{BASE, BOTH, C, KERNEL, PEER, Row, S2, received, sent};

pub(in crate::lab) const ROWS: &[Row] = &[
    Row {
        id: "18a",
        what: "server rebooted and listens again",
        families: BOTH,
        make: listening,
        rsts: &[(S2, 1)],
        wants: &[sent(S2, "no_such_connection", KERNEL), received(C, "no_such_connection", PEER)],
        ..BASE
    },
    Row {
        id: "18b",
        what: "server rebooted, nothing listens",
        families: BOTH,
        make: deaf,
        rsts: &[(S2, 1)],
        wants: &[sent(S2, "no_such_connection", KERNEL).no_socket(), received(C, "no_such_connection", PEER)],
        ..BASE
    },
];

fn listening(scene: &Scene) -> Result<()> {
    let (client, _old) = scene.pair()?;
    scene.busy();
    let _rebooted = scene.net.reboot()?;
    let _listener = Listener::open(&scene.net.rebooted, scene.server(), 16)?;
    reset(&client)
}

fn deaf(scene: &Scene) -> Result<()> {
    let (client, _old) = scene.pair()?;
    scene.busy();
    let _rebooted = scene.net.reboot()?;
    reset(&client)
}

fn reset(client: &Tcp) -> Result<()> {
    client.send(HELLO)?;
    client.dies(ECONNRESET)
}
