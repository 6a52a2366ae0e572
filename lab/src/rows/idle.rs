//! Servers that close an idle connection, and clients that then reuse it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use libc::{ECONNRESET, EPIPE};

use super::{HELLO, Scene, idle};
use crate::network::host::Host;
use crate::network::http::{self, ask, send_request};
use crate::network::nft::Rule;
use crate::network::procnet::State;
use crate::network::sock::Tcp;
use crate::rows::table::{A_FIN, BARE, BASE, BOTH, C, KERNEL, PEER, Row, S, S2, Want, received, sent};
use crate::rows::wire::SlowHop;
use crate::wait::SOON;

/// The servers close after 1.3 s.
const REAPED: Duration = Duration::from_secs(4);
/// Pause after the FIN, before the client reuses the connection.
pub(super) const PAUSE: u64 = 300;
/// Idle time after which the lab's own server closes.
pub(super) const IDLE: u64 = 1300;
/// Idle time in which the periodic scan samples the connection, on a busy or emulated machine too.
pub(super) const SAMPLED: u64 = 4000;
const DELAY: Duration = Duration::from_millis(30);

pub(super) const REAPED_BY_SERVER: &[Want] =
    &[sent(S, "idle_reaped", KERNEL).no_socket(), received(C, "idle_reaped", PEER).why(A_FIN)];
/// The FIN was lost, so the orphan is still a socket.
pub(super) const REAPED_FIN_LOST: &[Want] =
    &[sent(S, "idle_reaped", KERNEL), received(C, "idle_reaped", PEER).why(BARE)];
pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "5",
        what: "nginx closes the idle connection, then the client reuses it",
        families: BOTH,
        needs: &["nginx"],
        make: nginx,
        rsts: &[(S, 1)],
        wants: REAPED_BY_SERVER,
        ..BASE
    },
    Row {
        id: "5b",
        what: "nginx closes the idle connection and its FIN is lost, then the client reuses it",
        families: BOTH,
        needs: &["nginx"],
        make: nginx_fin_lost,
        rsts: &[(S, 1)],
        wants: REAPED_FIN_LOST,
        ..BASE
    },
    Row {
        id: "5c",
        what: "client reuses an idle connection after the server's TIME_WAIT expired; the port still has a listener",
        families: BOTH,
        make: time_wait_expired,
        rsts: &[(S, 1)],
        wants: &[sent(S, "idle_reaped", KERNEL), received(C, "idle_reaped", PEER).why(A_FIN)],
        ..BASE
    },
    Row {
        id: "5-writes",
        what: "client sends a request in several writes on an idle connection that the server closed, FIN lost",
        make: several_writes,
        rsts: &[(S, 1)],
        more: true,
        wants: &[
            sent(S, "idle_reaped", KERNEL),
            sent(S, "idle_reaped", KERNEL).any().no_socket(),
            received(C, "idle_reaped", PEER).why(BARE),
        ],
        ..BASE
    },
    Row {
        id: "5-pipelined",
        what: "client pipelines requests on an idle connection that the server closed, FIN lost",
        make: pipelined,
        rsts: &[(S, 1)],
        more: true,
        wants: &[
            sent(S, "idle_reaped", KERNEL),
            sent(S, "idle_reaped", KERNEL).any().no_socket(),
            received(C, "idle_reaped", PEER).why(BARE),
        ],
        ..BASE
    },
    Row {
        id: "5-rto",
        what: "request on an idle connection is lost on the path; its retransmission reaches a rebooted server",
        make: retransmitted,
        rsts: &[(S2, 1)],
        wants: &[sent(S2, "no_such_connection", KERNEL).no_socket(), received(C, "no_such_connection", PEER).why(BARE)],
        ..BASE
    },
    Row {
        id: "19",
        what: "haproxy closes the idle connection, then the client reuses it",
        needs: &["haproxy"],
        make: haproxy,
        rsts: &[(S, 1)],
        wants: REAPED_BY_SERVER,
        ..BASE
    },
];

fn nginx(scene: &Scene) -> Result<()> {
    let _server = http::nginx(scene.net, scene.port)?;
    reuse(scene)
}

fn haproxy(scene: &Scene) -> Result<()> {
    let _server = http::haproxy(scene.net, scene.port)?;
    reuse(scene)
}

fn reuse(scene: &Scene) -> Result<()> {
    let client = scene.connect()?;
    scene.timed(|| ask(&client))?;
    let idle_start = Instant::now();
    scene.reaches(Host::Client, State::CLOSE_WAIT, REAPED)?;
    scene.reaches(Host::Server, State::FIN_WAIT2, SOON)?;
    idle(PAUSE);
    scene.idle_since(idle_start);
    send_request(&client)?;
    client.error_is(EPIPE)
}

