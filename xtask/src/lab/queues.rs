//! Accept queues: what the daemon says of listeners whose queues overflow, against the kernel's own account of the
//! namespace (`ListenOverflows`) and of each socket (`sk_drops`, by `ss`).

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::agents::Daemon;
use super::net::Net;
use super::peer::Peer;
use super::place::{Family, at};
use super::procnet::listen_overflows;
use super::sock::Tcp;
use super::wait::until_true;

/// What the helper calls itself: the owner that the daemon is to find.
pub(super) const OWNER: &str = "lab-queue";
/// The queue takes one connection more than this.
const BACKLOG: u32 = 2;
/// Connections that each listener is offered.
const OFFERED: usize = 12;
/// The daemon looks every second; a busy or emulated machine less often.
const NOTICED: Duration = Duration::from_secs(30);

/// A listener of a process in the server's namespace, which accepts nothing.
struct Queue {
    _peer: Peer,
    at: SocketAddr,
}

/// Fills the queues of two listeners at once, and waits until the daemon's account is the kernel's.
pub(super) fn overflow(net: &Net, daemon: &Daemon, abort: bool, port: u16) -> Result<String> {
    let server = &net.server;
    let _abort = server.sysctl("ipv4.tcp_abort_on_overflow", if abort { "1" } else { "0" })?;
    let before = listen_overflows(server)?;
    let queues = [(Family::V4, port), (Family::V6, port + 1)].map(|(family, port)| {
        let at = at(family.server(), port);
        Peer::start(server, &net.janitor, "queue", at, BACKLOG as usize).map(|peer| Queue { _peer: peer, at })
    });
    let [first, second] = queues;
    let queues = [first?, second?];
    let offered: Vec<_> = queues.iter().map(|queue| offer(net, queue)).collect::<Result<_>>()?;
    until_true("overflows", NOTICED, || Ok(listen_overflows(server)? > before))?;
    queues.iter().try_for_each(|queue| shown(daemon, queue))?;
    // Nobody knocks any more, and what was counted stands still.
    drop(offered);
    let mut said = String::new();
    let agreed = until_true("the daemon's account as the kernel's", NOTICED, || {
        let kernels = listen_overflows(server)? - before;
        let sockets = queues.iter().map(|queue| drops(net, queue)).collect::<Result<Vec<_>>>()?;
        let ours = queues.iter().map(|queue| counted(daemon, queue)).collect::<Result<Vec<_>>>()?;
        said = format!("the kernel: {kernels} in the namespace, {sockets:?} at the listeners; the daemon: {ours:?}");
        Ok(ours.iter().sum::<u64>() == kernels && ours == sockets && ours.iter().all(|count| *count > 0))
    });
    agreed.with_context(|| said.clone())?;
    Ok(said)
}

fn offer(net: &Net, queue: &Queue) -> Result<Vec<Tcp>> {
    (0..OFFERED).map(|_| Tcp::offer(&net.client, queue.at)).collect()
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
