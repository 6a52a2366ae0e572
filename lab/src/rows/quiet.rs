//! Negative controls: connections that end, or never come about, without a reset; and
//! refused ones that must stay just that.

use std::time::Duration;

use anyhow::Result;
use libc::{ECONNREFUSED, ETIMEDOUT};
use socket2::TcpKeepalive;

use super::forge::inject;
use super::middlebox::untouched;
use super::{HELLO, Scene, idle};
use crate::network::nft::Rule;
use crate::network::packet::Forged;
use crate::network::peer::Peer;
use crate::network::place::Place;
use crate::network::procnet::State;
use crate::network::sock::{Listener, Tcp, expect, forge};
use crate::rows::table::{BASE, BOTH, C, KERNEL, PEER, Row, S, received, sent};
use crate::rows::wire::SlowHop;
use crate::wait::SOON;

pub(crate) const ROWS: &[Row] = &[
    Row { id: "quiet-client", what: "client closes first", families: BOTH, make: client_first, ..BASE },
    Row { id: "quiet-server", what: "server closes first", families: BOTH, make: server_first, ..BASE },
    Row { id: "quiet-both", what: "both close at once", families: BOTH, make: both_at_once, ..BASE },
    Row { id: "quiet-half", what: "half close, then the answer", families: BOTH, make: half_close, ..BASE },
    Row { id: "quiet-half-s", what: "the server shuts down, the client goes on", make: half_close_server, ..BASE },
    Row { id: "quiet-linger", what: "SO_LINGER of a second, then close", make: patient_linger, ..BASE },
    Row { id: "quiet-exit", what: "the server's process exits, the client closes", families: BOTH, make: exit, ..BASE },
    Row { id: "quiet-kill", what: "the server's process is killed, the client closes", make: kill, ..BASE },
    Row { id: "quiet-syn", what: "SYNs dropped on the way", families: BOTH, make: connect_timeout, ..BASE },
    Row { id: "quiet-input", what: "SYNs dropped at the server", make: connect_timeout_input, ..BASE },
    Row { id: "quiet-full", what: "accept queue full at the SYN", families: BOTH, make: queue_full, ..BASE },
    Row { id: "quiet-icmp", what: "SYN rejected by ICMP", families: BOTH, make: icmp_reject, ..BASE },
    Row { id: "quiet-data", what: "data dropped on the way", families: BOTH, make: user_timeout, ..BASE },
    Row { id: "quiet-loss", what: "data lost for a while, then retransmitted", make: recovered, ..BASE },
    Row { id: "quiet-fin", what: "a FIN lost once", make: fin_lost_once, ..BASE },
    Row { id: "quiet-alive", what: "keepalives that are answered", families: BOTH, make: keepalive, ..BASE },
    Row { id: "quiet-blind", what: "forged RSTs that miss", families: BOTH, make: blind_rst, ..BASE },
    Row { id: "quiet-tw", what: "a forged RST into TIME_WAIT", families: BOTH, make: time_wait, ..BASE },
    Row {
        id: "scan",
        what: "a scan of a closed port: as many refused as SYNs, and nothing else",
        families: BOTH,
        make: scan,
        rsts: &[(S, 4)],
        wants: &[
            sent(S, "refused", KERNEL).sure().no_socket(),
            sent(S, "refused", KERNEL).sure().no_socket(),
            sent(S, "refused", KERNEL).sure().no_socket(),
            sent(S, "refused", KERNEL).sure().no_socket(),
            received(C, "refused", PEER),
            received(C, "refused", PEER),
            received(C, "refused", PEER),
            received(C, "refused", PEER),
        ],
        ..BASE
    },
];

const FORGED_TTL: u8 = 200;
const PATIENCE: Duration = Duration::from_secs(1);
/// Inside the window, but not where the next byte is due.
const AHEAD: u32 = 50;
const BEHIND: u32 = 5;

fn client_first(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    client.close();
    server.ends()?;
    server.close();
    over(scene)
}

fn server_first(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    server.close();
    client.ends()?;
    client.close();
    over(scene)
}

/// The FINs cross on a hop that takes its time.
fn both_at_once(scene: &Scene) -> Result<()> {
    let _hop = SlowHop::start(scene, Duration::from_millis(20))?;
    let (client, server) = scene.pair()?;
    // The last ACKs have arrived.
    idle(100);
    client.close();
    server.close();
    over(scene)
}

fn half_close(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    client.finish()?;
    server.ends()?;
    server.send(HELLO)?;
    client.hear(HELLO.len())?;
    server.close();
    client.ends()?;
    client.close();
    over(scene)
}

fn half_close_server(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    server.finish()?;
    client.ends()?;
    client.send(HELLO)?;
    server.hear(HELLO.len())?;
    client.close();
    server.ends()?;
    server.close();
    over(scene)
}

fn patient_linger(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    server.options().set_linger(Some(PATIENCE))?;
    server.close();
    client.ends()?;
    client.close();
    over(scene)
}

