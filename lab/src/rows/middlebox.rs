//! Resets by a device on the path that lost its memory of a connection.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libc::ECONNRESET;

use super::{HELLO, Scene};
use crate::network::nft::Rule;
use crate::network::ns::Sysctl;
use crate::network::place::Place;
use crate::network::procnet::State;
use crate::network::sock::Tcp;
use crate::rows::table::{Alike, BASE, BOTH, C, FIREWALL, MIDDLEBOX, R, Row, S, like, received, sent};
use crate::wait::{SOON, until_true};

/// How long the router remembers a quiet connection, in seconds.
const MEMORY: u64 = 1;

pub(super) const FORGOT: Alike = like(
    "middlebox_idle",
    MIDDLEBOX,
    "what the router's rule does with a forgotten connection is an idle timeout to its ends",
);
const REJECTED: Alike =
    like("middlebox_injected", MIDDLEBOX, "a reject on the path and an injected RST look alike from the ends");
const BY_PATH: Alike = like("firewall_reject", MIDDLEBOX, "the rule is on the path, not on this host");

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "6a",
        what: "router forgot the idle connection and rejects it",
        families: BOTH,
        needs: &["conntrack"],
        make: expired,
        rejects: 1,
        wants: &[
            sent(R, "firewall_reject", FIREWALL).rejects(),
            received(C, "firewall_reject", FIREWALL).alone(&[FORGOT, BY_PATH]),
        ],
        ..BASE
    },
    Row {
        id: "6c",
        what: "the same, the server pushes",
        families: BOTH,
        needs: &["conntrack"],
        make: expired_push,
        rejects: 1,
        wants: &[
            sent(R, "firewall_reject", FIREWALL).rejects(),
            received(S, "firewall_reject", FIREWALL).alone(&[FORGOT, BY_PATH]),
        ],
        ..BASE
    },
    Row {
        id: "6h",
        what: "a masquerading router forgot the idle connection and rejects it",
        needs: &["conntrack"],
        make: expired_behind_nat,
        rejects: 1,
        wants: &[
            sent(R, "firewall_reject", FIREWALL).rejects(),
            received(C, "firewall_reject", FIREWALL).alone(&[FORGOT, BY_PATH]),
        ],
        ..BASE
    },
    Row {
        id: "21",
        what: "the router's table is flushed under a busy connection (conntrack -F)",
        families: BOTH,
        needs: &["conntrack"],
        make: flushed,
        rejects: 1,
        wants: &[
            sent(R, "firewall_reject", FIREWALL).rejects(),
            received(C, "firewall_reject", FIREWALL).alone(&[REJECTED, BY_PATH]),
        ],
        ..BASE
    },
];

/// The router tracks strictly, and rejects what it does not know.
struct Strict<'a> {
    rule: Rule<'a>,
    _settings: [Sysctl<'a>; 2],
}

fn strict<'a>(scene: &Scene<'a>, seconds: u64) -> Result<Strict<'a>> {
    let router = &scene.net.router;
    let rule = Rule::reject_both(router, scene.rejects, scene.port, "ct state invalid")?;
    let memory = router.sysctl("netfilter.nf_conntrack_tcp_timeout_established", &seconds.to_string())?;
    let loose = router.sysctl("netfilter.nf_conntrack_tcp_loose", "0")?;
    Ok(Strict { rule, _settings: [memory, loose] })
}

fn forgotten(scene: &Scene) -> Result<()> {
    until_true("the router's forgetting", Duration::from_secs(MEMORY) + SOON, || Ok(known(scene)?.trim().is_empty()))
}

/// The router's entries of this scenario.
pub(super) fn known(scene: &Scene) -> Result<String> {
    let port = scene.port.to_string();
    let family = if scene.server().is_ipv4() { "ipv4" } else { "ipv6" };
    scene.net.router.tool("conntrack", &["-L", "-f", family, "-p", "tcp", "--orig-port-dst", &port])
}

fn expired(scene: &Scene) -> Result<()> {
    let strict = strict(scene, MEMORY)?;
    let (client, server) = scene.pair()?;
    let quiet = Instant::now();
    forgotten(scene)?;
    scene.idle_since(quiet);
    client.send(HELLO)?;
    client.dies(ECONNRESET)?;
    strict.rule.met(1, SOON)?;
    untouched(scene, &server)
}

fn expired_behind_nat(scene: &Scene) -> Result<()> {
    let masquerade = format!("tcp dport {} masquerade", scene.port);
    let _nat = Rule::nat(&scene.net.router, "postrouting", &masquerade)?;
    expired(scene)
}

fn expired_push(scene: &Scene) -> Result<()> {
    let strict = strict(scene, MEMORY)?;
    let (client, server) = scene.pair()?;
    let quiet = Instant::now();
    forgotten(scene)?;
    scene.idle_since(quiet);
    server.send(HELLO)?;
    server.dies(ECONNRESET)?;
    strict.rule.met(1, SOON)?;
    scene.reaches(Place::Client, State::ESTABLISHED, Duration::ZERO)?;
    ensure!(client.options().take_error()?.is_none(), "the client's socket failed");
    Ok(())
}

fn flushed(scene: &Scene) -> Result<()> {
    let strict = strict(scene, 300)?;
    let (client, server) = scene.pair()?;
    scene.busy();
    scene.net.router.tool("conntrack", &["-F"])?;
    client.send(HELLO)?;
    client.dies(ECONNRESET)?;
    strict.rule.met(1, SOON)?;
    untouched(scene, &server)
}

/// The server must know nothing of it.
pub(super) fn untouched(scene: &Scene, server: &Tcp) -> Result<()> {
    scene.reaches(Place::Server, State::ESTABLISHED, Duration::ZERO)?;
    ensure!(server.options().take_error()?.is_none(), "the server's socket failed");
    Ok(())
}
