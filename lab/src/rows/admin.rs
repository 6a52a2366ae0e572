//! Sockets that an administrator destroys.

use anyhow::Result;
use libc::{ECONNABORTED, ECONNRESET};

use super::Scene;
use crate::rows::table::{BASE, BOTH, C, KERNEL, LIVE_SOCKET, PEER, Row, S, received, sent};

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "13",
        what: "ss -K on the server",
        families: BOTH,
        needs: &["ss"],
        make: at_server,
        rsts: &[(S, 1)],
        wants: &[sent(S, "admin_abort", KERNEL).sure(), received(C, "admin_abort", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        id: "13-client",
        what: "ss -K on the client",
        families: BOTH,
        needs: &["ss"],
        make: at_client,
        rsts: &[(C, 1)],
        wants: &[sent(C, "admin_abort", KERNEL).sure(), received(S, "admin_abort", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
];

fn at_server(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    let ours = format!("sport = :{}", scene.port);
    scene.net.server.tool("ss", &["-K", "-t", "state", "established", &ours])?;
    server.read_fails(ECONNABORTED)?;
    client.read_fails(ECONNRESET)
}

fn at_client(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    let ours = format!("dport = :{}", scene.port);
    scene.net.client.tool("ss", &["-K", "-t", "state", "established", &ours])?;
    client.read_fails(ECONNABORTED)?;
    server.read_fails(ECONNRESET)
}
