//! Resets that an application causes by its system calls.

use anyhow::Result;
use libc::{ECONNREFUSED, ECONNRESET};

use super::{HELLO, Scene};
use crate::network::host::Host;
use crate::network::procnet::State;
use crate::network::sock::{Tcp, expect};
use crate::rows::table::{APP, BASE, BOTH, C, KERNEL, LIVE_SOCKET, PEER, REFUSED_ALIKE, Row, S, received, sent};
use crate::wait::{SOON, readable};

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "1",
        what: "connect to a closed port",
        families: BOTH,
        make: refused,
        rsts: &[(S, 1)],
        wants: &[sent(S, "refused", KERNEL).sure().no_socket(), received(C, "refused", PEER).why(REFUSED_ALIKE)],
        ..BASE
    },
    Row {
        id: "2",
        what: "server aborts with SO_LINGER 0 after the response",
        families: BOTH,
        make: linger,
        rsts: &[(S, 1)],
        wants: &[sent(S, "linger_abort", APP).sure(), received(C, "linger_abort", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        id: "2-client",
        what: "client aborts with SO_LINGER 0 after the response",
        families: BOTH,
        make: linger_client,
        rsts: &[(C, 1)],
        wants: &[sent(C, "linger_abort", APP).sure(), received(S, "linger_abort", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        // The RST silently ends a TIME_WAIT mini-socket (net/ipv4/tcp_minisocks.c, tcp_timewait_state_process), so there
        // is no receive event.
        id: "2-after-close",
        what: "client aborts with SO_LINGER 0 after the server closed",
        families: BOTH,
        make: linger_after_close,
        rsts: &[(C, 1)],
        wants: &[sent(C, "linger_abort", APP).sure()],
        ..BASE
    },
    Row {
        id: "2-unspec",
        what: "server aborts with connect(AF_UNSPEC)",
        families: BOTH,
        make: disconnect,
        rsts: &[(S, 1)],
        wants: &[sent(S, "linger_abort", APP), received(C, "linger_abort", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        id: "2-half",
        what: "server aborts with SO_LINGER 0 after the client's FIN",
        make: linger_half_closed,
        rsts: &[(S, 1)],
        wants: &[sent(S, "linger_abort", APP).sure(), received(C, "linger_abort", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        id: "3",
        what: "server closes with a request unread",
        families: BOTH,
        make: unread,
        rsts: &[(S, 1)],
        wants: &[sent(S, "unread_data", APP).sure(), received(C, "unread_data", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        id: "3-client",
        what: "client closes with a response unread",
        families: BOTH,
        make: unread_client,
        rsts: &[(C, 1)],
        wants: &[sent(C, "unread_data", APP).sure(), received(S, "unread_data", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        id: "3-half",
        what: "server closes with a request unread after the client's FIN",
        make: unread_half_closed,
        rsts: &[(S, 1)],
        wants: &[sent(S, "unread_data", APP).sure(), received(C, "unread_data", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        id: "3-own-half",
        what: "server shuts down sending, then closes with a request unread",
        make: unread_after_shutdown,
        rsts: &[(S, 1)],
        wants: &[sent(S, "unread_data", APP).sure(), received(C, "unread_data", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        id: "4b",
        what: "listener closes with a connection in the accept queue",
        families: BOTH,
        make: listener_closed,
        rsts: &[(S, 1)],
        wants: &[sent(S, "listener_closed", APP).sure(), received(C, "listener_closed", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        id: "4b-request",
        what: "listener closes with a connection in the accept queue that holds a request",
        make: listener_closed_on_request,
        rsts: &[(S, 1)],
        wants: &[sent(S, "listener_closed", APP).sure(), received(C, "listener_closed", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
];

fn refused(scene: &Scene) -> Result<()> {
    let client = Tcp::new(&scene.net.client, scene.server())?;
    expect(ECONNREFUSED, client.join(scene.server()))
}

fn linger(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    server.abort()?;
    client.read_fails(ECONNRESET)
}

fn linger_client(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    client.abort()?;
    server.read_fails(ECONNRESET)
}

fn linger_after_close(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    server.close();
    scene.reaches(Host::Server, State::FIN_WAIT2, SOON)?;
    client.abort()
}

fn disconnect(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    server.disconnect()?;
    client.read_fails(ECONNRESET)
}

fn linger_half_closed(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    client.shut_down()?;
    server.reads_eof()?;
    server.abort()?;
    client.read_fails(ECONNRESET)
}

fn unread(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    client.send(HELLO)?;
    // Close before the delayed ACK is sent.
    readable(server.options())?;
    server.close();
    client.read_fails(ECONNRESET)
}

fn unread_client(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    client.send(HELLO)?;
    server.receive(HELLO.len())?;
    server.send(HELLO)?;
    readable(client.options())?;
    client.close();
    server.read_fails(ECONNRESET)
}

fn unread_half_closed(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    client.send(HELLO)?;
    client.shut_down()?;
    scene.reaches(Host::Server, State::CLOSE_WAIT, SOON)?;
    // A retransmitted FIN would draw a second RST.
    scene.reaches(Host::Client, State::FIN_WAIT2, SOON)?;
    server.close();
    client.read_fails(ECONNRESET)
}

fn unread_after_shutdown(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    server.shut_down()?;
    client.reads_eof()?;
    client.send(HELLO)?;
    readable(server.options())?;
    server.close();
    // EPIPE, because the server's FIN came first.
    client.error_is(libc::EPIPE)
}

fn listener_closed(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let client = scene.connect()?;
    // The handshake's last ACK may still be in flight when connect() returns.
    scene.reaches(Host::Server, State::ESTABLISHED, SOON)?;
    drop(listener);
    client.read_fails(ECONNRESET)
}

fn listener_closed_on_request(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let client = scene.connect()?;
    client.send(HELLO)?;
    scene.reaches(Host::Server, State::ESTABLISHED, SOON)?;
    drop(listener);
    client.read_fails(ECONNRESET)
}
