//! Sockets that an administrator destroys.

use anyhow::Result;
use libc::{ECONNABORTED, ECONNRESET};

use super::Scene;
use super::app::ANSWER_UNREAD;
use crate::rows::table::{Alike, BASE, BOTH, C, KERNEL, PEER, Row, S, like, received, sent};

const SAME_PACKET: Alike = like("linger_abort", PEER, "SOCK_DESTROY and SO_LINGER 0 send the same packet");

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "13",
        what: "ss -K at the server",
        families: BOTH,
        needs: &["ss"],
        make: at_server,
        rsts: &[(S, 1)],
        wants: &[sent(S, "admin_abort", KERNEL).sure(), received(C, "admin_abort", PEER).alone(&[SAME_PACKET])],
        ..BASE
    },
    Row {
        id: "13-client",
        what: "ss -K at the client",
        families: BOTH,
        needs: &["ss"],
        make: at_client,
        rsts: &[(C, 1)],
        wants: &[
            sent(C, "admin_abort", KERNEL).sure(),
            received(S, "admin_abort", PEER).alone(&[SAME_PACKET, ANSWER_UNREAD]),
        ],
        ..BASE
    },
];

fn at_server(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    let ours = format!("sport = :{}", scene.port);
    scene.net.server.tool("ss", &["-K", "-t", "state", "established", &ours])?;
    server.dies(ECONNABORTED)?;
    client.dies(ECONNRESET)
}

fn at_client(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    let ours = format!("dport = :{}", scene.port);
    scene.net.client.tool("ss", &["-K", "-t", "state", "established", &ours])?;
    client.dies(ECONNABORTED)?;
    server.dies(ECONNRESET)
}
