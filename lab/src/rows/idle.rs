//! A server that closes an idle connection, and a client that did not notice.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use libc::{ECONNRESET, EPIPE};

use super::{HELLO, Scene, idle};
use crate::network::http::{self, ask, ask_in_vain};
use crate::network::nft::Rule;
use crate::network::place::Place;
use crate::network::procnet::State;
use crate::network::sock::Tcp;
use crate::rows::table::{Alike, BASE, BOTH, C, KERNEL, PEER, Row, S, S2, Want, like, received, sent};
use crate::rows::wire::SlowHop;
use crate::wait::SOON;

/// The servers close after 1.3 s.
const REAPED: Duration = Duration::from_secs(4);
/// On top of that: no haste after the FIN.
pub(super) const PAUSE: u64 = 300;
/// How long the lab's own server waits before it closes.
pub(super) const QUIET: u64 = 1300;
const DELAY: Duration = Duration::from_millis(30);

pub(super) const REAPED_BY_SERVER: &[Want] =
    &[sent(S, "idle_reaped", KERNEL).no_socket(), received(C, "idle_reaped", PEER)];
/// The FIN was lost, so the orphan is still a socket.
pub(super) const REAPED_UNHEARD: &[Want] = &[sent(S, "idle_reaped", KERNEL), received(C, "idle_reaped", PEER)];
/// Also for who meets a stack that forgot for other reasons.
pub(super) const MAYBE_REAPED: Alike =
    like("idle_reaped", PEER, "a bare RST after a silence: reaped and FIN lost, or forgotten");
pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "5",
        what: "nginx reaped the idle connection, client reuses it",
        families: BOTH,
        needs: &["nginx"],
        make: nginx,
        rsts: &[(S, 1)],
        wants: REAPED_BY_SERVER,
        ..BASE
    },
    Row {
        id: "5b",
        what: "the same, nginx's FIN lost",
        families: BOTH,
        needs: &["nginx"],
        make: nginx_fin_lost,
        rsts: &[(S, 1)],
        wants: REAPED_UNHEARD,
        ..BASE
    },
    Row {
        id: "5c",
        what: "reuse after TIME_WAIT expired, meeting the listener",
        families: BOTH,
        make: time_wait_expired,
        rsts: &[(S, 1)],
        wants: &[sent(S, "idle_reaped", KERNEL), received(C, "idle_reaped", PEER)],
        ..BASE
    },
    Row {
        id: "5-writes",
        what: "a request of several writes on a reaped connection, FIN lost",
        make: several_writes,
        rsts: &[(S, 1)],
        more: true,
        wants: &[
            sent(S, "idle_reaped", KERNEL),
            sent(S, "idle_reaped", KERNEL).any().no_socket(),
            received(C, "idle_reaped", PEER),
        ],
        ..BASE
    },
    Row {
        id: "5-pipelined",
        what: "requests one after another, unanswered, on a reaped connection, FIN lost",
        make: pipelined,
        rsts: &[(S, 1)],
        more: true,
        wants: &[
            sent(S, "idle_reaped", KERNEL),
            sent(S, "idle_reaped", KERNEL).any().no_socket(),
            received(C, "idle_reaped", PEER),
        ],
        ..BASE
    },
    Row {
        id: "5-rto",
        what: "idle, then retransmissions into a hole, then the server has rebooted",
        make: retransmitted,
        rsts: &[(S2, 1)],
        wants: &[
            sent(S2, "no_such_connection", KERNEL).no_socket(),
            received(C, "no_such_connection", PEER).alone(&[like(
                "idle_reaped",
                PEER,
                "a bare RST after a silence: reaped and FIN lost, or forgotten",
            )]),
        ],
        ..BASE
    },
    Row {
        id: "19",
        what: "haproxy reaped the idle connection, client reuses it",
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
    let quiet = Instant::now();
    scene.reaches(Place::Client, State::CLOSE_WAIT, REAPED)?;
    scene.reaches(Place::Server, State::FIN_WAIT2, SOON)?;
    idle(PAUSE);
    scene.idle_since(quiet);
    ask_in_vain(&client)?;
    client.fails(EPIPE)
}

