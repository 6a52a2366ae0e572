//! Negative controls: connections that end, or never come about, without a reset.

use std::time::Duration;

use anyhow::Result;
use libc::ETIMEDOUT;

use super::forge::inject;
use super::middlebox::untouched;
use super::{HELLO, Scene, talk};
use crate::lab::nft::Rule;
use crate::lab::place::Place;
use crate::lab::sock::{Tcp, expect};
use crate::lab::table::{BASE, BOTH, Row};

pub(in crate::lab) const ROWS: &[Row] = &[
    Row { id: "quiet-client", what: "client closes first", families: BOTH, make: client_first, ..BASE },
    Row { id: "quiet-server", what: "server closes first", families: BOTH, make: server_first, ..BASE },
    Row { id: "quiet-half", what: "half close, then the answer", families: BOTH, make: half_close, ..BASE },
    Row { id: "quiet-syn", what: "SYNs dropped on the way", families: BOTH, make: connect_timeout, ..BASE },
    Row { id: "quiet-data", what: "data dropped on the way", families: BOTH, make: user_timeout, ..BASE },
    Row { id: "quiet-blind", what: "forged RSTs that miss", families: BOTH, make: blind_rst, ..BASE },
];

const FORGED_TTL: u8 = 200;
const PATIENCE: Duration = Duration::from_secs(1);
/// Inside the window, but not where the next byte is due.
const AHEAD: u32 = 50;
const BEHIND: u32 = 5;

fn client_first(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    client.close();
    server.ends()?;
    server.close();
    over(scene)
}

fn server_first(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    server.close();
    client.ends()?;
    client.close();
    over(scene)
}

fn half_close(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    client.finish()?;
    server.ends()?;
    server.send(HELLO)?;
    client.hear(HELLO.len())?;
    server.close();
    client.ends()?;
    client.close();
    over(scene)
}

fn connect_timeout(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    let _hole = Rule::drop(&scene.net.router, "forward", &scene.to_server())?;
    let client = Tcp::new(&scene.net.client, scene.server())?;
    client.options().set_tcp_user_timeout(Some(PATIENCE))?;
    expect(ETIMEDOUT, client.join(scene.server()))
}

fn user_timeout(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let _hole = Rule::drop(&scene.net.router, "forward", &scene.to_server())?;
    client.options().set_tcp_user_timeout(Some(PATIENCE))?;
    client.send(HELLO)?;
    client.dies(ETIMEDOUT)?;
    untouched(scene, &server)
}

/// One draws a challenge ACK, one is ignored; the connection lives on.
fn blind_rst(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let exact = server.next_sequence()?;
    inject(scene, &client, exact.wrapping_add(AHEAD), FORGED_TTL)?;
    inject(scene, &client, exact.wrapping_sub(BEHIND), FORGED_TTL)?;
    talk(&client, &server)?;
    client.close();
    server.ends()?;
    server.close();
    over(scene)
}

fn over(scene: &Scene) -> Result<()> {
    scene.is_over(Place::Client)?;
    scene.is_over(Place::Server)
}
