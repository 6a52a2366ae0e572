//! Counterexamples to forgery: the peer's own RSTs with an unexpected TTL. No middlebox sends any.

use std::time::Instant;

use anyhow::Result;
use libc::{ECONNRESET, EPIPE};

use super::{HELLO, Scene};
use crate::network::host::{Family, Host, at};
use crate::network::nft::Rule;
use crate::network::procnet::State;
use crate::network::sock::Tcp;
use crate::rows::table::{
    A_FIN, APP, BARE, BASE, BOTH, C, KERNEL, LIVE_SOCKET, PEER, Row, S, S2, Want, received, sent,
};
use crate::wait::SOON;

const ABORT: &[Want] = &[sent(S, "linger_abort", APP).sure(), received(C, "linger_abort", PEER).why(LIVE_SOCKET)];
const TTL_CHANGED: &str = "the TTL is a device's and the timestamp the peer's: a program that changes its TTL, and a device \
    that continues the timestamps, send the same packet";
const NOT_KNOWN: &[Want] =
    &[sent(S2, "no_such_connection", KERNEL).no_socket(), received(C, "no_such_connection", PEER).why(BARE)];

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "ttl-128",
        what: "server sets IP_TTL to 128 after the handshake, then aborts",
        families: BOTH,
        make: |scene| abort_with_ttl(scene, 128),
        rsts: &[(S, 1)],
        wants: ABORT,
        ..BASE
    },
    Row {
        id: "ttl-odd",
        what: "server sets IP_TTL to 99 after the handshake, then aborts",
        families: BOTH,
        make: |scene| abort_with_ttl(scene, 99),
        rsts: &[(S, 1)],
        wants: &[sent(S, "linger_abort", APP).sure(), received(C, "linger_abort", PEER).why(TTL_CHANGED)],
        ..BASE
    },
    Row {
        id: "ttl-default",
        what: "server's default TTL becomes 128 after the handshake; its stack answers data after the close",
        families: BOTH,
        make: other_default,
        rsts: &[(S, 1)],
        wants: &[sent(S, "data_after_close", KERNEL).no_socket(), received(C, "data_after_close", PEER).why(A_FIN)],
        ..BASE
    },
    Row {
        id: "ttl-rebooted",
        what: "server reboots with default TTL 128 and does not know the connection",
        make: other_stack,
        rsts: &[(S2, 1)],
        wants: NOT_KNOWN,
        ..BASE
    },
    Row {
        id: "hop-more",
        what: "return path is one hop longer than at the handshake; the server aborts",
        families: BOTH,
        make: |scene| abort_after(scene, 63),
        rsts: &[(S, 1)],
        wants: ABORT,
        ..BASE
    },
    Row {
        id: "hop-fewer",
        what: "server was one hop further away at the handshake (a container); now its host responds",
        families: BOTH,
        make: one_hop_nearer,
        rsts: &[(S2, 1)],
        wants: NOT_KNOWN,
        ..BASE
    },
    Row {
        id: "hop-dnat",
        what: "connection to a DNAT address on the router; the server behind it aborts",
        families: BOTH,
        make: through_dnat,
        rsts: &[(S, 1)],
        wants: ABORT,
        ..BASE
    },
    Row {
        id: "hop-rewritten",
        what: "router rewrites the TTL of every packet to 64; the server aborts",
        families: BOTH,
        make: normalised,
        rsts: &[(S, 1)],
        wants: ABORT,
        ..BASE
    },
];

/// The client connects to the router's address.
fn through_dnat(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let virtual_address = at(scene.family.gateway(), scene.port);
    let _nat = Rule::dnat(&scene.net.router, virtual_address, scene.server())?;
    let client = Tcp::connect(&scene.net.client, virtual_address)?;
    let server = listener.accept()?;
    scene.talk(&client, &server)?;
    scene.busy();
    server.abort()?;
    client.read_fails(ECONNRESET)
}

fn abort_with_ttl(scene: &Scene, ttl: u8) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    server.ttl(ttl)?;
    server.abort()?;
    client.read_fails(ECONNRESET)
}

fn other_default(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    let key = match scene.family {
        Family::V4 => "ipv4.ip_default_ttl",
        Family::V6 => "ipv6.conf.all.hop_limit",
    };
    // In IPv6 the device's own setting applies.
    let _all = scene.net.server.sysctl(key, "128")?;
    let _link = match scene.family {
        Family::V4 => None,
        Family::V6 => Some(scene.net.server.sysctl("ipv6.conf.eth0.hop_limit", "128")?),
    };
    server.close();
    client.reads_eof()?;
    scene.reaches(Host::Server, State::FIN_WAIT2, SOON)?;
    client.send(HELLO)?;
    client.error_is(EPIPE)
}

fn other_stack(scene: &Scene) -> Result<()> {
    let (client, _old) = scene.pair()?;
    let idle_start = Instant::now();
    let _rebooted = scene.net.reboot()?;
    let _ttl = scene.net.rebooted.sysctl("ipv4.ip_default_ttl", "128")?;
    scene.idle_since(idle_start);
    client.send(HELLO)?;
    client.read_fails(ECONNRESET)
}

/// Adds a rule: until it is dropped, the server's packets leave `host` with this TTL.
fn leaving_with<'a>(scene: &Scene<'a>, host: Host, ttl: u8) -> Result<Rule<'a>> {
    let field = match scene.family {
        Family::V4 => "ip ttl",
        Family::V6 => "ip6 hoplimit",
    };
    Rule::other(scene.net.ns(host), "postrouting", &format!("tcp sport {} {field} set {ttl}", scene.port))
}

fn abort_after(scene: &Scene, ttl: u8) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    let _longer = leaving_with(scene, Host::Server, ttl)?;
    server.abort()?;
    client.read_fails(ECONNRESET)
}

fn one_hop_nearer(scene: &Scene) -> Result<()> {
    let further = leaving_with(scene, Host::Server, 63)?;
    let (client, _old) = scene.pair()?;
    let idle_start = Instant::now();
    drop(further);
    let _rebooted = scene.net.reboot()?;
    scene.idle_since(idle_start);
    client.send(HELLO)?;
    client.read_fails(ECONNRESET)
}

fn normalised(scene: &Scene) -> Result<()> {
    let _normal = leaving_with(scene, Host::Router, 64)?;
    let (client, server) = scene.pair()?;
    scene.busy();
    server.abort()?;
    client.read_fails(ECONNRESET)
}
