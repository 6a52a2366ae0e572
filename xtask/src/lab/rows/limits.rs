//! Limits of the whole machine: only where the machine is ours, that is in a VM.

use std::fs;

use anyhow::{Context, Result};
use libc::{ECONNRESET, ETIMEDOUT};

use super::Scene;
use crate::lab::nft::Rule;
use crate::lab::sock::{Tcp, expect};
use crate::lab::table::{Alike, BASE, BOTH, C, KERNEL, PEER, Row, S, like, received, sent};

/// Set inside a kernel VM of the lab.
const OURS: &str = "RSTWATCH_LAB_VM";

const ABORT: Alike = like("linger_abort", PEER, "an abort as any other: the peer's limit is not on the wire");

const NOT_KNOWN: Alike = like(
    "no_such_connection",
    PEER,
    "a bare RST: the peer's stack does not know the connection any more, and why stays there",
);

pub(in crate::lab) const ROWS: &[Row] = &[
    Row {
        id: "15",
        what: "more orphans than tcp_max_orphans",
        families: BOTH,
        unless: not_ours,
        make: orphans,
        rsts: &[(S, 2)],
        // Orphans that other rows left behind are hit as well.
        more: true,
        // The first is one off, for the FIN before it was lost: it draws a challenge ACK, and
        // that the second.
        wants: &[
            sent(S, "resource_limit", KERNEL).sure(),
            sent(S, "resource_limit", KERNEL).no_socket(),
            received(C, "resource_limit", PEER).alone(&[ABORT, NOT_KNOWN]),
        ],
        ..BASE
    },
    Row {
        id: "7",
        what: "conntrack table full: SYNs are dropped, no reset is made",
        unless: not_ours,
        make: conntrack_full,
        ..BASE
    },
];

fn not_ours(_scene: &Scene) -> Option<String> {
    let ours = std::env::var_os(OURS).is_some_and(|value| value == "1");
    (!ours).then(|| format!("its limit is the whole machine's: only in a VM ({OURS}=1)"))
}

/// A setting of the whole machine, until this goes.
struct Limit {
    file: &'static str,
    old: String,
}

impl Limit {
    fn set(file: &'static str, value: &str) -> Result<Self> {
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
    let _full = Limit::set("/proc/sys/net/netfilter/nf_conntrack_max", "1")?;
    let second = Tcp::new(&scene.net.client, scene.server())?;
    second.options().set_tcp_user_timeout(Some(std::time::Duration::from_secs(1)))?;
    expect(ETIMEDOUT, second.join(scene.server()))?;
    scene.talk(&client, &server)
}
