//! Lost address translation: some stack gets a segment of a connection that it does not know, and answers.

use std::time::Instant;

use anyhow::Result;
use libc::ECONNRESET;

use super::{HELLO, Scene, idle};
use crate::network::host::Host;
use crate::network::nft::Rule;
use crate::network::sock::Tcp;
use crate::rows::table::{BARE, BASE, BOTH, C, KERNEL, MIDDLEBOX, ON_PATH, PEER, R, Row, S, received, sent};

/// Slightly longer than the router keeps an entry.
const IDLE: u64 = 1600;

const SAME_HOP: &str =
    "the router that holds the address answers itself, with the packet that its reject rule would send";

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "6e",
        what: "router's masquerade entry of an idle connection expires, and the next request gets another source port",
        needs: &["conntrack"],
        make: other_port,
        rsts: &[(S, 1)],
        wants: &[sent(S, "no_such_connection", KERNEL), received(C, "no_such_connection", PEER).why(BARE)],
        ..BASE
    },
    Row {
        id: "6f",
        what: "router's masquerade entry of an idle connection expires, and data from the server reach the router's own stack",
        needs: &["conntrack"],
        make: push_to_router,
        rsts: &[(R, 1)],
        wants: &[
            sent(R, "no_such_connection", KERNEL).no_socket(),
            received(S, "middlebox_idle", MIDDLEBOX).why(ON_PATH),
        ],
        ..BASE
    },
    Row {
        id: "6g",
        what: "router's DNAT entry of a busy connection is flushed, and the next request reaches the router's own stack",
        families: BOTH,
        needs: &["conntrack"],
        make: virtual_address,
        rsts: &[(R, 1)],
        wants: &[
            sent(R, "no_such_connection", KERNEL).no_socket(),
            received(C, "no_such_connection", MIDDLEBOX).why(SAME_HOP),
        ],
        ..BASE
    },
];

/// A connection through a router that puts its own address in front of the client.
fn masqueraded<'a>(scene: &Scene<'a>, how: &str) -> Result<(Tcp, Tcp, Rule<'a>, Instant)> {
    let rule = format!("tcp dport {} masquerade {how}", scene.port);
    let nat = Rule::nat(&scene.net.router, "postrouting", rule.trim_end())?;
    let short_timeout = scene.net.router.sysctl("netfilter.nf_conntrack_tcp_timeout_established", "1")?;
    let (client, server) = scene.pair()?;
    let idle_start = Instant::now();
    idle(IDLE);
    drop(short_timeout);
    Ok((client, server, nat, idle_start))
}

fn other_port(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    // Above the ports of all rows, by which events are attributed to them.
    let rule = format!("tcp dport {} masquerade to :40000-59999 random", scene.port);
    let _nat = Rule::nat(&scene.net.router, "postrouting", &rule)?;
    let short_timeout = scene.net.router.sysctl("netfilter.nf_conntrack_tcp_timeout_established", "1")?;
    let (client, server) = (scene.connect()?, listener.accept()?);
    scene.talk(&client, &server)?;
    let idle_start = Instant::now();
    idle(IDLE);
    drop(short_timeout);
    // The server's stack gets a segment of an unknown connection, so it has no idle time.
    scene.idle_was(Host::Client, idle_start.elapsed());
    client.send(HELLO)?;
    client.read_fails(ECONNRESET)
}

fn push_to_router(scene: &Scene) -> Result<()> {
    let (_client, server, _nat, idle_start) = masqueraded(scene, "")?;
    scene.idle_since(idle_start);
    server.send(HELLO)?;
    server.read_fails(ECONNRESET)
}

fn virtual_address(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let router = crate::network::host::at(scene.family.gateway(), scene.port);
    let nat = Rule::dnat(&scene.net.router, router, scene.server())?;
    let client = Tcp::connect(&scene.net.client, router)?;
    let server = listener.accept()?;
    scene.talk(&client, &server)?;
    scene.busy();
    drop(nat);
    scene.net.router.tool("conntrack", &["-F"])?;
    client.send(HELLO)?;
    client.read_fails(ECONNRESET)
}
