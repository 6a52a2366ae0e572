//! haproxy as a proxy on the client's host: its clients are local, its servers are on the server's host.

use std::time::Instant;

use anyhow::Result;
use libc::{ECONNRESET, EPIPE};

use crate::network::host::Host;
use crate::network::http::{NGINX_ANSWERS, ask, haproxy_with, nginx_with};
use crate::network::procnet::State;
use crate::network::program::Program;
use crate::network::sock::Tcp;
use crate::rows::table::{APP, BASE, C, KERNEL, LIVE_SOCKET, PEER, Row, S, received, sent};
use crate::rows::{HELLO, Scene};
use crate::wait::SOON;

const SCANNED_LATE: &str = "the connection lasts for a second: where the periodic scan has not sampled it, a late response and a closing message look the same";

pub(crate) const ROWS: &[Row] = &[
    Row {
        // TCP_STATE in ESTABLISHED, SO_LINGER 0.
        id: "haproxy-server-timeout",
        what: "haproxy gives up on a server that has not answered for a second (timeout server)",
        needs: &["haproxy"],
        make: server_timeout,
        rsts: &[(C, 1)],
        wants: &[sent(C, "linger_abort", APP).sure(), received(S, "linger_abort", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        // TCP_TIMEWAIT_SOCKET, after a 408 and a FIN.
        id: "haproxy-client-timeout",
        what: "haproxy closes on a client that has not sent its whole request for a second, then the client sends the rest",
        needs: &["haproxy"],
        make: client_timeout,
        rsts: &[(S, 1)],
        wants: &[
            sent(S, "data_after_close", KERNEL).no_socket().why_everywhere(SCANNED_LATE),
            received(C, "data_after_close", PEER).why_everywhere(SCANNED_LATE),
        ],
        ..BASE
    },
    Row {
        // TCP_STATE in FIN_WAIT1, SO_LINGER 0: haproxy shuts down sending, then aborts.
        id: "haproxy-tcp-timeout",
        what: "haproxy in TCP mode gives up on a server that has not answered for a second",
        needs: &["haproxy"],
        make: tcp_timeout,
        rsts: &[(C, 1)],
        wants: &[sent(C, "linger_abort", APP).sure(), received(S, "linger_abort", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
    Row {
        // TCP_STATE in ESTABLISHED, SO_LINGER 0. The cause is the timer: nothing was open for some seconds.
        id: "haproxy-pool",
        what: "haproxy purges an idle connection to a server from its pool",
        needs: &["haproxy", "nginx"],
        make: pool_purge,
        rsts: &[(C, 1)],
        wants: &[sent(C, "idle_reaped", APP), received(S, "idle_reaped", PEER).why(LIVE_SOCKET)],
        ..BASE
    },
];

const COMMON: &str = "defaults\n mode http\n timeout connect 1s\n timeout client 20s\n";

/// The proxy listens on the client's host; its port is the one after the scenario's.
fn proxy(scene: &Scene, settings: &str) -> Result<Program> {
    let port = scene.port + 1;
    let config = format!("{COMMON}{settings}listen lab\n bind :{port}\n server one {}\n", scene.server());
    let (folder, haproxy) = haproxy_with(scene.net, &config)?;
    Program::serve(scene.net, Host::Client, port, folder, haproxy)
}

fn local_client(scene: &Scene) -> Result<Tcp> {
    let proxy = crate::network::host::at(scene.family.client(), scene.port + 1);
    Tcp::connect(&scene.net.client, proxy)
}

fn server_timeout(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let _proxy = proxy(scene, " timeout server 1s\n")?;
    let client = local_client(scene)?;
    client.send(b"GET / HTTP/1.0\r\n\r\n")?;
    let server = listener.accept()?;
    server.receive(16)?;
    // The client gets an answer of haproxy's own.
    client.drain()?;
    client.close();
    server.error_is(ECONNRESET)
}

fn tcp_timeout(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let _proxy = proxy(scene, " mode tcp\n timeout server 1s\n")?;
    let client = local_client(scene)?;
    client.send(HELLO)?;
    let server = listener.accept()?;
    server.receive(HELLO.len())?;
    client.reads_eof()?;
    client.close();
    server.error_is(EPIPE)
}

fn client_timeout(scene: &Scene) -> Result<()> {
    let config = format!(
        "{COMMON} timeout http-request 1s\nfrontend lab\n bind :{}\n http-request return status 200\n",
        scene.port
    );
    let (folder, haproxy) = haproxy_with(scene.net, &config)?;
    let _server = Program::serve(scene.net, Host::Server, scene.port, folder, haproxy)?;
    let client = scene.connect()?;
    client.send(b"GET / HTTP/1.1\r\nHost: ")?;
    scene.reaches(Host::Client, State::CLOSE_WAIT, SOON)?;
    scene.reaches(Host::Server, State::FIN_WAIT2, SOON)?;
    client.send(HELLO)?;
    client.error_is(EPIPE)
}

fn pool_purge(scene: &Scene) -> Result<()> {
    let _server = nginx_with(scene.net, scene.port, &format!("keepalive_timeout 20s; {NGINX_ANSWERS}"))?;
    let _proxy =
        proxy(scene, " timeout server 20s\n http-reuse always\n default-server pool-purge-delay 1s pool-max-conn 8\n")?;
    let client = local_client(scene)?;
    ask(&client)?;
    let idle_start = Instant::now();
    client.close();
    scene.becomes("the purge", Host::Client, 3 * SOON, |states| !states.contains(&State::ESTABLISHED))?;
    scene.idle_since(idle_start);
    Ok(())
}