fn exit(scene: &Scene) -> Result<()> {
    died(scene, |peer| peer.order_to_die("exit 0"))
}

fn kill(scene: &Scene) -> Result<()> {
    died(scene, |peer| {
        peer.kill();
        Ok(())
    })
}

fn died(scene: &Scene, end: impl FnOnce(Peer) -> Result<()>) -> Result<()> {
    let mut peer = Peer::start(&scene.net.server, &scene.net.janitor, "answer", scene.server(), 1)?;
    let client = scene.connect()?;
    client.send(HELLO)?;
    client.hear(HELLO.len())?;
    peer.expect_line("accepted")?;
    end(peer)?;
    client.ends()?;
    client.close();
    over(scene)
}

fn connect_timeout(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    let _hole = Rule::drop(&scene.net.router, "forward", &scene.to_server())?;
    times_out(scene)
}

fn connect_timeout_input(scene: &Scene) -> Result<()> {
    let _hole = Rule::drop(&scene.net.server, "input", &scene.to_server())?;
    times_out(scene)
}

/// Not even tcp_abort_on_overflow answers there.
fn queue_full(scene: &Scene) -> Result<()> {
    let _abort = scene.net.server.sysctl("ipv4.tcp_abort_on_overflow", "1")?;
    let listener = Listener::open(&scene.net.server, scene.server(), 1)?;
    let early = [scene.connect()?, scene.connect()?];
    let all = |states: &[State]| states.iter().filter(|state| **state == State::ESTABLISHED).count() == 2;
    scene.becomes("two unaccepted connections", Place::Server, SOON, all)?;
    times_out(scene)?;
    let accepted = [listener.accept()?, listener.accept()?];
    drop((early, accepted));
    Ok(())
}

fn times_out(scene: &Scene) -> Result<()> {
    let client = Tcp::new(&scene.net.client, scene.server())?;
    client.options().set_tcp_user_timeout(Some(PATIENCE))?;
    expect(ETIMEDOUT, client.join(scene.server()))
}

fn icmp_reject(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    let _rule = Rule::other(&scene.net.server, "input", &format!("{} counter reject", scene.to_server()))?;
    let client = Tcp::new(&scene.net.client, scene.server())?;
    expect(ECONNREFUSED, client.join(scene.server()))
}

fn user_timeout(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let _hole = Rule::drop(&scene.net.router, "forward", &scene.to_server())?;
    client.options().set_tcp_user_timeout(Some(PATIENCE))?;
    client.send(HELLO)?;
    client.dies(ETIMEDOUT)?;
    untouched(scene, &server)
}

fn recovered(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let hole = Rule::drop(&scene.net.router, "forward", &scene.to_server())?;
    client.send(HELLO)?;
    hole.met(2, SOON)?;
    drop(hole);
    server.hear(HELLO.len())?;
    client.close();
    server.ends()?;
    server.close();
    over(scene)
}

fn fin_lost_once(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let fins = format!("tcp sport {} tcp flags & fin == fin", scene.port);
    let loss = Rule::drop(&scene.net.client, "input", &fins)?;
    server.close();
    loss.met(1, SOON)?;
    drop(loss);
    client.ends()?;
    client.close();
    over(scene)
}

fn keepalive(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let second = Duration::from_secs(1);
    client.options().set_tcp_keepalive(&TcpKeepalive::new().with_time(second).with_interval(second))?;
    idle(1200);
    scene.talk(&client, &server)?;
    client.close();
    server.ends()?;
    server.close();
    over(scene)
}

/// One draws a challenge ACK, one is ignored; the connection lives on.
fn blind_rst(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let exact = server.next_sequence()?;
    inject(scene, &client, exact.wrapping_add(AHEAD), FORGED_TTL)?;
    inject(scene, &client, exact.wrapping_sub(BEHIND), FORGED_TTL)?;
    scene.talk(&client, &server)?;
    client.close();
    server.ends()?;
    server.close();
    over(scene)
}

fn time_wait(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let (from, next) = (client.local()?, client.next_sequence()?);
    server.close();
    client.ends()?;
    client.close();
    scene.reaches(Place::Server, State::TIME_WAIT, SOON)?;
    scene.is_over(Place::Server)?;
    // Behind its FIN. The kernel lets it end TIME_WAIT (tcp_rfc1337=0).
    let rst = Forged::rst(from, scene.server(), next.wrapping_add(1), FORGED_TTL);
    forge(&scene.net.router, &rst)?;
    scene.becomes("TIME_WAIT's end", Place::Server, SOON, <[State]>::is_empty)
}

fn scan(scene: &Scene) -> Result<()> {
    for _ in 0..4 {
        let client = Tcp::new(&scene.net.client, scene.server())?;
        expect(ECONNREFUSED, client.join(scene.server()))?;
    }
    Ok(())
}

fn over(scene: &Scene) -> Result<()> {
    scene.is_over(Place::Client)?;
    scene.is_over(Place::Server)
}
