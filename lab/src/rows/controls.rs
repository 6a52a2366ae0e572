//! Negative controls: connections that end or fail without a reset, and refused ones that must not be reported as anything else.

use std::time::Duration;

use anyhow::Result;
use libc::{ECONNREFUSED, ETIMEDOUT};
use socket2::TcpKeepalive;

use super::forge::inject;
use super::middlebox::untouched;
use super::{HELLO, Scene, idle};
use crate::network::host::Host;
use crate::network::nft::Rule;
use crate::network::packet::ForgedSegment;
use crate::network::peer::Peer;
use crate::network::procnet::State;
use crate::network::sock::{Listener, Tcp, expect, forge};
use crate::rows::table::{BASE, BOTH, C, KERNEL, PEER, REFUSED_ALIKE, Row, S, received, sent};
use crate::rows::wire::SlowHop;
use crate::wait::SOON;

pub(crate) const ROWS: &[Row] = &[
    Row { id: "control-client", what: "client closes first", families: BOTH, make: client_first, ..BASE },
    Row { id: "control-server", what: "server closes first", families: BOTH, make: server_first, ..BASE },
    Row { id: "control-both", what: "both ends close at once", families: BOTH, make: both_at_once, ..BASE },
    Row {
        id: "control-half",
        what: "client shuts down sending, then the server responds",
        families: BOTH,
        make: half_close,
        ..BASE
    },
    Row {
        id: "control-half-server",
        what: "server shuts down sending, then the client sends data",
        make: half_close_server,
        ..BASE
    },
    Row { id: "control-linger", what: "server closes with SO_LINGER of one second", make: linger_timeout, ..BASE },
    Row {
        id: "control-exit",
        what: "server process exits, then the client closes",
        families: BOTH,
        make: exit,
        ..BASE
    },
    Row { id: "control-kill", what: "server process is killed, then the client closes", make: kill, ..BASE },
    Row { id: "control-syn", what: "SYNs are dropped on the path", families: BOTH, make: connect_timeout, ..BASE },
    Row { id: "control-input", what: "SYNs are dropped at the server", make: connect_timeout_input, ..BASE },
    Row { id: "control-queue-full", what: "accept queue is full at the SYN", families: BOTH, make: queue_full, ..BASE },
    Row { id: "control-icmp", what: "SYN is rejected with an ICMP error", families: BOTH, make: icmp_reject, ..BASE },
    Row {
        id: "control-data",
        what: "data are dropped on the path until TCP_USER_TIMEOUT",
        families: BOTH,
        make: user_timeout,
        ..BASE
    },
    Row { id: "control-loss", what: "data are dropped on the path, then retransmitted", make: recovered, ..BASE },
    Row { id: "control-fin", what: "FIN is lost once, then retransmitted", make: fin_lost_once, ..BASE },
    Row { id: "control-keepalive", what: "keepalives are answered", families: BOTH, make: keepalive, ..BASE },
    Row {
        id: "control-blind",
        what: "forged RSTs with wrong sequence numbers",
        families: BOTH,
        make: blind_rst,
        ..BASE
    },
    Row { id: "control-time-wait", what: "forged RST ends TIME_WAIT", families: BOTH, make: time_wait, ..BASE },
    Row {
        id: "scan",
        what: "scan of a closed port: one refusal for each SYN, and nothing else",
        families: BOTH,
        make: scan,
        rsts: &[(S, 4)],
        wants: &[
            sent(S, "refused", KERNEL).sure().no_socket(),
            sent(S, "refused", KERNEL).sure().no_socket(),
            sent(S, "refused", KERNEL).sure().no_socket(),
            sent(S, "refused", KERNEL).sure().no_socket(),
            received(C, "refused", PEER).why(REFUSED_ALIKE),
            received(C, "refused", PEER).why(REFUSED_ALIKE),
            received(C, "refused", PEER).why(REFUSED_ALIKE),
            received(C, "refused", PEER).why(REFUSED_ALIKE),
        ],
        ..BASE
    },
];

const FORGED_TTL: u8 = 200;
const TIMEOUT: Duration = Duration::from_secs(1);
/// Inside the window, but not the next expected sequence number.
const AHEAD: u32 = 50;
const BEHIND: u32 = 5;

fn client_first(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    client.close();
    server.reads_eof()?;
    server.close();
    over(scene)
}

fn server_first(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    server.close();
    client.reads_eof()?;
    client.close();
    over(scene)
}

/// The FINs cross on a slow hop.
fn both_at_once(scene: &Scene) -> Result<()> {
    let _hop = SlowHop::start(scene, Duration::from_millis(20))?;
    let (client, server) = scene.pair()?;
    // Wait for the last ACKs.
    idle(100);
    client.close();
    server.close();
    over(scene)
}

