//! Segments of live connections that a translating router forwards untranslated: the stack that they reach resets them.

use anyhow::{Result, ensure};
use libc::ECONNRESET;

use super::{HELLO, Scene};
use crate::kernel::Kernel;
use crate::network::host::{Host, at};
use crate::network::nft::Rule;
use crate::network::ns::Sysctl;
use crate::network::procnet::State;
use crate::network::sock::Tcp;
use crate::rows::table::{BARE, BASE, BOTH, C, KERNEL, PEER, Row, S, received, sent};
use crate::wait::SOON;

fn not_searched(_scene: &Scene) -> Option<String> {
    (!Kernel::running().since((6, 8))).then(|| "before Linux 6.8 live connections are not searched by port".to_owned())
}

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "6i",
        what: "router's DNAT entry of a busy connection is flushed, and the client's stack resets the server's untranslated reply",
        families: BOTH,
        needs: &["conntrack"],
        unless: not_searched,
        make: reply_without_entry,
        rsts: &[(C, 1)],
        wants: &[
            sent(C, "nat_untranslated", KERNEL).no_socket().sure(),
            received(S, "nat_untranslated", PEER).why(BARE),
        ],
        ..BASE
    },
    Row {
        id: "6k",
        what: "router's masquerade entry of a busy connection is flushed, and the server's stack resets the client's untranslated request",
        families: BOTH,
        needs: &["conntrack"],
        unless: not_searched,
        make: request_without_entry,
        rsts: &[(S, 1)],
        wants: &[sent(S, "nat_untranslated", KERNEL).sure(), received(C, "nat_untranslated", PEER).why(BARE)],
        ..BASE
    },
    Row {
        id: "6l",
        what: "server's SYN-ACK bypasses the router's DNAT, and the client's stack resets it",
        families: BOTH,
        unless: not_searched,
        make: syn_ack_bypasses,
        rsts: &[(C, 1)],
        more: true,
        wants: &[sent(C, "nat_untranslated", KERNEL).no_socket().sure().some()],
        ..BASE
    },
];

/// The router forgets its connections, and takes up none in the middle: their segments are invalid.
fn forget<'a>(scene: &Scene<'a>) -> Result<Sysctl<'a>> {
    let strict = scene.net.router.sysctl("netfilter.nf_conntrack_tcp_loose", "0")?;
    scene.net.router.tool("conntrack", &["-F"])?;
    Ok(strict)
}

fn reply_without_entry(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let router = at(scene.family.gateway(), scene.port);
    let _nat = Rule::dnat(&scene.net.router, router, scene.server())?;
    let client = Tcp::connect(&scene.net.client, router)?;
    let server = listener.accept()?;
    scene.talk(&client, &server)?;
    scene.busy();
    let _strict = forget(scene)?;
    server.send(HELLO)?;
    server.read_fails(ECONNRESET)?;
    scene.reaches(Host::Client, State::ESTABLISHED, SOON)
}

fn request_without_entry(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let masquerade = format!("tcp dport {} masquerade", scene.port);
    let _nat = Rule::nat(&scene.net.router, "postrouting", &masquerade)?;
    let (client, server) = (scene.connect()?, listener.accept()?);
    scene.talk(&client, &server)?;
    scene.busy();
    let _strict = forget(scene)?;
    client.send(HELLO)?;
    client.read_fails(ECONNRESET)?;
    scene.reaches(Host::Server, State::ESTABLISHED, SOON)
}

fn syn_ack_bypasses(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    let router = at(scene.family.gateway(), scene.port);
    let _nat = Rule::dnat(&scene.net.router, router, scene.server())?;
    let bypass = Rule::untracked(&scene.net.router, &format!("tcp sport {}", scene.port))?;
    let client = Tcp::offer(&scene.net.client, router)?;
    bypass.has_matched(1, SOON)?;
    ensure!(client.options().peer_addr().is_err(), "the client connected");
    Ok(())
}
