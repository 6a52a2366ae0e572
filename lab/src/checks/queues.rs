//! Overflows accept queues and compares the daemon's metrics with the kernel's counters: `ListenOverflows` per namespace and
//! `sk_drops` per socket, as `ss` shows it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::network::host::{Family, at};
use crate::network::net::Net;
use crate::network::nft::Rule;
use crate::network::peer::{Peer, QUEUE_OWNER};
use crate::network::procnet::listen_overflows;
use crate::network::sock::Tcp;
use crate::wait::until_true;
use crate::watchers::agents::Daemon;

/// The listener's backlog. The kernel queues one connection more.
const BACKLOG: u16 = 2;
/// Connection attempts per listener.
const ATTEMPTS: u16 = 12;
/// First source port of the late clients, above the ephemeral range.
const LATE_PORT: u16 = 62_100;
/// How long to wait for the daemon, which scans every second, or less often on a busy or emulated machine: where a scan takes
/// 60 ms and the others use up their budget, every 40 s.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The handshake packet that arrives when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OverflowPacket {
    /// The SYN.
    Syn,
    /// The final ACK: the queue filled up after the SYN.
    FinalAck,
}

impl OverflowPacket {
    pub(crate) const ALL: [Self; 2] = [Self::Syn, Self::FinalAck];

    /// Whether a listener's overflows are consistent with its drops. An overflow at the final ACK counts as two drops: one in
    /// tcp_v4_syn_recv_sock and one in its caller tcp_v4_rcv (net/ipv4/tcp_ipv4.c). A retransmitted SYN adds a drop.
    fn is_consistent(self, overflows: u64, drops: u64) -> bool {
        match self {
            Self::Syn => overflows == drops,
            Self::FinalAck => overflows > 0 && 2 * overflows <= drops,
        }
    }
}

/// A listener in the server's namespace whose process never calls accept(2).
struct Queue {
    _peer: Peer,
    address: SocketAddr,
}

/// Overflows the queues of two listeners at once, and waits for the daemon's counts to equal the kernel's.
pub(crate) fn overflow(net: &Net, daemon: &Daemon, packet: OverflowPacket, abort: bool, port: u16) -> Result<String> {
    let server = &net.server;
    let _abort = server.sysctl("ipv4.tcp_abort_on_overflow", if abort { "1" } else { "0" })?;
    let before = (listen_overflows(server)?, unattributed(daemon)?);
    let queues = [(Family::V4, port), (Family::V6, port + 1)].map(|(family, port)| {
        let at = at(family.server(), port);
        Peer::start(server, &net.cleanup, "queue", at, BACKLOG.into()).map(|peer| Queue { _peer: peer, address: at })
    });
    let [first, second] = queues;
    let queues = [first?, second?];
    let clients: Vec<_> = queues.iter().map(|queue| connect_clients(net, queue, packet)).collect::<Result<_>>()?;
    let overflowed =
        || Ok(queues.iter().map(|queue| drops(net, queue)).collect::<Result<Vec<_>>>()?.iter().all(|n| *n > 0));
    until_true("overflows", TIMEOUT, overflowed)?;
    queues.iter().try_for_each(|queue| check_gauges(daemon, queue))?;
    // Close the clients: they stop retransmitting, so the counts settle.
    drop(clients);
    let mut summary = String::new();
    let agreed = until_true("equal counts of the daemon and the kernel", TIMEOUT, || {
        let total = listen_overflows(server)? - before.0;
        let sockets = queues.iter().map(|queue| drops(net, queue)).collect::<Result<Vec<_>>>()?;
        let ours = queues.iter().map(|queue| attributed(daemon, queue)).collect::<Result<Vec<_>>>()?;
        let lost = unattributed(daemon)? - before.1;
        summary = format!(
            "kernel: {total} overflows in the namespace, {sockets:?} drops at the listeners; daemon: {ours:?} overflows, and {lost} unattributed"
        );
        let consistent = ours.iter().zip(&sockets).all(|(overflows, drops)| packet.is_consistent(*overflows, *drops));
        Ok(ours.iter().sum::<u64>() == total && consistent && lost == 0)
    });
    agreed.with_context(|| summary.clone())?;
    Ok(summary)
}

