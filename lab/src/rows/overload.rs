//! More connections than a server accepts.

use std::net::SocketAddr;

use anyhow::Result;
use libc::ECONNRESET;

use super::Scene;
use crate::network::host::{Host, at};
use crate::network::nft::Rule;
use crate::network::procnet::State;
use crate::network::sock::{Listener, Tcp};
use crate::rows::table::{BARE, BASE, BOTH, C, FLOOD, KERNEL, PEER, PEERS_SHAPE, Row, S, received, sent};
use crate::wait::SOON;

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "10d",
        what: "accept queue is full at the handshake's last ACK, with tcp_abort_on_overflow=1",
        families: BOTH,
        make: third_ack,
        rsts: &[(S, 1)],
        // The client may also acknowledge a retransmitted SYN-ACK, which draws another RST.
        more: true,
        wants: &[
            sent(S, "listen_overflow", KERNEL).sure(),
            sent(S, "listen_overflow", KERNEL).sure().any(),
            received(C, "listen_overflow", PEER).why(BARE),
        ],
        ..BASE
    },
    Row {
        id: "10e",
        what: "full accept queue drops the handshake's last ACK; the client's request comes after the half-open connection expired",
        make: third_ack_dropped,
        rsts: &[(S, 1)],
        wants: &[sent(S, "listen_overflow", KERNEL), received(C, "listen_overflow", PEER).why(PEERS_SHAPE)],
        ..BASE
    },
    Row {
        id: "11",
        what: "300 SYNs to a closed port",
        needs: &["hping3"],
        make: syn_flood,
        rsts: &[(S, FLOOD)],
        flood: true,
        wants: &[sent(S, "refused", KERNEL).some().sure().no_socket()],
        ..BASE
    },
];

/// The queue holds one connection more than this.
const BACKLOG: i32 = 4;
/// Beyond the range from which the kernel picks source ports.
const LATE_PORT: u16 = 62000;
const FLOOD_FROM: &str = "63000";

/// A handshake that begins before the accept queue is full and ends afterwards, and the connections that fill the queue.
fn overflow(scene: &Scene) -> Result<(Tcp, Listener, Vec<Tcp>)> {
    let listener = Listener::open(&scene.net.server, scene.server(), BACKLOG)?;
    let hold = format!("tcp sport {} tcp dport {LATE_PORT}", scene.port);
    let held = Rule::drop(&scene.net.client, "input", &hold)?;
    let from: SocketAddr = at(scene.family.client(), LATE_PORT);
    let late = Tcp::send_syn(&scene.net.client, from, scene.server())?;
    scene.reaches(Host::Server, State::SYN_RECV, SOON)?;
    let early = (0..=BACKLOG).map(|_| scene.connect()).collect::<Result<Vec<_>>>()?;
    held.has_matched(1, SOON)?;
    Ok((late, listener, early))
}

fn third_ack(scene: &Scene) -> Result<()> {
    let server = &scene.net.server;
    let _no_cookies = server.sysctl("ipv4.tcp_syncookies", "0")?;
    let _abort = server.sysctl("ipv4.tcp_abort_on_overflow", "1")?;
    let (late, listener, early) = overflow(scene)?;
    late.error_is(ECONNRESET)?;
    accept_queued(&listener, early)
}

/// The client considers itself connected until it writes.
fn third_ack_dropped(scene: &Scene) -> Result<()> {
    let server = &scene.net.server;
    let _no_cookies = server.sysctl("ipv4.tcp_syncookies", "0")?;
    let _soon = server.sysctl("ipv4.tcp_synack_retries", "1")?;
    let (late, listener, early) = overflow(scene)?;
    let expired = |states: &[State]| !states.contains(&State::SYN_RECV);
    scene.becomes("the handshake's end", Host::Server, 4 * SOON, expired)?;
    late.options().set_nonblocking(false)?;
    late.send(b"request")?;
    late.read_fails(ECONNRESET)?;
    accept_queued(&listener, early)
}

/// Accepts the queued connections, which closing the listener would reset.
fn accept_queued(listener: &Listener, early: Vec<Tcp>) -> Result<()> {
    let accepted = early.iter().map(|_| listener.accept()).collect::<Result<Vec<_>>>()?;
    drop((early, accepted));
    Ok(())
}

fn syn_flood(scene: &Scene) -> Result<()> {
    let (port, to) = (scene.port.to_string(), scene.family.server().to_string());
    let count = FLOOD.to_string();
    let args = ["-q", "-S", "-p", &port, "-s", FLOOD_FROM, "-c", &count, "-i", "u1000", &to];
    scene.net.client.tool("hping3", &args).map(drop)
}
