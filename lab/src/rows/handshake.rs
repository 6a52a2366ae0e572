//! Invalid handshakes.

use std::net::SocketAddr;

use anyhow::Result;
use libc::ECONNRESET;

use super::{Scene, idle};
use crate::network::host::{Host, at};
use crate::network::nft::Rule;
use crate::network::packet::{ACK, ForgedSegment, SYN};
use crate::network::procnet::State;
use crate::network::sock::{Tcp, forge};
use crate::rows::table::{BASE, BOTH, C, KERNEL, PEER, PEERS_SHAPE, Row, S, received, sent};
use crate::wait::SOON;

/// Beyond the range from which the kernel picks source ports.
const KNOWN: u16 = 62001;
const FORGED_ISN: u32 = 1_000_000;

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "20",
        what: "client crashes, then connects again from the same port",
        families: BOTH,
        make: same_port,
        rsts: &[(C, 1)],
        wants: &[sent(C, "invalid_handshake", KERNEL).sure(), received(S, "invalid_handshake", PEER).why(PEERS_SHAPE)],
        ..BASE
    },
    Row {
        id: "20-unexpected",
        what: "SYN forged in the client's name: the client's stack resets the unexpected SYN-ACK (a half-open scan)",
        families: BOTH,
        make: unexpected_syn_ack,
        rsts: &[(C, 1)],
        wants: &[sent(C, "invalid_handshake", KERNEL).no_socket()],
        ..BASE
    },
    Row {
        id: "20-abandoned",
        what: "client gives up connecting; the SYN-ACK comes later",
        families: BOTH,
        make: abandoned,
        rsts: &[(C, 1)],
        wants: &[sent(C, "invalid_handshake", KERNEL).sure().no_socket()],
        ..BASE
    },
    Row {
        id: "20-ack",
        what: "handshake's last ACK acknowledges data that were never sent",
        families: BOTH,
        make: bad_ack,
        rsts: &[(S, 1)],
        wants: &[sent(S, "invalid_handshake", KERNEL)],
        ..BASE
    },
    Row {
        id: "20-syn",
        what: "second SYN inside the window of a half-open connection",
        make: second_syn,
        rsts: &[(S, 1)],
        wants: &[sent(S, "invalid_handshake", KERNEL).sure()],
        ..BASE
    },
];

fn source(scene: &Scene) -> SocketAddr {
    at(scene.family.client(), KNOWN)
}

fn same_port(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let old = Tcp::connect_from(&scene.net.client, source(scene), scene.server())?;
    let server = listener.accept()?;
    scene.talk(&old, &server)?;
    // Without the delayed ACK the server would retransmit its response.
    idle(100);
    drop(old);
    let _new = Tcp::send_syn(&scene.net.client, source(scene), scene.server())?;
    server.read_fails(ECONNRESET)?;
    // The next SYN gets through: at once, or a second later on older kernels.
    listener.accept().map(drop)
}

fn unexpected_syn_ack(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    forge(&scene.net.router, &opening(scene, FORGED_ISN))?;
    // The client's stack answers the SYN-ACK with an RST, which ends the half-open connection.
    scene.becomes("the half-open connection's end", Host::Server, SOON, |states| states == [State::LISTEN])
}

/// The server's first SYN-ACK is lost; the retransmission comes after a second.
fn abandoned(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    let loss = Rule::drop(&scene.net.router, "forward", &format!("tcp sport {}", scene.port))?;
    let client = Tcp::start(&scene.net.client, scene.server())?;
    loss.has_matched(1, SOON)?;
    client.close();
    drop(loss);
    // The client's stack answers the SYN-ACK with an RST, which ends the half-open connection.
    scene.becomes("the half-open connection's end", Host::Server, SOON, |states| states == [State::LISTEN])
}

fn bad_ack(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    let _loss = Rule::drop(&scene.net.client, "input", &format!("tcp sport {}", scene.port))?;
    forge(&scene.net.router, &opening(scene, FORGED_ISN))?;
    scene.reaches(Host::Server, State::SYN_RECV, SOON)?;
    let ack = ForgedSegment { sequence: FORGED_ISN + 1, acknowledges: 1, flags: ACK, ..opening(scene, 0) };
    forge(&scene.net.router, &ack)
}

fn second_syn(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    let _loss = Rule::drop(&scene.net.client, "input", &format!("tcp sport {}", scene.port))?;
    forge(&scene.net.router, &opening(scene, FORGED_ISN))?;
    scene.reaches(Host::Server, State::SYN_RECV, SOON)?;
    forge(&scene.net.router, &opening(scene, FORGED_ISN + 7))
}

/// A SYN in the client's name.
fn opening(scene: &Scene, sequence: u32) -> ForgedSegment {
    let rst = ForgedSegment::rst(source(scene), scene.server(), sequence, 64);
    ForgedSegment { flags: SYN, window: 64_000, ..rst }
}
