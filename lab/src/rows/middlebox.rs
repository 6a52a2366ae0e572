//! Resets by a router with a firewall that has lost a connection's conntrack entry.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libc::ECONNRESET;

use super::{HELLO, Scene};
use crate::network::host::Host;
use crate::network::nft::Rule;
use crate::network::ns::Sysctl;
use crate::network::procnet::State;
use crate::network::sock::Tcp;
use crate::rows::table::{BASE, BOTH, C, FIREWALL, ON_PATH, R, Row, S, rejected, sent};
use crate::wait::{SOON, until_true};

/// Seconds for which the router keeps the entry of an idle connection.
const ENTRY_SECONDS: u64 = 1;

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "6a",
        what: "router's conntrack entry of an idle connection expires, and its firewall rejects the next request",
        families: BOTH,
        needs: &["conntrack"],
        make: expired,
        rejects: 1,
        wants: &[sent(R, "firewall_reject", FIREWALL).rejects(), rejected(C, "firewall_reject", R).why(ON_PATH)],
        ..BASE
    },
    Row {
        id: "6c",
        what: "router's conntrack entry of an idle connection expires, and its firewall rejects data from the server",
        families: BOTH,
        needs: &["conntrack"],
        make: expired_push,
        rejects: 1,
        wants: &[sent(R, "firewall_reject", FIREWALL).rejects(), rejected(S, "firewall_reject", R).why(ON_PATH)],
        ..BASE
    },
    Row {
        id: "6h",
        what: "masquerading router's conntrack entry of an idle connection expires, and its firewall rejects the next request",
        needs: &["conntrack"],
        make: expired_behind_nat,
        rejects: 1,
        wants: &[sent(R, "firewall_reject", FIREWALL).rejects(), rejected(C, "firewall_reject", R).why(ON_PATH)],
        ..BASE
    },
    Row {
        id: "21",
        what: "router's conntrack table is flushed (conntrack -F), and its firewall rejects a busy connection",
        families: BOTH,
        needs: &["conntrack"],
        make: flushed,
        rejects: 1,
        wants: &[sent(R, "firewall_reject", FIREWALL).rejects(), rejected(C, "firewall_reject", R).why(ON_PATH)],
        ..BASE
    },
];

/// A router that tracks strictly and rejects packets without an entry.
struct Strict<'a> {
    rule: Rule<'a>,
    _settings: [Sysctl<'a>; 2],
}

fn strict<'a>(scene: &Scene<'a>, seconds: u64) -> Result<Strict<'a>> {
    let router = &scene.net.router;
    let rule = Rule::reject_both(router, scene.rejects, scene.port, "ct state invalid")?;
    let short_timeout = router.sysctl("netfilter.nf_conntrack_tcp_timeout_established", &seconds.to_string())?;
    let loose = router.sysctl("netfilter.nf_conntrack_tcp_loose", "0")?;
    Ok(Strict { rule, _settings: [short_timeout, loose] })
}

fn entry_expired(scene: &Scene) -> Result<()> {
    until_true("the entry's expiry", Duration::from_secs(ENTRY_SECONDS) + SOON, || {
        Ok(entries(scene)?.trim().is_empty())
    })
}

/// The router's entries of this scenario.
pub(super) fn entries(scene: &Scene) -> Result<String> {
    let port = scene.port.to_string();
    let family = if scene.server().is_ipv4() { "ipv4" } else { "ipv6" };
    scene.net.router.tool("conntrack", &["-L", "-f", family, "-p", "tcp", "--orig-port-dst", &port])
}

fn expired(scene: &Scene) -> Result<()> {
    let strict = strict(scene, ENTRY_SECONDS)?;
    let (client, server) = scene.pair()?;
    let idle_start = Instant::now();
    entry_expired(scene)?;
    scene.idle_since(idle_start);
    client.send(HELLO)?;
    client.read_fails(ECONNRESET)?;
    strict.rule.has_matched(1, SOON)?;
    untouched(scene, &server)
}

fn expired_behind_nat(scene: &Scene) -> Result<()> {
    let masquerade = format!("tcp dport {} masquerade", scene.port);
    let _nat = Rule::nat(&scene.net.router, "postrouting", &masquerade)?;
    expired(scene)
}

fn expired_push(scene: &Scene) -> Result<()> {
    let strict = strict(scene, ENTRY_SECONDS)?;
    let (client, server) = scene.pair()?;
    let idle_start = Instant::now();
    entry_expired(scene)?;
    scene.idle_since(idle_start);
    server.send(HELLO)?;
    server.read_fails(ECONNRESET)?;
    strict.rule.has_matched(1, SOON)?;
    scene.reaches(Host::Client, State::ESTABLISHED, Duration::ZERO)?;
    ensure!(client.options().take_error()?.is_none(), "the client's socket failed");
    Ok(())
}

fn flushed(scene: &Scene) -> Result<()> {
    let strict = strict(scene, 300)?;
    let (client, server) = scene.pair()?;
    scene.busy();
    scene.net.router.tool("conntrack", &["-F"])?;
    client.send(HELLO)?;
    client.read_fails(ECONNRESET)?;
    strict.rule.has_matched(1, SOON)?;
    untouched(scene, &server)
}

/// Checks that the server's connection is still established.
pub(super) fn untouched(scene: &Scene, server: &Tcp) -> Result<()> {
    scene.reaches(Host::Server, State::ESTABLISHED, Duration::ZERO)?;
    ensure!(server.options().take_error()?.is_none(), "the server's socket failed");
    Ok(())
}
