//! Resets of Multipath TCP.

use anyhow::Result;
use libc::ECONNRESET;
use socket2::Protocol;

use super::{HELLO, Scene};
use crate::network::sock::{Listener, Tcp};
use crate::rows::table::{BASE, BOTH, C, KERNEL, LIVE_SOCKET, PEER, Row, S, received, sent};
use crate::wait::readable;

pub(crate) const ROWS: &[Row] = &[Row {
    id: "mptcp",
    what: "MPTCP socket closes with data unread (fast close)",
    families: BOTH,
    unless: missing,
    make: fast_close,
    rsts: &[(S, 1)],
    wants: &[sent(S, "mptcp", KERNEL), received(C, "mptcp", PEER).why(LIVE_SOCKET)],
    ..BASE
}];

fn protocol() -> Protocol {
    Protocol::from(libc::IPPROTO_MPTCP)
}

fn missing(scene: &Scene) -> Option<String> {
    let tried = Tcp::with_protocol(&scene.net.client, protocol(), scene.server());
    tried.err().map(|why| format!("no MPTCP: {why:#}"))
}

fn fast_close(scene: &Scene) -> Result<()> {
    let listener = Listener::with_protocol(&scene.net.server, protocol(), scene.server(), 16)?;
    let client = Tcp::with_protocol(&scene.net.client, protocol(), scene.server())?;
    client.join(scene.server())?;
    let server = listener.accept()?;
    scene.talk(&client, &server)?;
    client.send(HELLO)?;
    readable(server.options())?;
    server.close();
    client.read_fails(ECONNRESET)
}