/// Connects enough clients to overflow the queue.
fn connect_clients(net: &Net, queue: &Queue, packet: OverflowPacket) -> Result<Vec<Tcp>> {
    let connect = |count| (0..count).map(|_| Tcp::offer(&net.client, queue.address)).collect::<Result<Vec<_>>>();
    if packet == OverflowPacket::Syn {
        return connect(ATTEMPTS);
    }
    // Drop the SYN-ACKs to the late clients until the early ones have filled the queue.
    let syn_acks = format!("tcp sport {} tcp dport {LATE_PORT}-{}", queue.address.port(), LATE_PORT + ATTEMPTS);
    let blocked = Rule::drop(&net.client, "input", &syn_acks)?;
    let late =
        (0..BACKLOG).map(|n| Tcp::send_syn(&net.client, at(client_address(queue), LATE_PORT + n), queue.address));
    let mut all = late.collect::<Result<Vec<_>>>()?;
    blocked.has_matched(u64::from(BACKLOG), TIMEOUT)?;
    all.extend(connect(BACKLOG + 1)?);
    Ok(all)
}

fn client_address(queue: &Queue) -> IpAddr {
    if queue.address.is_ipv4() { Family::V4.client() } else { Family::V6.client() }
}

/// Checks that the daemon reports full queues with their owner and limit.
fn check_gauges(daemon: &Daemon, queue: &Queue) -> Result<()> {
    let port = queue.address.port();
    until_true("metrics of the queue: length, limit and owner", TIMEOUT, || {
        let metrics = daemon.metrics()?;
        let is_right = |name: &str| {
            metrics.listener(name, port).is_some_and(|(owner, value)| {
                owner == QUEUE_OWNER && value == u64::from(if name.ends_with("limit") { BACKLOG } else { BACKLOG + 1 })
            })
        };
        Ok(is_right("listen_queue_length") && is_right("listen_queue_limit"))
    })
}

/// Overflows that the daemon attributed to this listener.
fn attributed(daemon: &Daemon, queue: &Queue) -> Result<u64> {
    let metrics = daemon.metrics()?;
    Ok(metrics
        .listener("listen_overflows_total", queue.address.port())
        .filter(|(owner, _)| *owner == QUEUE_OWNER)
        .map_or(0, |(_, value)| value))
}

/// Overflows that the daemon attributed to no listener.
fn unattributed(daemon: &Daemon) -> Result<u64> {
    Ok(daemon.metrics()?.unattributed_overflows())
}

/// `sk_drops` of a listener: the last `skmem` field that `ss -m` prints.
fn drops(net: &Net, queue: &Queue) -> Result<u64> {
    let output = net.server.tool("ss", &["-ltnmH", "sport", "=", &format!(":{}", queue.address.port())])?;
    let drops = parse_drops(&output);
    ensure!(drops.is_some(), "ss shows no drops: {output}");
    Ok(drops.unwrap_or_default())
}

fn parse_drops(output: &str) -> Option<u64> {
    let (_, memory) = output.split_once("skmem:(")?;
    memory.split_once(')')?.0.split(',').find_map(|part| part.strip_prefix('d')?.parse().ok())
}

#[cfg(test)]
mod tests {
    #[test]
    fn parses_drops_from_skmem() {
        let output = "LISTEN 3 2 10.77.2.2:10001 0.0.0.0:*\n\t skmem:(r0,rb131072,t0,tb16384,f0,w0,o0,bl0,d21)\n";
        assert_eq!(super::parse_drops(output), Some(21));
        assert_eq!(super::parse_drops("LISTEN 3 2"), None);
    }
}
