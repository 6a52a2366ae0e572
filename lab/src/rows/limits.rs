//! Limits of the whole machine. These rows run only in a VM.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use libc::{ECONNRESET, ETIMEDOUT};
use socket2::TcpKeepalive;

use super::middlebox::entries;
use super::{HELLO, Scene, idle};
use crate::kernel;
use crate::network::nft::Rule;
use crate::network::sock::{Tcp, expect};
use crate::rows::table::{
    BASE, BOTH, C, FIREWALL, KERNEL, ON_PATH, PEER, PEERS_SHAPE, R, Row, S, received, rejected, sent,
};
use crate::wait::{SOON, until_true};

pub(crate) const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const SECOND: Duration = Duration::from_secs(1);

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "15",
        what: "server has more orphans than tcp_max_orphans",
        families: BOTH,
        unless: outside_vm,
        make: orphans,
        rsts: &[(S, 2)],
        // Orphans that other rows left are reset as well.
        more: true,
        // The first RST's sequence number is one too high because the FIN was lost. It draws a challenge ACK, which draws the
        // second RST.
        wants: &[
            sent(S, "resource_limit", KERNEL).sure(),
            sent(S, "resource_limit", KERNEL).no_socket(),
            received(C, "resource_limit", PEER).why(PEERS_SHAPE),
        ],
        ..BASE
    },
    Row { id: "7", what: "full conntrack table drops SYNs", unless: outside_vm, make: conntrack_full, ..BASE },
    Row {
        id: "7-probes",
        what: "full conntrack table drops keepalive probes after the connection's entry expired",
        needs: &["conntrack"],
        unless: outside_vm,
        make: probes_dropped,
        rsts: &[(S, 1)],
        wants: &[sent(S, "conntrack_full", KERNEL)],
        ..BASE
    },
    Row {
        id: "7-lost",
        what: "full conntrack table drops data after the connection's entry expired, then the firewall rejects them",
        needs: &["conntrack"],
        unless: outside_vm,
        make: lost_while_full,
        rejects: 1,
        wants: &[sent(R, "conntrack_full", FIREWALL).rejects(), rejected(C, "conntrack_full", R).why(ON_PATH)],
        ..BASE
    },
];

fn outside_vm(_scene: &Scene) -> Option<String> {
    not_ours()
}

/// The reason why limits of the whole machine must not be changed here; `None` in a VM of the lab.
pub(crate) fn not_ours() -> Option<String> {
    (!kernel::is_ours()).then(|| "changes a limit of the whole machine: only in a VM (cargo xtask vm)".to_owned())
}

/// A changed setting of the whole machine, restored when dropped.
pub(crate) struct Limit {
    file: &'static str,
    old: String,
}

impl Limit {
    pub(crate) fn set(file: &'static str, value: &str) -> Result<Self> {
        let old = fs::read_to_string(file).context(file)?;
        fs::write(file, value).context(file)?;
        Ok(Self { file, old })
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        if let Err(why) = fs::write(self.file, &self.old) {
            eprintln!("{} keeps the lab's value: {why}", self.file);
        }
    }
}

/// Fills the server's conntrack table, which tracks the server's own packets.
fn probes_dropped(scene: &Scene) -> Result<()> {
    let host = &scene.net.server;
    // A rule that refers to `ct` enables connection tracking in the namespace.
    let tracked = Rule::other(host, "output", "ct state invalid counter")?;
    let occupant = scene.pair()?;
    let short_timeout = host.sysctl("netfilter.nf_conntrack_tcp_timeout_established", "1")?;
    let (_client, server) = scene.pair()?;
    drop(short_timeout);
    let _limit = Limit::set(MAX, "1")?;
    let probes = TcpKeepalive::new().with_time(3 * SECOND).with_interval(SECOND).with_retries(2);
    server.options().set_tcp_keepalive(&probes)?;
    server.options().set_read_timeout(Some(5 * SOON))?;
    server.read_fails(ETIMEDOUT)?;
    drop((occupant, tracked));
    Ok(())
}

/// The full table drops the connection's data. When the table has space again, the data belong to no entry and are rejected.
fn lost_while_full(scene: &Scene) -> Result<()> {
    let router = &scene.net.router;
    let rule = Rule::reject(router, scene.rejects, "forward", &format!("{} ct state invalid", scene.to_server()))?;
    let _strict = router.sysctl("netfilter.nf_conntrack_tcp_loose", "0")?;
    let occupant = scene.pair()?;
    let short_timeout = router.sysctl("netfilter.nf_conntrack_tcp_timeout_established", "1")?;
    let (client, _server) = scene.pair()?;
    drop(short_timeout);
    until_true("the entry's expiry", 2 * SOON, || Ok(entries(scene)?.trim().lines().count() == 1))?;
    let limit = Limit::set(MAX, "1")?;
    client.send(HELLO)?;
    idle(300);
    drop(limit);
    client.read_fails(ECONNRESET)?;
    drop(occupant);
    rule.has_matched(1, SOON)
}

/// The FIN is lost, and its retransmission timer finds more orphans than allowed.
fn orphans(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let fins = format!("tcp sport {} tcp flags & fin == fin", scene.port);
    let _loss = Rule::drop(&scene.net.client, "input", &fins)?;
    let _none = Limit::set("/proc/sys/net/ipv4/tcp_max_orphans", "0")?;
    server.close();
    client.read_fails(ECONNRESET)
}

fn conntrack_full(scene: &Scene) -> Result<()> {
    let _tracked = Rule::other(&scene.net.router, "forward", "ct state invalid counter")?;
    let listener = scene.listen()?;
    let (client, server) = (scene.connect()?, listener.accept()?);
    scene.talk(&client, &server)?;
    let _full = Limit::set(MAX, "1")?;
    let second = Tcp::new(&scene.net.client, scene.server())?;
    second.options().set_tcp_user_timeout(Some(SECOND))?;
    expect(ETIMEDOUT, second.join(scene.server()))?;
    scene.talk(&client, &server)
}
