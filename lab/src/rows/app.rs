//! Resets that an application asks for.

use anyhow::Result;
use libc::{ECONNREFUSED, ECONNRESET};

use super::{HELLO, Scene};
use crate::network::place::Place;
use crate::network::procnet::State;
use crate::network::sock::{Tcp, expect};
use crate::rows::table::{APP, Alike, BASE, BOTH, C, KERNEL, PEER, Row, S, like, received, sent};
use crate::wait::{SOON, readable};

const NEVER_ACCEPTED: &str = "the peer never spoke: it may as well have closed with the request unread";

/// Also for who destroys the socket in the program's place.
pub(super) const ANSWER_UNREAD: Alike =
    like("unread_data", PEER, "whether the program had read our last answer before it aborted is not on the wire");

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "1",
        what: "connect to a closed port",
        families: BOTH,
        make: refused,
        rsts: &[(S, 1)],
        wants: &[sent(S, "refused", KERNEL).sure().no_socket(), received(C, "refused", PEER)],
        ..BASE
    },
    Row {
        id: "2",
        what: "SO_LINGER 0, then close",
        families: BOTH,
        make: linger,
        rsts: &[(S, 1)],
        wants: &[sent(S, "linger_abort", APP).sure(), received(C, "linger_abort", PEER)],
        ..BASE
    },
    Row {
        id: "2-client",
        what: "the client aborts with SO_LINGER 0",
        families: BOTH,
        make: linger_client,
        rsts: &[(C, 1)],
        wants: &[sent(C, "linger_abort", APP).sure(), received(S, "linger_abort", PEER).alone(&[ANSWER_UNREAD])],
        ..BASE
    },
    Row {
        // The RST meets a TIME_WAIT mini-socket, which dies of it in silence (net/ipv4/tcp_minisocks.c,
        // tcp_timewait_state_process): nobody receives it.
        id: "2-after-close",
        what: "the server closed, then the client aborts with SO_LINGER 0",
        families: BOTH,
        make: linger_after_close,
        rsts: &[(C, 1)],
        wants: &[sent(C, "linger_abort", APP).sure()],
        ..BASE
    },
    Row {
        id: "2-unspec",
        what: "connect(AF_UNSPEC) on a live socket",
        families: BOTH,
        make: disconnect,
        rsts: &[(S, 1)],
        wants: &[sent(S, "linger_abort", APP), received(C, "linger_abort", PEER)],
        ..BASE
    },
    Row {
        id: "2-half",
        what: "the client shut down its side, then the server aborts",
        make: linger_half_closed,
        rsts: &[(S, 1)],
        wants: &[sent(S, "linger_abort", APP).sure(), received(C, "linger_abort", PEER)],
        ..BASE
    },
    Row {
        id: "3",
        what: "close with unread data",
        families: BOTH,
        make: unread,
        rsts: &[(S, 1)],
        wants: &[sent(S, "unread_data", APP).sure(), received(C, "unread_data", PEER)],
        ..BASE
    },
    Row {
        id: "3-client",
        what: "the client closes with the answer unread",
        families: BOTH,
        make: unread_client,
        rsts: &[(C, 1)],
        wants: &[sent(C, "unread_data", APP).sure(), received(S, "unread_data", PEER)],
        ..BASE
    },
    Row {
        id: "3-half",
        what: "the client sent and shut down; the server closes without reading",
        make: unread_half_closed,
        rsts: &[(S, 1)],
        wants: &[sent(S, "unread_data", APP).sure(), received(C, "unread_data", PEER)],
        ..BASE
    },
    Row {
        id: "3-own-half",
        what: "the server had shut down its side, then closes with data unread",
        make: unread_after_shutdown,
        rsts: &[(S, 1)],
        wants: &[sent(S, "unread_data", APP).sure(), received(C, "unread_data", PEER)],
        ..BASE
    },
    Row {
        id: "4b",
        what: "listener closed, connection not accepted",
        families: BOTH,
        make: listener_closed,
        rsts: &[(S, 1)],
        wants: &[
            sent(S, "listener_closed", APP).sure(),
            received(C, "listener_closed", PEER).alone(&[like("unread_data", PEER, NEVER_ACCEPTED)]),
        ],
        ..BASE
    },
    Row {
        id: "4b-request",
        what: "listener closed, a request already in the unaccepted connection",
        make: listener_closed_on_request,
        rsts: &[(S, 1)],
        wants: &[
            sent(S, "listener_closed", APP).sure(),
            received(C, "listener_closed", PEER).alone(&[like("unread_data", PEER, NEVER_ACCEPTED)]),
        ],
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
    client.dies(ECONNRESET)
}

fn linger_client(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    client.abort()?;
    server.dies(ECONNRESET)
}

fn linger_after_close(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    server.close();
    scene.reaches(Place::Server, State::FIN_WAIT2, SOON)?;
    client.abort()
}

fn disconnect(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    server.disconnect()?;
    client.dies(ECONNRESET)
}

fn linger_half_closed(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    client.finish()?;
    server.ends()?;
    server.abort()?;
    client.dies(ECONNRESET)
}

fn unread(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    client.send(HELLO)?;
    // At once: before the delayed ACK tells the client that its data arrived.
    readable(server.options())?;
    server.close();
    client.dies(ECONNRESET)
}

fn unread_client(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    client.send(HELLO)?;
    server.hear(HELLO.len())?;
    server.send(HELLO)?;
    readable(client.options())?;
    client.close();
    server.dies(ECONNRESET)
}

fn unread_half_closed(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    client.send(HELLO)?;
    client.finish()?;
    scene.reaches(Place::Server, State::CLOSE_WAIT, SOON)?;
    // A FIN sent again before its ACK came would draw a second RST.
    scene.reaches(Place::Client, State::FIN_WAIT2, SOON)?;
    server.close();
    client.dies(ECONNRESET)
}

fn unread_after_shutdown(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    server.finish()?;
    client.ends()?;
    client.send(HELLO)?;
    readable(server.options())?;
    server.close();
    // EPIPE, for the end of the stream came first.
    client.fails(libc::EPIPE)
}

fn listener_closed(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let client = scene.connect()?;
    // The third ACK may still be on its way when connect() is done.
    scene.reaches(Place::Server, State::ESTABLISHED, SOON)?;
    drop(listener);
    client.dies(ECONNRESET)
}

fn listener_closed_on_request(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let client = scene.connect()?;
    client.send(HELLO)?;
    scene.reaches(Place::Server, State::ESTABLISHED, SOON)?;
    drop(listener);
    client.dies(ECONNRESET)
}
