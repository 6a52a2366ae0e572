//! Resets made on the path, in the peer's name.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use libc::ECONNRESET;

use super::packet::rst;
use super::{HELLO, Scene};
use crate::lab::nft::Rule;
use crate::lab::place::Place;
use crate::lab::procnet::State;
use crate::lab::sock::{Tcp, send_raw};
use crate::lab::wait::{SOON, until_true};

/// Far from any TTL that the peer's own packets arrive with.
const FORGED_TTL: u8 = 200;
/// How long the router remembers a quiet connection, in seconds.
const MEMORY: u64 = 2;

/// Row 6a.
pub(in crate::lab) fn conntrack_expired(scene: &Scene) -> Result<()> {
    let router = &scene.net.router;
    let invalid = format!("{} ct state invalid", scene.to_server());
    let rule = Rule::reject(router, scene.rejects, "forward", &invalid)?;
    let key = "netfilter.nf_conntrack_tcp_timeout_established";
    let _memory = router.sysctl(key, &MEMORY.to_string())?;
    let _strict = router.sysctl("netfilter.nf_conntrack_tcp_loose", "0")?;
    let (client, server) = scene.pair()?;
    until_true("the router's forgetting", Duration::from_secs(MEMORY) + SOON, || {
        let port = scene.port.to_string();
        let known = router.tool("conntrack", &["-L", "-p", "tcp", "--orig-port-dst", &port])?;
        Ok(known.trim().is_empty())
    })?;
    client.send(HELLO)?;
    client.dies(ECONNRESET)?;
    rule.met(1, SOON)?;
    untouched(scene, &server)
}

/// Row 9.
pub(in crate::lab) fn injected(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    inject(scene, &client, server.next_sequence()?)?;
    client.dies(ECONNRESET)?;
    untouched(scene, &server)
}

/// One RST from the router's raw socket to the client, in the server's name.
pub(super) fn inject(scene: &Scene, client: &Tcp, sequence: u32) -> Result<()> {
    let (from, to) = (v4(scene.server())?, v4(client.local()?)?);
    let packet = rst(from, to, sequence, FORGED_TTL);
    send_raw(&scene.net.router, &packet, to.into())
}

fn v4(address: SocketAddr) -> Result<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(_) => bail!("raw resets are made for IPv4 only"),
    }
}

/// The server must know nothing of it.
pub(super) fn untouched(scene: &Scene, server: &Tcp) -> Result<()> {
    scene.reaches(Place::Server, State::ESTABLISHED, Duration::ZERO)?;
    ensure!(server.options().take_error()?.is_none(), "the server's socket failed");
    Ok(())
}
