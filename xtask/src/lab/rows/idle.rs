//! A server that closes an idle connection, and a client that did not notice.

use std::time::Duration;

use anyhow::Result;
use libc::{ECONNRESET, EPIPE};

use super::{Scene, idle};
use crate::lab::http::{self, ask, ask_in_vain};
use crate::lab::nft::Rule;
use crate::lab::place::Place;
use crate::lab::procnet::State;
use crate::lab::wait::SOON;

/// The servers close after one second.
const REAPED: Duration = Duration::from_secs(4);
/// On top of that second: no haste after the FIN.
const PAUSE: u64 = 300;

/// Row 5.
pub(in crate::lab) fn nginx(scene: &Scene) -> Result<()> {
    let _server = http::nginx(scene.net, scene.port)?;
    reuse(scene)
}

/// Row 19.
pub(in crate::lab) fn haproxy(scene: &Scene) -> Result<()> {
    let _server = http::haproxy(scene.net, scene.port)?;
    reuse(scene)
}

fn reuse(scene: &Scene) -> Result<()> {
    let client = scene.connect()?;
    ask(&client)?;
    scene.reaches(Place::Client, State::CLOSE_WAIT, REAPED)?;
    scene.reaches(Place::Server, State::FIN_WAIT2, SOON)?;
    idle(PAUSE);
    ask_in_vain(&client)?;
    client.fails(EPIPE)
}

/// Row 5b: the client never hears of the close.
pub(in crate::lab) fn nginx_fin_lost(scene: &Scene) -> Result<()> {
    let _server = http::nginx(scene.net, scene.port)?;
    let client = scene.connect()?;
    ask(&client)?;
    let fins = format!("tcp sport {} tcp flags & fin == fin", scene.port);
    let _loss = Rule::drop(&scene.net.client, "input", &fins)?;
    scene.reaches(Place::Server, State::FIN_WAIT1, REAPED)?;
    idle(PAUSE);
    ask_in_vain(&client)?;
    client.dies(ECONNRESET)
}
