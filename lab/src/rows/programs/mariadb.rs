//! MariaDB closes a connection that sent no query for wait_timeout.

use std::time::Instant;

use anyhow::{Result, ensure};
use dev_support::programs;
use libc::ECONNRESET;

use crate::network::host::Host;
use crate::network::procnet::State;
use crate::network::program::{Folder, Program};
use crate::network::sock::Tcp;
use crate::rows::Scene;
use crate::rows::table::{APP, BASE, C, LIVE_SOCKET, PEER, Row, S, received, sent};
use crate::wait::SOON;

/// CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION and CLIENT_PLUGIN_AUTH.
const CAPABILITIES: u32 = 0x200 | 0x8000 | 0x8_0000;
const LARGEST_PACKET: u32 = 1 << 24;
const UTF8: u8 = 33;
const PING: u8 = 0x0e;
const OK: u8 = 0;

pub(crate) const ROWS: &[Row] = &[Row {
    // TCP_STATE in ESTABLISHED. The cause is the timer: no command was open.
    id: "mariadb-wait-timeout",
    what: "MariaDB closes the idle connection (wait_timeout)",
    needs: &["mariadbd"],
    make: wait_timeout,
    rsts: &[(S, 1)],
    wants: &[sent(S, "idle_reaped", APP), received(C, "idle_reaped", PEER).why(LIVE_SOCKET)],
    ..BASE
}];

/// Without grant tables and engines that need files, an empty directory suffices.
fn mariadb(scene: &Scene) -> Result<Program> {
    let folder = Folder::make(scene.net)?;
    let path = folder.path().display();
    let mut mariadb = programs::start("mariadbd")?;
    mariadb.args(["--no-defaults", "--user=root", "--skip-grant-tables", "--skip-innodb", "--skip-networking=0"]);
    mariadb.args([format!("--datadir={path}"), format!("--socket={path}/s"), format!("--pid-file={path}/p")]);
    mariadb.args([format!("--port={}", scene.port), "--bind-address=*".to_owned(), "--wait-timeout=2".to_owned()]);
    mariadb.args(["--default-storage-engine=MyISAM", "--lc-messages-dir=/nowhere"]);
    Program::serve(scene.net, Host::Server, scene.port, folder, mariadb)
}

fn wait_timeout(scene: &Scene) -> Result<()> {
    let _server = mariadb(scene)?;
    let client = scene.connect()?;
    log_in(&client)?;
    scene.timed(|| ping(&client))?;
    let idle_start = Instant::now();
    scene.becomes("the reset", Host::Client, 2 * SOON, <[State]>::is_empty)?;
    scene.idle_since(idle_start);
    client.error_is(ECONNRESET)
}

fn log_in(client: &Tcp) -> Result<()> {
    read_packet(client)?;
    let mut response = Vec::new();
    response.extend(CAPABILITIES.to_le_bytes());
    response.extend(LARGEST_PACKET.to_le_bytes());
    response.push(UTF8);
    response.extend([0; 23]);
    response.extend(b"root\0\0mysql_native_password\0");
    client.send(&packet(1, &response)?)?;
    is_ok(&read_packet(client)?)
}

fn ping(client: &Tcp) -> Result<()> {
    client.send(&packet(0, &[PING])?)?;
    is_ok(&read_packet(client)?)
}

fn is_ok(answer: &[u8]) -> Result<()> {
    ensure!(answer.first() == Some(&OK), "MariaDB said {:?}", String::from_utf8_lossy(answer));
    Ok(())
}

/// A packet of the protocol: its length in three bytes, its number, its contents.
fn packet(number: u8, contents: &[u8]) -> Result<Vec<u8>> {
    let [first, second, third, _] = u32::try_from(contents.len())?.to_le_bytes();
    Ok([&[first, second, third, number], contents].concat())
}

fn read_packet(client: &Tcp) -> Result<Vec<u8>> {
    let header = client.take(4)?;
    let length = header.iter().take(3).rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    client.take(length)
}
