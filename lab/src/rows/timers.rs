//! Resets by the kernel's timers, and resets of orphans.

use std::time::Duration;

use anyhow::Result;
use libc::{ECONNRESET, EPIPE, ETIMEDOUT};
use socket2::TcpKeepalive;

use super::{HELLO, Scene};
use crate::network::host::Host;
use crate::network::nft::Rule;
use crate::network::procnet::State;
use crate::rows::table::{A_FIN, APP, BARE, BASE, BOTH, C, KERNEL, LIVE_SOCKET, PEER, Row, S, received, sent};
use crate::wait::SOON;

/// TCP_LINGER2, which libc names only for some targets.
const LINGER2: i32 = 8;
pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "12a",
        what: "server's keepalive probes are not answered",
        families: BOTH,
        make: keepalive,
        rsts: &[(S, 1)],
        wants: &[sent(S, "keepalive_timeout", KERNEL).sure(), received(C, "keepalive_timeout", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        id: "12b",
        what: "client's TCP_USER_TIMEOUT ends the connection silently, then the server sends data",
        families: BOTH,
        make: user_timeout,
        rsts: &[(C, 1)],
        wants: &[sent(C, "keepalive_timeout", KERNEL).no_socket(), received(S, "keepalive_timeout", PEER).why(BARE)],
        ..BASE
    },
    Row {
        id: "16",
        what: "data arrive for an orphan in FIN_WAIT2",
        families: BOTH,
        make: fin_wait2,
        rsts: &[(S, 1)],
        wants: &[sent(S, "data_after_close", KERNEL).sure(), received(C, "data_after_close", PEER).why(A_FIN)],
        ..BASE
    },
    Row {
        id: "16-early",
        what: "server closes after the response; the client writes at once",
        make: goes_on,
        rsts: &[(S, 1)],
        wants: &[sent(S, "data_after_close", KERNEL), received(C, "data_after_close", PEER).why(A_FIN)],
        ..BASE
    },
    Row {
        id: "16e",
        what: "server closes with TCP_LINGER2 below zero, which skips FIN_WAIT2",
        make: linger2,
        rsts: &[(S, 1)],
        wants: &[sent(S, "linger_abort", KERNEL), received(C, "linger_abort", PEER).why(A_FIN)],
        ..BASE
    },
    Row {
        id: "16f",
        what: "server shuts down sending with TCP_LINGER2 below zero, then closes in FIN_WAIT2",
        make: linger2_late,
        rsts: &[(S, 1)],
        wants: &[sent(S, "linger_abort", APP).sure(), received(C, "linger_abort", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
];

/// The server's probes arrive, but the answers are dropped.
fn keepalive(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let _loss = Rule::drop(&scene.net.router, "forward", &scene.to_server())?;
    let second = Duration::from_secs(1);
    let probes = TcpKeepalive::new().with_time(second).with_interval(second).with_retries(2);
    server.options().set_tcp_keepalive(&probes)?;
    server.options().set_read_timeout(Some(2 * SOON))?;
    server.read_fails(ETIMEDOUT)?;
    client.read_fails(ECONNRESET)
}

fn user_timeout(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let loss = Rule::drop(&scene.net.router, "forward", &scene.to_server())?;
    client.options().set_tcp_user_timeout(Some(Duration::from_millis(500)))?;
    client.send(HELLO)?;
    client.read_fails(ETIMEDOUT)?;
    drop(loss);
    server.send(HELLO)?;
    server.read_fails(ECONNRESET)
}

/// With a tcp_fin_timeout above 60 s the orphan stays a full socket.
fn fin_wait2(scene: &Scene) -> Result<()> {
    let _real = scene.net.server.sysctl("ipv4.tcp_fin_timeout", "120")?;
    let (client, server) = scene.pair()?;
    scene.busy();
    server.close();
    client.reads_eof()?;
    scene.reaches(Host::Server, State::FIN_WAIT2, SOON)?;
    client.send(HELLO)?;
    client.error_is(EPIPE)
}

/// The client acknowledges the FIN in the same segment as its data.
fn goes_on(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    server.close();
    client.send(HELLO)?;
    client.error_is(EPIPE)
}

fn linger2(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    server.tcp_option(LINGER2, -1)?;
    server.close();
    client.reads_eof()?;
    client.error_is(EPIPE)
}

fn linger2_late(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    server.tcp_option(LINGER2, -1)?;
    server.shut_down()?;
    client.reads_eof()?;
    scene.reaches(Host::Server, State::FIN_WAIT2, SOON)?;
    server.close();
    client.error_is(EPIPE)
}
