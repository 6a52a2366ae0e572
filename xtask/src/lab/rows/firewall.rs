//! `reject with tcp reset`, by hook. The kernel's reset tracepoints do not see these.

use anyhow::Result;
use libc::{ECONNREFUSED, ECONNRESET};

use super::middlebox::untouched;
use super::{HELLO, Scene, talk};
use crate::lab::nft::Rule;
use crate::lab::ns::Ns;
use crate::lab::place::Place;
use crate::lab::sock::{Tcp, expect};
use crate::lab::wait::SOON;

/// Row 8-input.
pub(in crate::lab) fn input(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    let rule = reject(scene, &scene.net.server, "input")?;
    refused(scene, &rule)
}

/// Row 8-iptables.
pub(in crate::lab) fn iptables(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    let rule = Rule::iptables_reject(&scene.net.server, scene.rejects, scene.port)?;
    refused(scene, &rule)
}

/// Row 8-forward.
pub(in crate::lab) fn forward_busy(scene: &Scene) -> Result<()> {
    reset_busy(scene, &scene.net.router, "forward")
}

/// Row 8-output.
pub(in crate::lab) fn output(scene: &Scene) -> Result<()> {
    reset_busy(scene, &scene.net.client, "output")
}

/// Row 8-forward-syn: an earlier connection tells the watcher how far the server is.
pub(in crate::lab) fn forward_syn(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let (client, server) = (scene.connect()?, listener.accept()?);
    talk(&client, &server)?;
    client.close();
    server.ends()?;
    server.close();
    scene.is_over(Place::Client)?;
    let rule = reject(scene, &scene.net.router, "forward")?;
    refused(scene, &rule)
}

fn reject<'a>(scene: &'a Scene, ns: &'a Ns, hook: &str) -> Result<Rule<'a>> {
    Rule::reject(ns, scene.rejects, hook, &scene.to_server())
}

fn refused(scene: &Scene, rule: &Rule) -> Result<()> {
    let client = Tcp::new(&scene.net.client, scene.server())?;
    expect(ECONNREFUSED, client.join(scene.server()))?;
    rule.met(1, SOON)
}

fn reset_busy(scene: &Scene, ns: &Ns, hook: &str) -> Result<()> {
    let (client, server) = scene.pair()?;
    let rule = reject(scene, ns, hook)?;
    client.send(HELLO)?;
    client.dies(ECONNRESET)?;
    rule.met(1, SOON)?;
    untouched(scene, &server)
}
