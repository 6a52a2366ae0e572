//! Packets with something between the IP header and TCP: IPv6 extension headers, IPv4 options.

use anyhow::Result;
use libc::ECONNRESET;

use super::firewall::{ON_PEERS_HOST, reject};
use super::middlebox::untouched;
use super::{HELLO, Scene};
use crate::network::extension::Extension::{self, Destination, Fragment, HopByHop, Routing};
use crate::network::extension::{behind, in_two_fragments, with_option};
use crate::network::host::Family::V6;
use crate::network::packet::ForgedSegment;
use crate::network::sock::repair::add_destination_options;
use crate::network::sock::{Listener, Raw, Tcp};
use crate::rows::table::{self, BASE, C, FIREWALL, MIDDLEBOX, Row, S, Want, received, sent};
use crate::wait::SOON;

/// Far from the TTL of the peer's own packets.
const FAR: u8 = 200;

/// What a forged RST has before TCP, by connection.
const CHAINS: [&[Extension]; 5] =
    [&[HopByHop], &[Destination], &[Routing], &[Fragment], &[HopByHop, Destination, Routing, Fragment, Destination]];
const INJECTED: Want = received(C, "middlebox_injected", MIDDLEBOX);

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "9-options",
        what: "forged RST with TTL 200 and an IPv4 option",
        make: options,
        wants: &[INJECTED],
        ..BASE
    },
    Row {
        id: "9-extensions",
        what: "six connections, each with a forged RST with hop limit 200 behind IPv6 extension headers or in fragments",
        families: &[V6],
        make: extensions,
        wants: &[INJECTED; CHAINS.len() + 1],
        ..BASE
    },
    Row {
        id: "9-extensions-peer",
        what: "forged RST with hop limit 200; all of the server's own packets have IPv6 extension headers",
        families: &[V6],
        make: extensions_of_the_peer,
        wants: &[INJECTED],
        ..BASE
    },
    Row {
        id: "8-extensions",
        what: "server's input hook rejects data behind an IPv6 extension header",
        families: &[V6],
        make: rejected,
        rejects: 1,
        wants: &[
            sent(S, "firewall_reject", FIREWALL).rejects(),
            table::rejected(C, "firewall_reject", S).why(ON_PEERS_HOST),
        ],
        ..BASE
    },
];

fn options(scene: &Scene) -> Result<()> {
    cut(scene, &scene.listen()?, |packet| vec![with_option(packet)])
}

fn extensions(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    CHAINS.iter().try_for_each(|chain| cut(scene, &listener, |packet| vec![behind(chain, packet)]))?;
    cut(scene, &listener, |packet| in_two_fragments(packet).to_vec())
}

fn extensions_of_the_peer(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    add_destination_options(listener.options())?;
    cut(scene, &listener, |packet| vec![packet.to_vec()])
}

/// Ends a connection by an RST with the exact sequence number, in the packets that `dress` makes of it.
fn cut(scene: &Scene, listener: &Listener, dress: impl Fn(&[u8]) -> Vec<Vec<u8>>) -> Result<()> {
    let (client, server) = connected(scene, listener)?;
    scene.busy();
    let rst = ForgedSegment::rst(scene.server(), client.local()?, server.next_sequence()?, FAR);
    let router = Raw::open(&scene.net.router, scene.family)?;
    dress(&rst.to_bytes()).iter().try_for_each(|packet| router.send(packet))?;
    client.read_fails(ECONNRESET)?;
    untouched(scene, &server)
}

fn connected(scene: &Scene, listener: &Listener) -> Result<(Tcp, Tcp)> {
    let (client, server) = (scene.connect()?, listener.accept()?);
    scene.talk(&client, &server)?;
    Ok((client, server))
}

fn rejected(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    let rule = reject(scene, &scene.net.server, "input")?;
    add_destination_options(client.options())?;
    client.send(HELLO)?;
    client.read_fails(ECONNRESET)?;
    rule.has_matched(1, SOON)?;
    untouched(scene, &server)
}