fn half_close(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    client.shut_down()?;
    server.reads_eof()?;
    server.send(HELLO)?;
    client.receive(HELLO.len())?;
    server.close();
    client.reads_eof()?;
    client.close();
    over(scene)
}

fn half_close_server(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    server.shut_down()?;
    client.reads_eof()?;
    client.send(HELLO)?;
    server.receive(HELLO.len())?;
    client.close();
    server.reads_eof()?;
    server.close();
    over(scene)
}

fn linger_timeout(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    server.options().set_linger(Some(TIMEOUT))?;
    server.close();
    client.reads_eof()?;
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
    let mut peer = Peer::start(&scene.net.server, &scene.net.cleanup, "answer", scene.server(), 1)?;
    let client = scene.connect()?;
    client.send(HELLO)?;
    client.receive(HELLO.len())?;
    peer.expect_line("accepted")?;
    end(peer)?;
    client.reads_eof()?;
    client.close();
    over(scene)
}

fn connect_timeout(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    let _loss = Rule::drop(&scene.net.router, "forward", &scene.to_server())?;
    times_out(scene)
}

fn connect_timeout_input(scene: &Scene) -> Result<()> {
    let _loss = Rule::drop(&scene.net.server, "input", &scene.to_server())?;
    times_out(scene)
}

/// tcp_abort_on_overflow does not apply to SYNs.
fn queue_full(scene: &Scene) -> Result<()> {
    let _abort = scene.net.server.sysctl("ipv4.tcp_abort_on_overflow", "1")?;
    let listener = Listener::open(&scene.net.server, scene.server(), 1)?;
    let early = [scene.connect()?, scene.connect()?];
    let all = |states: &[State]| states.iter().filter(|state| **state == State::ESTABLISHED).count() == 2;
    scene.becomes("two unaccepted connections", Host::Server, SOON, all)?;
    times_out(scene)?;
    let accepted = [listener.accept()?, listener.accept()?];
    drop((early, accepted));
    Ok(())
}

fn times_out(scene: &Scene) -> Result<()> {
    let client = Tcp::new(&scene.net.client, scene.server())?;
    client.options().set_tcp_user_timeout(Some(TIMEOUT))?;
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
    let _loss = Rule::drop(&scene.net.router, "forward", &scene.to_server())?;
    client.options().set_tcp_user_timeout(Some(TIMEOUT))?;
    client.send(HELLO)?;
    client.read_fails(ETIMEDOUT)?;
    untouched(scene, &server)
}

fn recovered(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let loss = Rule::drop(&scene.net.router, "forward", &scene.to_server())?;
    client.send(HELLO)?;
    loss.has_matched(2, SOON)?;
    drop(loss);
    server.receive(HELLO.len())?;
    client.close();
    server.reads_eof()?;
    server.close();
    over(scene)
}

fn fin_lost_once(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let fins = format!("tcp sport {} tcp flags & fin == fin", scene.port);
    let loss = Rule::drop(&scene.net.client, "input", &fins)?;
    server.close();
    loss.has_matched(1, SOON)?;
    drop(loss);
    client.reads_eof()?;
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
    server.reads_eof()?;
    server.close();
    over(scene)
}

/// One RST draws a challenge ACK, the other is ignored; the connection stays open.
fn blind_rst(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let exact = server.next_sequence()?;
    inject(scene, &client, exact.wrapping_add(AHEAD), FORGED_TTL)?;
    inject(scene, &client, exact.wrapping_sub(BEHIND), FORGED_TTL)?;
    scene.talk(&client, &server)?;
    client.close();
    server.reads_eof()?;
    server.close();
    over(scene)
}

fn time_wait(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let (from, next) = (client.local()?, client.next_sequence()?);
    server.close();
    client.reads_eof()?;
    client.close();
    scene.reaches(Host::Server, State::TIME_WAIT, SOON)?;
    scene.is_over(Host::Server)?;
    // The sequence number after its FIN. With tcp_rfc1337=0 the kernel lets this RST end TIME_WAIT.
    let rst = ForgedSegment::rst(from, scene.server(), next.wrapping_add(1), FORGED_TTL);
    forge(&scene.net.router, &rst)?;
    scene.becomes("TIME_WAIT's end", Host::Server, SOON, <[State]>::is_empty)
}

fn scan(scene: &Scene) -> Result<()> {
    for _ in 0..4 {
        let client = Tcp::new(&scene.net.client, scene.server())?;
        expect(ECONNREFUSED, client.join(scene.server()))?;
    }
    Ok(())
}

fn over(scene: &Scene) -> Result<()> {
    scene.is_over(Host::Client)?;
    scene.is_over(Host::Server)
}
