//! Keepalives, which keep a connection open while its application is idle.

use std::time::{Duration, Instant};

use anyhow::Result;
use libc::ECONNRESET;
use socket2::TcpKeepalive;

use super::idle::{PAUSE, REAPED_BY_SERVER, REAPED_FIN_LOST, lose_fins, reaped, reused};
use super::{HELLO, Scene, idle};
use crate::network::sock::Tcp;
use crate::rows::table::{BASE, BOTH, Row, S};

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "5-keepalive-client",
        what: "server closes an idle connection although the client's keepalives are answered",
        families: BOTH,
        make: probing_client,
        rsts: &[(S, 1)],
        wants: REAPED_BY_SERVER,
        ..BASE
    },
    Row {
        id: "5-keepalive-server",
        what: "server closes an idle connection although its own keepalives are answered",
        make: probing_server,
        rsts: &[(S, 1)],
        wants: REAPED_BY_SERVER,
        ..BASE
    },
    Row {
        id: "5-keepalive-lost",
        what: "server closes an idle connection on which both ends send keepalives, FIN lost",
        make: probing_fin_lost,
        rsts: &[(S, 1)],
        wants: REAPED_FIN_LOST,
        ..BASE
    },
];

fn probe(socket: &Tcp) -> Result<()> {
    let second = Duration::from_secs(1);
    Ok(socket.options().set_tcp_keepalive(&TcpKeepalive::new().with_time(second).with_interval(second))?)
}

fn probing_client(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let idle_start = Instant::now();
    probe(&client)?;
    idle(2600);
    reaped(scene, &client, server)?;
    reused(scene, &client, idle_start)
}

fn probing_server(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let idle_start = Instant::now();
    probe(&server)?;
    idle(2600);
    reaped(scene, &client, server)?;
    reused(scene, &client, idle_start)
}

fn probing_fin_lost(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let idle_start = Instant::now();
    probe(&client)?;
    probe(&server)?;
    idle(2600);
    let _loss = lose_fins(scene)?;
    server.close();
    idle(PAUSE);
    scene.idle_since(idle_start);
    client.send(HELLO)?;
    client.read_fails(ECONNRESET)
}
