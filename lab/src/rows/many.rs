//! Nearly as many connections as the kernel side's table has slots.

use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::Result;
use libc::ECONNRESET;

use super::Scene;
use super::idle::{IDLE, REAPED_BY_SERVER, reaped, reused};
use crate::network::peer::Peer;
use crate::rows::table::{APP, BASE, C, LIVE_SOCKET, PEER, Row, S, received, sent};

/// 57,000 sockets, which fill 87 % of the table's 65,536 slots.
const PROCESSES: usize = 3;
/// Each connection takes two files, and many systems limit a process to 20,000.
const OF_EACH: usize = 9_500;

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "many-idle",
        what: "among 28,500 other connections, the server closes an idle one, then the client reuses it",
        make: idle_among_many,
        rsts: &[(S, 1)],
        wants: REAPED_BY_SERVER,
        ..BASE
    },
    Row {
        id: "many-abort",
        what: "among 28,500 other connections, the server aborts one with SO_LINGER 0",
        make: abort_among_many,
        rsts: &[(S, 1)],
        wants: &[sent(S, "linger_abort", APP).sure(), received(C, "linger_abort", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
];

fn idle_among_many(scene: &Scene) -> Result<()> {
    let _others = open_others(scene)?;
    let (client, server) = scene.pair()?;
    let idle_start = Instant::now();
    super::idle(IDLE);
    reaped(scene, &client, server)?;
    reused(scene, &client, idle_start)
}

fn abort_among_many(scene: &Scene) -> Result<()> {
    let _others = open_others(scene)?;
    let (client, server) = scene.pair()?;
    server.abort()?;
    client.read_fails(ECONNRESET)
}

/// Opens the other connections, with both ends on the router: all namespaces share the table, but each reads its own sockets.
fn open_others(scene: &Scene) -> Result<Vec<Peer>> {
    let any_port = (Ipv4Addr::LOCALHOST, 0).into();
    let start = |_| Peer::start(&scene.net.router, &scene.net.cleanup, "connections", any_port, OF_EACH);
    let mut others: Vec<_> = (0..PROCESSES).map(start).collect::<Result<_>>()?;
    others.iter_mut().try_for_each(|peer| peer.expect_line("connected"))?;
    Ok(others)
}
