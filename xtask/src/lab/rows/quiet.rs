//! Negative controls: connections that end, or never come about, without a reset.

use std::time::Duration;

use anyhow::Result;
use libc::ETIMEDOUT;

use super::middlebox::{inject, untouched};
use super::{HELLO, Scene, talk};
use crate::lab::nft::Rule;
use crate::lab::place::Place;
use crate::lab::sock::{Tcp, expect};

const PATIENCE: Duration = Duration::from_secs(1);
/// Inside the window, but not where the next byte is due.
const AHEAD: u32 = 50;
const BEHIND: u32 = 5;

pub(in crate::lab) fn client_first(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    client.close();
    server.ends()?;
    server.close();
    over(scene)
}

pub(in crate::lab) fn server_first(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    server.close();
    client.ends()?;
    client.close();
    over(scene)
}

pub(in crate::lab) fn half_close(scene: &Scene) -> Result<()> {
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

pub(in crate::lab) fn connect_timeout(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    let _hole = Rule::drop(&scene.net.router, "forward", &scene.to_server())?;
    let client = Tcp::new(&scene.net.client, scene.server())?;
    client.options().set_tcp_user_timeout(Some(PATIENCE))?;
    expect(ETIMEDOUT, client.join(scene.server()))
}

pub(in crate::lab) fn user_timeout(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let _hole = Rule::drop(&scene.net.router, "forward", &scene.to_server())?;
    client.options().set_tcp_user_timeout(Some(PATIENCE))?;
    client.send(HELLO)?;
    client.dies(ETIMEDOUT)?;
    untouched(scene, &server)
}

/// One draws a challenge ACK, one is ignored; the connection lives on.
pub(in crate::lab) fn blind_rst(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let exact = server.next_sequence()?;
    inject(scene, &client, exact.wrapping_add(AHEAD))?;
    inject(scene, &client, exact.wrapping_sub(BEHIND))?;
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
