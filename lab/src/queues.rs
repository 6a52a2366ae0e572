//! Accept queues: what the daemon says of listeners whose queues overflow, against the kernel's own account of the
//! namespace (`ListenOverflows`) and of each socket (`sk_drops`, by `ss`).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::agents::Daemon;
use super::net::Net;
use super::nft::Rule;
use super::peer::Peer;
use super::place::{Family, at};
use super::procnet::listen_overflows;
use super::sock::Tcp;
use super::wait::until_true;

/// What the helper calls itself: the owner that the daemon is to find.
pub(super) const OWNER: &str = "lab-queue";
/// The queue takes one connection more than this.
const BACKLOG: u16 = 2;
/// Connections that each listener is offered.
const OFFERED: u16 = 12;
/// Beyond the range from which the kernel picks source ports.
const LATE: u16 = 62_100;
/// The daemon looks every second; a busy or emulated machine less often.
const NOTICED: Duration = Duration::from_secs(30);

/// Where a handshake meets the full queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// At its SYN.
    Syn,
    /// At its last ACK: the queue has filled up meanwhile.
    LastAck,
}

impl Stage {
    pub(super) const EACH: [Self; 2] = [Self::Syn, Self::LastAck];

    /// Whether these may be the overflows of a listener with so many drops. A last ACK is dropped twice: where it finds no
    /// room, and by the caller (net/ipv4/tcp_ipv4.c, tcp_v4_syn_recv_sock and tcp_v4_rcv); and so is a SYN that came again.
    fn fits(self, overflows: u64, drops: u64) -> bool {
        match self {
            Self::Syn => overflows == drops,
            Self::LastAck => overflows > 0 && 2 * overflows <= drops,
        }
    }
}

/// A listener of a process in the server's namespace, which accepts nothing.
struct Queue {
    _peer: Peer,
    at: SocketAddr,
}

/// Fills the queues of two listeners at once, and waits until the daemon's account is the kernel's.
pub(super) fn overflow(net: &Net, daemon: &Daemon, stage: Stage, abort: bool, port: u16) -> Result<String> {
    let server = &net.server;
    let _abort = server.sysctl("ipv4.tcp_abort_on_overflow", if abort { "1" } else { "0" })?;
    let before = (listen_overflows(server)?, nobodys(daemon)?);
    let queues = [(Family::V4, port), (Family::V6, port + 1)].map(|(family, port)| {
        let at = at(family.server(), port);
        Peer::start(server, &net.janitor, "queue", at, BACKLOG.into()).map(|peer| Queue { _peer: peer, at })
    });
    let [first, second] = queues;
    let queues = [first?, second?];
    let offered: Vec<_> = queues.iter().map(|queue| offer(net, queue, stage)).collect::<Result<_>>()?;
    let overflowed =
        || Ok(queues.iter().map(|queue| drops(net, queue)).collect::<Result<Vec<_>>>()?.iter().all(|n| *n > 0));
    until_true("overflows", NOTICED, overflowed)?;
    queues.iter().try_for_each(|queue| shown(daemon, queue))?;
    // Nobody knocks any more, and what was counted stands still.
    drop(offered);
    let mut said = String::new();
    let agreed = until_true("the daemon's account as the kernel's", NOTICED, || {
        let kernels = listen_overflows(server)? - before.0;
        let sockets = queues.iter().map(|queue| drops(net, queue)).collect::<Result<Vec<_>>>()?;
        let ours = queues.iter().map(|queue| counted(daemon, queue)).collect::<Result<Vec<_>>>()?;
        let lost = nobodys(daemon)? - before.1;
        said = format!(
            "the kernel: {kernels} in the namespace, {sockets:?} dropped at the listeners; the daemon: {ours:?}, and {lost} of nobody's"
        );
        let fit = ours.iter().zip(&sockets).all(|(overflows, drops)| stage.fits(*overflows, *drops));
        Ok(ours.iter().sum::<u64>() == kernels && fit && lost == 0)
    });
    agreed.with_context(|| said.clone())?;
    Ok(said)
}

fn offer(net: &Net, queue: &Queue, stage: Stage) -> Result<Vec<Tcp>> {
    let connect = |count| (0..count).map(|_| Tcp::offer(&net.client, queue.at)).collect::<Result<Vec<_>>>();
    if stage == Stage::Syn {
        return connect(OFFERED);
    }
    // The SYN-ACKs of the late ones are held back until the early ones have taken the room.
    let hold = format!("tcp sport {} tcp dport {LATE}-{}", queue.at.port(), LATE + OFFERED);
    let held = Rule::drop(&net.client, "input", &hold)?;
    let late = (0..BACKLOG).map(|n| Tcp::knock(&net.client, at(client(queue), LATE + n), queue.at));
    let mut all = late.collect::<Result<Vec<_>>>()?;
    held.met(u64::from(BACKLOG), NOTICED)?;
    all.extend(connect(BACKLOG + 1)?);
    Ok(all)
}

fn client(queue: &Queue) -> IpAddr {
    if queue.at.is_ipv4() { Family::V4.client() } else { Family::V6.client() }
}

/// Full, with the owner and the limit.
fn shown(daemon: &Daemon, queue: &Queue) -> Result<()> {
    let port = queue.at.port();
    until_true("the queue's length and limit, and their owner", NOTICED, || {
        let metrics = daemon.metrics()?;
        let of = |name: &str| {
            metrics.listener(name, port).is_some_and(|(owner, value)| {
                owner == OWNER && value == u64::from(if name.ends_with("limit") { BACKLOG } else { BACKLOG + 1 })
            })
        };
        Ok(of("listen_queue_length") && of("listen_queue_limit"))
    })
}

fn counted(daemon: &Daemon, queue: &Queue) -> Result<u64> {
    let metrics = daemon.metrics()?;
    Ok(metrics
        .listener("listen_overflows_total", queue.at.port())
        .filter(|(owner, _)| *owner == OWNER)
        .map_or(0, |(_, value)| value))
}

/// Overflows that the daemon could give to no listener.
fn nobodys(daemon: &Daemon) -> Result<u64> {
    Ok(daemon.metrics()?.unattributed_overflows())
}

/// `sk_drops` of a listener: the last of what `ss -m` shows.
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
    fn drops_stand_among_the_memory() {
        let said = "LISTEN 3 2 10.77.2.2:10001 0.0.0.0:*\n\t skmem:(r0,rb131072,t0,tb16384,f0,w0,o0,bl0,d21)\n";
        assert_eq!(super::dropped(said), Some(21));
        assert_eq!(super::dropped("LISTEN 3 2"), None);
    }
}