fn nginx_fin_lost(scene: &Scene) -> Result<()> {
    let _server = http::nginx(scene.net, scene.port)?;
    let client = scene.connect()?;
    scene.timed(|| ask(&client))?;
    let quiet = Instant::now();
    let _loss = lose_fins(scene)?;
    scene.reaches(Place::Server, State::FIN_WAIT1, REAPED)?;
    idle(PAUSE);
    scene.idle_since(quiet);
    ask_in_vain(&client)?;
    client.dies(ECONNRESET)
}

pub(super) fn lose_fins<'a>(scene: &Scene<'a>) -> Result<Rule<'a>> {
    let fins = format!("tcp sport {} tcp flags & fin == fin", scene.port);
    Rule::drop(&scene.net.client, "input", &fins)
}

/// The server closes after a silence; the client hears of it.
pub(super) fn reaped(scene: &Scene, client: &Tcp, server: Tcp) -> Result<()> {
    server.close();
    client.ends()?;
    scene.reaches(Place::Server, State::FIN_WAIT2, SOON)
}

/// The client's next operation, once the server has closed.
pub(super) fn reused(scene: &Scene, client: &Tcp, quiet: Instant) -> Result<()> {
    idle(PAUSE);
    scene.idle_since(quiet);
    client.send(HELLO)?;
    client.fails(EPIPE)
}

fn time_wait_expired(scene: &Scene) -> Result<()> {
    let _short = scene.net.server.sysctl("ipv4.tcp_fin_timeout", "1")?;
    let listener = scene.listen()?;
    let (client, server) = (scene.connect()?, listener.accept()?);
    scene.talk(&client, &server)?;
    let quiet = Instant::now();
    idle(QUIET);
    reaped(scene, &client, server)?;
    let forgotten = |states: &[State]| !states.contains(&State::FIN_WAIT2) && !states.contains(&State::TIME_WAIT);
    scene.becomes("TIME_WAIT's end", Place::Server, 2 * SOON, forgotten)?;
    scene.idle_since(quiet);
    client.send(HELLO)?;
    client.fails(EPIPE)
}

/// A quiet connection whose server closes unheard, across a hop with a round trip time.
fn unheard<'a>(scene: &Scene<'a>) -> Result<(Tcp, SlowHop<'a>, Rule<'a>, Instant)> {
    let hop = SlowHop::start(scene, DELAY)?;
    let (client, server) = scene.pair()?;
    let quiet = Instant::now();
    let loss = lose_fins(scene)?;
    idle(QUIET);
    server.close();
    idle(PAUSE);
    Ok((client, hop, loss, quiet))
}

/// To the server the silence is longer by what two segments take: its answer to the
/// client, and the client's operation to it.
fn across_hop(scene: &Scene, quiet: Instant) {
    let client = quiet.elapsed();
    scene.idle_was(Place::Client, client);
    scene.idle_was(Place::Server, client + 2 * DELAY);
}

fn several_writes(scene: &Scene) -> Result<()> {
    let (client, _hop, _loss, quiet) = unheard(scene)?;
    across_hop(scene, quiet);
    for _ in 0..3 {
        client.send(HELLO)?;
    }
    client.dies(ECONNRESET)?;
    drain()
}

fn pipelined(scene: &Scene) -> Result<()> {
    let (client, _hop, _loss, quiet) = unheard(scene)?;
    across_hop(scene, quiet);
    for _ in 0..2 {
        client.send(HELLO)?;
        idle(12);
    }
    // On a slow machine the answer may be here by now.
    let _ = client.send(HELLO);
    client.dies(ECONNRESET)?;
    drain()
}

/// What is still in the slow hop arrives.
fn drain() -> Result<()> {
    sleep(3 * DELAY);
    Ok(())
}

fn retransmitted(scene: &Scene) -> Result<()> {
    let (client, _old) = scene.pair()?;
    let quiet = Instant::now();
    idle(QUIET);
    let hole = Rule::drop(&scene.net.router, "forward", &scene.to_server())?;
    scene.idle_since(quiet);
    client.send(HELLO)?;
    idle(700);
    let _rebooted = scene.net.reboot()?;
    drop(hole);
    client.dies(ECONNRESET)
}
