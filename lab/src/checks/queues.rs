//! Accept queues: compares the daemon's metrics of overflowing listeners with the kernel's counts per namespace
//! (`ListenOverflows`) and per socket (`sk_drops`, by `ss`).

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

/// Backlog of the listener, which accepts one connection more.
const BACKLOG: u16 = 2;
/// Connection attempts per listener.
const OFFERED: u16 = 12;
/// First source port beyond the kernel's range.
const LATE: u16 = 62_100;
/// Timeout for the daemon, which samples every second; on a busy or emulated machine less often.
const NOTICED: Duration = Duration::from_secs(30);

/// The packet of a handshake that finds the queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OverflowPacket {
    /// The SYN.
    Syn,
    /// The last ACK, because the queue has filled up since the SYN.
    LastAck,
}

impl OverflowPacket {
    pub(crate) const EACH: [Self; 2] = [Self::Syn, Self::LastAck];

    /// Whether a listener with this many drops may have this many overflows. A last ACK counts as two drops: in
    /// tcp_v4_syn_recv_sock and in its caller tcp_v4_rcv (net/ipv4/tcp_ipv4.c). A repeated SYN is one more drop.
    fn fits(self, overflows: u64, drops: u64) -> bool {
        match self {
            Self::Syn => overflows == drops,
            Self::LastAck => overflows > 0 && 2 * overflows <= drops,
        }
    }
}

/// A listener of a process in the server's namespace that never accepts.
struct Queue {
    _peer: Peer,
    at: SocketAddr,
}

/// Overflows the queues of two listeners at once, and waits until the daemon's counts equal the kernel's.
pub(crate) fn overflow(net: &Net, daemon: &Daemon, packet: OverflowPacket, abort: bool, port: u16) -> Result<String> {
    let server = &net.server;
    let _abort = server.sysctl("ipv4.tcp_abort_on_overflow", if abort { "1" } else { "0" })?;
    let before = (listen_overflows(server)?, unattributed(daemon)?);
    let queues = [(Family::V4, port), (Family::V6, port + 1)].map(|(family, port)| {
        let at = at(family.server(), port);
        Peer::start(server, &net.cleanup, "queue", at, BACKLOG.into()).map(|peer| Queue { _peer: peer, at })
    });
    let [first, second] = queues;
    let queues = [first?, second?];
    let offered: Vec<_> = queues.iter().map(|queue| offer(net, queue, packet)).collect::<Result<_>>()?;
    let overflowed =
        || Ok(queues.iter().map(|queue| drops(net, queue)).collect::<Result<Vec<_>>>()?.iter().all(|n| *n > 0));
    until_true("overflows", NOTICED, overflowed)?;
    queues.iter().try_for_each(|queue| shown(daemon, queue))?;
    // No more connection attempts come, so the counts no longer change.
    drop(offered);
    let mut said = String::new();
    let agreed = until_true("equal counts of the daemon and the kernel", NOTICED, || {
        let kernels = listen_overflows(server)? - before.0;
        let sockets = queues.iter().map(|queue| drops(net, queue)).collect::<Result<Vec<_>>>()?;
        let ours = queues.iter().map(|queue| counted(daemon, queue)).collect::<Result<Vec<_>>>()?;
        let lost = unattributed(daemon)? - before.1;
        said = format!(
            "the kernel: {kernels} in the namespace, {sockets:?} dropped at the listeners; the daemon: {ours:?}, and {lost} attributed to no listener"
        );
        let fit = ours.iter().zip(&sockets).all(|(overflows, drops)| packet.fits(*overflows, *drops));
        Ok(ours.iter().sum::<u64>() == kernels && fit && lost == 0)
    });
    agreed.with_context(|| said.clone())?;
    Ok(said)
}

fn offer(net: &Net, queue: &Queue, packet: OverflowPacket) -> Result<Vec<Tcp>> {
    let connect = |count| (0..count).map(|_| Tcp::offer(&net.client, queue.at)).collect::<Result<Vec<_>>>();
    if packet == OverflowPacket::Syn {
        return connect(OFFERED);
    }
    // The SYN-ACKs of the late clients are held back until the early ones have filled the queue.
    let hold = format!("tcp sport {} tcp dport {LATE}-{}", queue.at.port(), LATE + OFFERED);
    let held = Rule::drop(&net.client, "input", &hold)?;
    let late = (0..BACKLOG).map(|n| Tcp::send_syn(&net.client, at(client(queue), LATE + n), queue.at));
    let mut all = late.collect::<Result<Vec<_>>>()?;
    held.has_matched(u64::from(BACKLOG), NOTICED)?;
    all.extend(connect(BACKLOG + 1)?);
    Ok(all)
}

fn client(queue: &Queue) -> IpAddr {
    if queue.at.is_ipv4() { Family::V4.client() } else { Family::V6.client() }
}

/// Checks that the daemon reports full queues with their owner and limit.
fn shown(daemon: &Daemon, queue: &Queue) -> Result<()> {
    let port = queue.at.port();
    until_true("the queue's length and limit, and their owner", NOTICED, || {
        let metrics = daemon.metrics()?;
        let of = |name: &str| {
            metrics.listener(name, port).is_some_and(|(owner, value)| {
                owner == QUEUE_OWNER && value == u64::from(if name.ends_with("limit") { BACKLOG } else { BACKLOG + 1 })
            })
        };
        Ok(of("listen_queue_length") && of("listen_queue_limit"))
    })
}

fn counted(daemon: &Daemon, queue: &Queue) -> Result<u64> {
    let metrics = daemon.metrics()?;
    Ok(metrics
        .listener("listen_overflows_total", queue.at.port())
        .filter(|(owner, _)| *owner == QUEUE_OWNER)
        .map_or(0, |(_, value)| value))
}

/// Overflows that the daemon attributed to no listener.
fn unattributed(daemon: &Daemon) -> Result<u64> {
    Ok(daemon.metrics()?.unattributed_overflows())
}

/// `sk_drops` of a listener: the last field of `ss -m`.
fn drops(net: &Net, queue: &Queue) -> Result<u64> {
    let said = net.server.tool("ss", &["-ltnmH", "sport", "=", &format!(":{}", queue.at.port())])?;
    let drops = dropped(&said);
    ensure!(drops.is_some(), "ss shows no drops: {said}");
    Ok(drops.unwrap_or_default())
}

fn dropped(said: &str) -> Option<u64> {
    let (_, memory) = said.split_once("skmem:(")?;
    memory.split_once(')')?.0.split(',').find_map(|part| part.strip_prefix('d')?.parse().ok())
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_drops_from_skmem() {
        let said = "LISTEN 3 2 10.77.2.2:10001 0.0.0.0:*\n\t skmem:(r0,rb131072,t0,tb16384,f0,w0,o0,bl0,d21)\n";
        assert_eq!(super::dropped(said), Some(21));
        assert_eq!(super::dropped("LISTEN 3 2"), None);
    }
}