fn nginx_fin_lost(scene: &Scene) -> Result<()> {
    let _server = http::nginx(scene.net, scene.port)?;
    let client = scene.connect()?;
    scene.timed(|| ask(&client))?;
    let idle_start = Instant::now();
    let _loss = lose_fins(scene)?;
    scene.reaches(Host::Server, State::FIN_WAIT1, REAPED)?;
    idle(PAUSE);
    scene.idle_since(idle_start);
    send_request(&client)?;
    client.read_fails(ECONNRESET)
}

pub(super) fn lose_fins<'a>(scene: &Scene<'a>) -> Result<Rule<'a>> {
    let fins = format!("tcp sport {} tcp flags & fin == fin", scene.port);
    Rule::drop(&scene.net.client, "input", &fins)
}

/// The server closes after an idle period, and its FIN arrives.
pub(super) fn reaped(scene: &Scene, client: &Tcp, server: Tcp) -> Result<()> {
    server.close();
    client.reads_eof()?;
    scene.reaches(Host::Server, State::FIN_WAIT2, SOON)
}

/// The client's next operation, once the server has closed.
pub(super) fn reused(scene: &Scene, client: &Tcp, idle_start: Instant) -> Result<()> {
    idle(PAUSE);
    scene.idle_since(idle_start);
    client.send(HELLO)?;
    client.error_is(EPIPE)
}

fn time_wait_expired(scene: &Scene) -> Result<()> {
    let _short = scene.net.server.sysctl("ipv4.tcp_fin_timeout", "1")?;
    let listener = scene.listen()?;
    let (client, server) = (scene.connect()?, listener.accept()?);
    scene.talk(&client, &server)?;
    let idle_start = Instant::now();
    idle(IDLE);
    reaped(scene, &client, server)?;
    let gone = |states: &[State]| !states.contains(&State::FIN_WAIT2) && !states.contains(&State::TIME_WAIT);
    scene.becomes("TIME_WAIT's end", Host::Server, 2 * SOON, gone)?;
    scene.idle_since(idle_start);
    client.send(HELLO)?;
    client.error_is(EPIPE)
}

/// An idle connection over a slow hop. The server closes, and its FIN is lost.
fn closed_with_fin_lost<'a>(scene: &Scene<'a>) -> Result<(Tcp, SlowHop<'a>, Rule<'a>, Instant)> {
    let hop = SlowHop::start(scene, DELAY)?;
    let (client, server) = scene.pair()?;
    let idle_start = Instant::now();
    let loss = lose_fins(scene)?;
    idle(IDLE);
    server.close();
    idle(PAUSE);
    Ok((client, hop, loss, idle_start))
}

/// The server's idle time is longer by two one-way delays: those of its response and of the client's next request.
fn across_hop(scene: &Scene, idle_start: Instant) {
    let client = idle_start.elapsed();
    scene.idle_was(Host::Client, client);
    scene.idle_was(Host::Server, client + 2 * DELAY);
}

fn several_writes(scene: &Scene) -> Result<()> {
    let (client, _hop, _loss, idle_start) = closed_with_fin_lost(scene)?;
    across_hop(scene, idle_start);
    for _ in 0..3 {
        client.send(HELLO)?;
    }
    client.read_fails(ECONNRESET)?;
    drain()
}

fn pipelined(scene: &Scene) -> Result<()> {
    let (client, _hop, _loss, idle_start) = closed_with_fin_lost(scene)?;
    across_hop(scene, idle_start);
    for _ in 0..2 {
        client.send(HELLO)?;
        idle(12);
    }
    // On a slow machine the RST may have arrived by now.
    let _ = client.send(HELLO);
    client.read_fails(ECONNRESET)?;
    drain()
}

/// Waits until all packets have left the slow hop.
fn drain() -> Result<()> {
    sleep(3 * DELAY);
    Ok(())
}

fn retransmitted(scene: &Scene) -> Result<()> {
    let (client, _old) = scene.pair()?;
    let idle_start = Instant::now();
    idle(IDLE);
    let loss = Rule::drop(&scene.net.router, "forward", &scene.to_server())?;
    scene.idle_since(idle_start);
    client.send(HELLO)?;
    idle(700);
    let _rebooted = scene.net.reboot()?;
    drop(loss);
    client.read_fails(ECONNRESET)
}
