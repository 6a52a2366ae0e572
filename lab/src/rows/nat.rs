//! Address translation that is lost. No device makes a reset here: some stack gets a
//! segment that it cannot place.

use std::time::Instant;

use anyhow::Result;
use libc::ECONNRESET;

use super::idle::MAYBE_REAPED;
use super::{HELLO, Scene, idle};
use crate::network::nft::Rule;
use crate::network::place::Place;
use crate::network::sock::Tcp;
use crate::rows::table::{Alike, BASE, BOTH, C, KERNEL, MIDDLEBOX, PEER, R, Row, S, like, received, sent};

/// A moment beyond the router's memory.
const QUIET: u64 = 1600;

const IDLE_PATH: Alike = like(
    "middlebox_idle",
    MIDDLEBOX,
    "the translating router lost its state for a quiet connection, and its own stack answered",
);
const SAME_HOP: Alike = like(
    "firewall_reject",
    MIDDLEBOX,
    "the router that held the address answers itself: from there that is just what its reject rule would send",
);

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "6e",
        what: "masquerade forgot the idle connection and gives it another port",
        needs: &["conntrack"],
        make: other_port,
        rsts: &[(S, 1)],
        wants: &[sent(S, "no_such_connection", KERNEL), received(C, "no_such_connection", PEER).also(&[MAYBE_REAPED])],
        ..BASE
    },
    Row {
        id: "6f",
        what: "masquerade forgot the idle connection, the server pushes to the router",
        needs: &["conntrack"],
        make: push_to_router,
        rsts: &[(R, 1)],
        wants: &[
            sent(R, "no_such_connection", KERNEL).no_socket(),
            received(S, "no_such_connection", PEER).also(&[IDLE_PATH]).alone(&[MAYBE_REAPED]),
        ],
        ..BASE
    },
    Row {
        id: "6g",
        what: "a virtual address (DNAT) was flushed under a busy connection",
        families: BOTH,
        needs: &["conntrack"],
        make: virtual_address,
        rsts: &[(R, 1)],
        wants: &[
            sent(R, "no_such_connection", KERNEL).no_socket(),
            received(C, "no_such_connection", PEER).alone(&[SAME_HOP]),
        ],
        ..BASE
    },
];

/// A connection through a router that puts its own address in front of the client.
fn masqueraded<'a>(scene: &Scene<'a>, how: &str) -> Result<(Tcp, Tcp, Rule<'a>, Instant)> {
    let rule = format!("tcp dport {} masquerade {how}", scene.port);
    let nat = Rule::nat(&scene.net.router, "postrouting", rule.trim_end())?;
    let memory = scene.net.router.sysctl("netfilter.nf_conntrack_tcp_timeout_established", "1")?;
    let (client, server) = scene.pair()?;
    let quiet = Instant::now();
    idle(QUIET);
    drop(memory);
    Ok((client, server, nat, quiet))
}

fn other_port(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let rule = format!("tcp dport {} masquerade random", scene.port);
    let _nat = Rule::nat(&scene.net.router, "postrouting", &rule)?;
    let memory = scene.net.router.sysctl("netfilter.nf_conntrack_tcp_timeout_established", "1")?;
    let (client, server) = (scene.connect()?, listener.accept()?);
    scene.talk(&client, &server)?;
    let quiet = Instant::now();
    idle(QUIET);
    drop(memory);
    // The stack behind the lost address knows of no silence.
    scene.idle_was(Place::Client, quiet.elapsed());
    client.send(HELLO)?;
    client.dies(ECONNRESET)
}

fn push_to_router(scene: &Scene) -> Result<()> {
    let (_client, server, _nat, quiet) = masqueraded(scene, "")?;
    scene.idle_since(quiet);
    server.send(HELLO)?;
    server.dies(ECONNRESET)
}

fn virtual_address(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let router = crate::network::place::at(scene.family.gateway(), scene.port);
    let nat = Rule::dnat(&scene.net.router, router, scene.server())?;
    let client = Tcp::connect(&scene.net.client, router)?;
    let server = listener.accept()?;
    scene.talk(&client, &server)?;
    scene.busy();
    drop(nat);
    scene.net.router.tool("conntrack", &["-F"])?;
    client.send(HELLO)?;
    client.dies(ECONNRESET)
}
