//! More connections than a server takes.

use std::net::SocketAddr;

use anyhow::Result;
use libc::ECONNRESET;

use super::Scene;
use crate::lab::nft::Rule;
use crate::lab::place::{Place, at};
use crate::lab::procnet::State;
use crate::lab::sock::{Listener, Tcp};
use crate::lab::table::FLOOD;
use crate::lab::wait::SOON;

/// The queue takes one connection more than this.
const BACKLOG: i32 = 4;
/// Beyond the range from which the kernel picks source ports.
const LATECOMER: u16 = 62000;
const FLOOD_FROM: &str = "63000";

/// Row 10d: a handshake starts while there is room and ends when there is none.
pub(in crate::lab) fn third_ack(scene: &Scene) -> Result<()> {
    let server = &scene.net.server;
    let _no_cookies = server.sysctl("ipv4.tcp_syncookies", "0")?;
    let _abort = server.sysctl("ipv4.tcp_abort_on_overflow", "1")?;
    let listener = Listener::open(server, scene.server(), BACKLOG)?;
    let hold = format!("tcp sport {} tcp dport {LATECOMER}", scene.port);
    let held = Rule::drop(&scene.net.client, "input", &hold)?;
    let from: SocketAddr = at(scene.family.client(), LATECOMER);
    let late = Tcp::knock(&scene.net.client, from, scene.server())?;
    scene.reaches(Place::Server, State::SYN_RECV, SOON)?;
    let early = (0..=BACKLOG).map(|_| scene.connect()).collect::<Result<Vec<_>>>()?;
    held.met(1, SOON)?;
    drop(held);
    late.fails(ECONNRESET)?;
    // Accepted before the listener goes, or they would be reset as well.
    let accepted = early.iter().map(|_| listener.accept()).collect::<Result<Vec<_>>>()?;
    drop((early, accepted));
    Ok(())
}

/// Row 11.
pub(in crate::lab) fn syn_flood(scene: &Scene) -> Result<()> {
    let (port, to) = (scene.port.to_string(), scene.family.server().to_string());
    let count = FLOOD.to_string();
    let args = ["-q", "-S", "-p", &port, "-s", FLOOD_FROM, "-c", &count, "-i", "u1000", &to];
    scene.net.client.tool("hping3", &args).map(drop)
}
