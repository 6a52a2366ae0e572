//! nginx gives up on a client in the middle of a request or of an answer, with `reset_timedout_connection on`. Such a connection is
//! not idle, however long it has been silent.

use anyhow::Result;
use libc::ECONNRESET;

use super::nginx::request;
use crate::network::http::nginx_with;
use crate::network::program::Folder;
use crate::network::sock::Tcp;
use crate::rows::Scene;
use crate::rows::table::{APP, BASE, BOTH, C, LIVE_SOCKET, PEER, Row, S, Want, received, sent};

const GAVE_UP: &[Want] = &[sent(S, "linger_abort", APP).sure(), received(C, "linger_abort", PEER).why(LIVE_SOCKET)];
/// More than the client's receive buffer and the server's send buffer hold together.
const LARGE: usize = 8_000_000;
const SMALL_BUFFER: usize = 8_192;

pub(crate) const ROWS: &[Row] = &[
    Row {
        // TCP_STATE in ESTABLISHED, SO_LINGER 0.
        id: "nginx-header-timeout",
        what: "nginx aborts when the request's header is incomplete for a second (client_header_timeout)",
        families: BOTH,
        needs: &["nginx"],
        make: header,
        rsts: &[(S, 1)],
        wants: GAVE_UP,
        ..BASE
    },
    Row {
        // TCP_STATE in ESTABLISHED, SO_LINGER 0.
        id: "nginx-body-timeout",
        what: "nginx aborts when the request's body is incomplete for a second (client_body_timeout)",
        needs: &["nginx"],
        make: body,
        rsts: &[(S, 1)],
        wants: GAVE_UP,
        ..BASE
    },
    Row {
        // TCP_STATE in ESTABLISHED, SO_LINGER 0, with data that the client's window does not admit.
        id: "nginx-send-timeout",
        what: "nginx aborts when the client has not read its answer for a second (send_timeout)",
        needs: &["nginx"],
        make: send,
        rsts: &[(S, 1)],
        wants: GAVE_UP,
        ..BASE
    },
];

fn header(scene: &Scene) -> Result<()> {
    let limits = "client_header_timeout 1s; reset_timedout_connection on; location / { return 200; }";
    let _server = nginx_with(scene.net, scene.port, limits)?;
    let client = scene.connect()?;
    client.send(b"GET / HTTP/1.1\r\nHost: ")?;
    client.error_is(ECONNRESET)
}

/// Only a location that passes the body on waits for it.
fn body(scene: &Scene) -> Result<()> {
    let limits = "client_body_timeout 1s; reset_timedout_connection on; location / { proxy_pass http://127.0.0.1:9; }";
    let _server = nginx_with(scene.net, scene.port, limits)?;
    let client = scene.connect()?;
    client.send(&request(1_000, 500))?;
    client.error_is(ECONNRESET)
}

fn send(scene: &Scene) -> Result<()> {
    let folder = Folder::make(scene.net)?;
    folder.write("large", &"x".repeat(LARGE))?;
    let root = folder.path().display();
    let limits = format!("send_timeout 1s; reset_timedout_connection on; location / {{ root {root}; }}");
    let _server = nginx_with(scene.net, scene.port, &limits)?;
    let client = Tcp::new(&scene.net.client, scene.server())?;
    client.options().set_recv_buffer_size(SMALL_BUFFER)?;
    client.join(scene.server())?;
    client.send(b"GET /large HTTP/1.1\r\nHost: lab\r\n\r\n")?;
    client.error_is(ECONNRESET)
}
