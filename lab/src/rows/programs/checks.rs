//! Health checks and scans: connections that their opener aborts on purpose.

use anyhow::Result;
use libc::ECONNRESET;

use crate::network::host::Host;
use crate::network::http::haproxy_with;
use crate::network::procnet::{State, out_rsts};
use crate::network::program::Program;
use crate::rows::Scene;
use crate::rows::table::{APP, BASE, BOTH, C, KERNEL, LIVE_SOCKET, PEER, Row, S, received, sent};
use crate::wait::{SOON, until_true};

const SCANS: u64 = 20;

pub(crate) const ROWS: &[Row] = &[
    Row {
        // TCP_STATE in ESTABLISHED, SO_LINGER 0.
        id: "probe-queued",
        what: "client connects and aborts (SO_LINGER 0) before the server accepts",
        families: BOTH,
        make: connect_and_abort,
        rsts: &[(C, 1)],
        wants: &[sent(C, "probe", APP), received(S, "probe", PEER)],
        ..BASE
    },
    Row {
        // TCP_STATE in ESTABLISHED, SO_LINGER 0.
        id: "probe-accepted",
        what: "client connects and aborts (SO_LINGER 0) after the server accepted",
        families: BOTH,
        make: accepted_then_aborted,
        rsts: &[(C, 1)],
        wants: &[sent(C, "probe", APP), received(S, "probe", PEER)],
        ..BASE
    },
    Row {
        // TCP_STATE in ESTABLISHED, SO_LINGER 0. It ends a request socket of the server, which is no receive event.
        id: "probe-haproxy",
        what: "haproxy's TCP check of a server: SYN, SYN-ACK, RST",
        needs: &["haproxy"],
        make: tcp_check,
        rsts: &[(C, 1)],
        wants: &[sent(C, "probe", APP)],
        ..BASE
    },
    Row {
        // TCP_STATE in ESTABLISHED, SO_LINGER 0, with nothing unread.
        id: "haproxy-httpchk",
        what: "haproxy's HTTP check of a server: reads the answer, then aborts",
        needs: &["haproxy"],
        make: http_check,
        rsts: &[(C, 1)],
        wants: &[sent(C, "linger_abort", APP).sure(), received(S, "linger_abort", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        // NO_SOCKET. It ends a request socket of the server, which is no receive event.
        id: "scan-half-open",
        what: "hping3 scans an open port 20 times: the client's stack resets SYN-ACKs that it did not ask for",
        needs: &["hping3"],
        make: half_open,
        rsts: &[(C, SCANS)],
        wants: &[sent(C, "invalid_handshake", KERNEL).some().no_socket()],
        ..BASE
    },
];

fn connect_and_abort(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    let client = scene.connect()?;
    scene.reaches(Host::Server, State::ESTABLISHED, SOON)?;
    client.abort()?;
    scene.becomes("the connection's end", Host::Server, SOON, |states| states == [State::LISTEN])
}

fn accepted_then_aborted(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let client = scene.connect()?;
    let server = listener.accept()?;
    client.abort()?;
    server.read_fails(ECONNRESET)
}

/// One check, if haproxy is ended soon: the next comes after 1.5 s.
fn checker(scene: &Scene, options: &str) -> Result<Program> {
    let config = format!(
        "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n\
         listen lab\n bind 127.0.0.1:{}\n{options} server one {} check inter 1500\n",
        scene.port + 1,
        scene.server()
    );
    let (folder, haproxy) = haproxy_with(scene.net, &config)?;
    Program::start(scene.net, Host::Client, folder, haproxy)
}

fn tcp_check(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    let before = out_rsts(&scene.net.client)?;
    let _checker = checker(scene, "")?;
    until_true("the check", SOON, || Ok(out_rsts(&scene.net.client)? > before))
}

fn http_check(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let _checker = checker(scene, " option httpchk GET /health\n")?;
    let server = listener.accept()?;
    server.receive_until(b"\r\n\r\n")?;
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
    server.read_fails(ECONNRESET)
}

fn half_open(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    let before = out_rsts(&scene.net.client)?;
    let (count, port) = (SCANS.to_string(), scene.port.to_string());
    let server = scene.family.server().to_string();
    scene.net.client.tool("hping3", &["-q", "-S", "-c", &count, "-i", "u2000", "-p", &port, &server])?;
    until_true("the resets", SOON, || Ok(out_rsts(&scene.net.client)? >= before + SCANS))
}
