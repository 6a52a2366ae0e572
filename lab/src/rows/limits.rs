//! Limits of the whole machine: only where the machine is ours, that is in a VM.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use libc::{ECONNRESET, ETIMEDOUT};
use socket2::TcpKeepalive;

use super::middlebox::{FORGOT, known};
use super::{HELLO, Scene, idle};
use crate::kernel;
use crate::network::nft::Rule;
use crate::network::sock::{Tcp, expect};
use crate::rows::table::{Alike, BASE, BOTH, C, FIREWALL, KERNEL, MIDDLEBOX, PEER, R, Row, S, like, received, sent};
use crate::wait::{SOON, until_true};

pub(crate) const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const SECOND: Duration = Duration::from_secs(1);

/// Segments are under way for a second at most.
const LOST: &str = "more than a second after it the abort's own RST has evidently been lost";
const ABORT: Alike = like("linger_abort", PEER, "an abort as any other: the peer's limit is not on the wire");

const NOT_KNOWN: Alike = like(
    "no_such_connection",
    PEER,
    "a bare RST: the peer's stack does not know the connection any more, and why stays there",
);

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "15",
        what: "more orphans than tcp_max_orphans",
        families: BOTH,
        unless: only_ours,
        make: orphans,
        rsts: &[(S, 2)],
        // Orphans that other rows left behind are hit as well.
        more: true,
        // The first is one off, for the FIN before it was lost: it draws a challenge ACK, and
        // that the second.
        wants: &[
            sent(S, "resource_limit", KERNEL).sure(),
            sent(S, "resource_limit", KERNEL).no_socket().also(&[like("no_such_connection", KERNEL, LOST)]),
            received(C, "resource_limit", PEER).alone(&[ABORT, NOT_KNOWN]).also(&[like(
                "no_such_connection",
                PEER,
                LOST,
            )]),
        ],
        ..BASE
    },
    Row {
        id: "7",
        what: "conntrack table full: SYNs are dropped, no reset is made",
        unless: only_ours,
        make: conntrack_full,
        ..BASE
    },
    Row {
        id: "7-probes",
        what: "keepalive probes of a forgotten connection are dropped while the conntrack table is full",
        needs: &["conntrack"],
        unless: only_ours,
        make: probes_dropped,
        rsts: &[(S, 1)],
        wants: &[sent(S, "conntrack_full", KERNEL)],
        ..BASE
    },
    Row {
        id: "7-lost",
        what: "a forgotten connection's data are dropped while the conntrack table is full, then rejected",
        needs: &["conntrack"],
        unless: only_ours,
        make: lost_while_full,
        rejects: 1,
        wants: &[
            sent(R, "conntrack_full", FIREWALL).rejects(),
            received(C, "conntrack_full", FIREWALL).alone(&[REJECTED, FORGOT]),
        ],
        ..BASE
    },
];

const REJECTED: Alike = like("firewall_reject", MIDDLEBOX, "why the router rejects is not on the wire");

fn only_ours(_scene: &Scene) -> Option<String> {
    not_ours()
}

/// Why limits of the whole machine are left alone here.
pub(crate) fn not_ours() -> Option<String> {
    (!kernel::is_ours()).then(|| "its limit is the whole machine's: only in a VM (cargo xtask vm)".to_owned())
}

/// A setting of the whole machine, until this goes.
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

/// The server's own table: it tracks what it sends.
fn probes_dropped(scene: &Scene) -> Result<()> {
    let host = &scene.net.server;
    let tracked = Rule::other(host, "output", "ct state invalid counter")?;
    let taken = scene.pair()?;
    let memory = host.sysctl("netfilter.nf_conntrack_tcp_timeout_established", "1")?;
    let (_client, server) = scene.pair()?;
    drop(memory);
    let _limit = Limit::set(MAX, "1")?;
    let probes = TcpKeepalive::new().with_time(3 * SECOND).with_interval(SECOND).with_retries(2);
    server.options().set_tcp_keepalive(&probes)?;
    server.options().set_read_timeout(Some(5 * SOON))?;
    server.dies(ETIMEDOUT)?;
    drop((taken, tracked));
    Ok(())
}

/// Its data are dropped for want of room. When there is room again, nobody knows the connection any more.
fn lost_while_full(scene: &Scene) -> Result<()> {
    let router = &scene.net.router;
    let rule = Rule::reject(router, scene.rejects, "forward", &format!("{} ct state invalid", scene.to_server()))?;
    let _strict = router.sysctl("netfilter.nf_conntrack_tcp_loose", "0")?;
    let taken = scene.pair()?;
    let memory = router.sysctl("netfilter.nf_conntrack_tcp_timeout_established", "1")?;
    let (client, _server) = scene.pair()?;
    drop(memory);
    until_true("the router's forgetting", 2 * SOON, || Ok(known(scene)?.trim().lines().count() == 1))?;
    let limit = Limit::set(MAX, "1")?;
    client.send(HELLO)?;
    idle(300);
    drop(limit);
    client.dies(ECONNRESET)?;
    drop(taken);
    rule.met(1, SOON)
}

/// The FIN is lost, and its retransmission timer finds one orphan too many.
fn orphans(scene: &Scene) -> Result<()> {
    let (client, server) = scene.pair()?;
    let fins = format!("tcp sport {} tcp flags & fin == fin", scene.port);
    let _loss = Rule::drop(&scene.net.client, "input", &fins)?;
    let _none = Limit::set("/proc/sys/net/ipv4/tcp_max_orphans", "0")?;
    server.close();
    client.dies(ECONNRESET)
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
