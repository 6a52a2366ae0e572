//! Requests without a response when the server closes: no data flow, but the connection is not idle.

use std::time::Duration;

use anyhow::Result;
use libc::{ECONNRESET, EPIPE};

use super::firewall::reject;
use super::{HELLO, Scene, idle};
use crate::kernel::Kernel;
use crate::network::host::Host;
use crate::network::procnet::State;
use crate::network::sock::Tcp;
use crate::rows::table::{A_FIN, BARE, BASE, BOTH, C, FIREWALL, KERNEL, PEER, Row, S, Want, received, rejected, sent};
use crate::wait::SOON;

/// Time that the server takes for a request.
const RESPONSE_TIME: u64 = 2_200;
/// Number of exchanges after which a client no longer acknowledges each response at once (quick ACKs).
const EXCHANGES: usize = 20;

const UNANSWERED: &[Want] =
    &[sent(S, "data_after_close", KERNEL).no_socket(), received(C, "data_after_close", PEER).why(A_FIN)];
const SLOW_RESPONSE: &[Want] = &[
    sent(S, "data_after_close", KERNEL).no_socket().why_before(SCANS, UNSCANNED),
    received(C, "data_after_close", PEER).why(A_FIN).why_before(SCANS, UNSCANNED),
];
/// Since when there are periodic scans of connections.
pub(super) const SCANS: (u32, u32) = (5, 11);
pub(super) const UNSCANNED: &str =
    "without periodic scans of connections (before Linux 5.11), a slow response and a closing message look the same";

/// Only the periodic scan sees a request that comes within one tick after the last response.
fn no_scans(_scene: &Scene) -> Option<String> {
    (!Kernel::running().since(SCANS)).then(|| "no periodic scans of connections before Linux 5.11".to_owned())
}

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "slow-response",
        what: "server takes long for a short response, then closes; the client sends another request",
        families: BOTH,
        make: slow_response,
        rsts: &[(S, 1)],
        wants: SLOW_RESPONSE,
        ..BASE
    },
    Row {
        id: "unanswered",
        what: "server closes after quick exchanges with the last request unanswered, then the client writes",
        unless: no_scans,
        make: unanswered,
        rsts: &[(S, 1)],
        wants: UNANSWERED,
        ..BASE
    },
    Row {
        id: "unanswered-first",
        what: "server closes with the first request unanswered, then the client writes",
        families: BOTH,
        make: unanswered_first,
        rsts: &[(S, 1)],
        wants: UNANSWERED,
        ..BASE
    },
    Row {
        id: "8-output-then-push",
        what: "client's own output hook rejects its request; the server still sends data",
        make: output_then_push,
        rsts: &[(C, 1)],
        rejects: 1,
        wants: &[
            sent(C, "firewall_reject", FIREWALL),
            rejected(C, "firewall_reject", C),
            sent(C, "firewall_reject", KERNEL).no_socket(),
            received(S, "firewall_reject", PEER).why(BARE),
        ],
        ..BASE
    },
];

fn write_after_close(scene: &Scene, client: &Tcp) -> Result<()> {
    client.reads_eof()?;
    scene.reaches(Host::Server, State::FIN_WAIT2, SOON)?;
    client.send(HELLO)?;
    client.error_is(EPIPE)
}

fn slow_response(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    client.send(HELLO)?;
    server.receive(HELLO.len())?;
    idle(RESPONSE_TIME);
    scene.busy();
    server.send(HELLO)?;
    server.close();
    client.receive(HELLO.len())?;
    write_after_close(scene, &client)
}

fn unanswered(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    for _ in 0..EXCHANGES {
        scene.talk(&client, &server)?;
    }
    client.send(HELLO)?;
    server.receive(HELLO.len())?;
    idle(RESPONSE_TIME);
    server.close();
    write_after_close(scene, &client)
}

fn unanswered_first(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let (client, server) = (scene.connect()?, listener.accept()?);
    client.send(HELLO)?;
    server.receive(HELLO.len())?;
    idle(RESPONSE_TIME);
    server.close();
    write_after_close(scene, &client)
}

fn output_then_push(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    {
        let rule = reject(scene, &scene.net.client, "output")?;
        client.send(HELLO)?;
        client.read_fails(ECONNRESET)?;
        rule.has_matched(1, SOON)?;
    }
    std::thread::sleep(Duration::from_millis(300));
    server.send(HELLO)?;
    server.read_fails(ECONNRESET)
}
