//! Resets by the kernel's own timers and for sockets without an owner.

use std::time::Duration;

use anyhow::Result;
use libc::{ECONNRESET, EPIPE, ETIMEDOUT};
use socket2::TcpKeepalive;

use super::{HELLO, Scene};
use crate::lab::nft::Rule;
use crate::lab::place::Place;
use crate::lab::procnet::State;
use crate::lab::wait::SOON;

/// Row 12a: the server's probes arrive, the answers do not.
pub(in crate::lab) fn keepalive(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let _hole = Rule::drop(&scene.net.router, "forward", &scene.to_server())?;
    let second = Duration::from_secs(1);
    let probes = TcpKeepalive::new().with_time(second).with_interval(second).with_retries(2);
    server.options().set_tcp_keepalive(&probes)?;
    server.options().set_read_timeout(Some(2 * SOON))?;
    server.dies(ETIMEDOUT)?;
    client.dies(ECONNRESET)
}

/// Row 16: beyond a minute of tcp_fin_timeout the orphan stays a real socket.
pub(in crate::lab) fn fin_wait2(scene: &Scene) -> Result<()> {
    let _real = scene.net.server.sysctl("ipv4.tcp_fin_timeout", "120")?;
    let (client, server) = scene.pair()?;
    server.close();
    client.ends()?;
    scene.reaches(Place::Server, State::FIN_WAIT2, SOON)?;
    client.send(HELLO)?;
    client.fails(EPIPE)
}
