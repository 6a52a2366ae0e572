//! Resets of many causes, between many, by many.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use socket2::SockRef;

use crate::arena::{self, cpus, pin};
use crate::ledger::own_out_rsts;
use crate::load;
use crate::size::name;

/// Where nobody listens.
const CLOSED: u16 = 1;
/// Connections of one namespace and one listener, before others come.
const ROUND: u64 = 4_000;
/// Connections under one name.
const SPELL: u64 = 16;
/// Names of programs: more than have series of their own.
const NAMES: u64 = 3_000;

/// What is to be made, and what was.
pub(super) struct Traffic {
    /// Connections, each of which ends with a reset that one end sends and the other receives.
    wanted: u64,
    beginning: u64,
    made: AtomicU64,
    stop: AtomicBool,
    working: AtomicU64,
}

/// A worker's thread; it answers how many resets it made.
type Worker<'scope> = ScopedJoinHandle<'scope, Result<u64>>;

impl Traffic {
    /// So many resets in all; so many of them are the beginning.
    pub(super) fn new(events: u64, beginning: u64) -> Self {
        let working = AtomicU64::new(cpus().len() as u64);
        Self {
            wanted: events.div_ceil(2),
            beginning: beginning / 2,
            made: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            working,
        }
    }

    /// One worker for each CPU.
    pub(super) fn start<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> Vec<Worker<'scope>> {
        cpus().into_iter().map(|cpu| scope.spawn(move || self.work(cpu))).collect()
    }

    pub(super) fn join(workers: Vec<Worker<'_>>) -> Result<u64> {
        let made =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Err(anyhow!("a worker panicked"))));
        made.collect::<Result<Vec<u64>>>().map(|made| made.iter().sum())
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_done(&self) -> bool {
        self.working.load(Ordering::Relaxed) == 0
    }

    pub(super) fn has_begun(&self) -> bool {
        self.made.load(Ordering::Relaxed) >= self.beginning
    }

    fn work(&self, cpu: usize) -> Result<u64> {
        let made = pin(cpu).and_then(|()| self.rounds(cpu as u64));
        self.working.fetch_sub(1, Ordering::Relaxed);
        made
    }

    fn rounds(&self, salt: u64) -> Result<u64> {
        let mut sum = 0;
        let mut round = 0;
        while !self.stop.load(Ordering::Relaxed) && self.made.load(Ordering::Relaxed) < self.wanted {
            // The namespace of the round before goes, with what is left in it.
            arena::enter()?;
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            for turn in 0..ROUND {
                let number = (round * ROUND + turn) * 7 + salt;
                one(number, &listener).with_context(|| format!("reset of kind {}", number % KINDS))?;
                self.made.fetch_add(1, Ordering::Relaxed);
            }
            let sent = own_out_rsts()?;
            ensure!(sent == ROUND, "{ROUND} resets were made, but the kernel sent {sent}");
            sum += sent;
            round += 1;
        }
        Ok(sum)
    }
}

const KINDS: u64 = 6;

/// One connection, and its reset.
fn one(number: u64, listener: &TcpListener) -> Result<()> {
    if number % SPELL < 7 {
        name(&format!("soak-{}", number / SPELL % NAMES))?;
    }
    let port = listener.local_addr()?.port();
    // Of the loopback's sixteen million addresses; not its broadcast.
    let host = Ipv4Addr::from(0x7f00_0001 + u32::try_from(number.wrapping_mul(2_654_435_761) % 0x00ff_fff0)?);
    let to = SocketAddr::from((host, port));
    match number % KINDS {
        0 => load::refused((host, CLOSED).into()),
        1 => load::refused((Ipv6Addr::LOCALHOST, CLOSED).into()),
        2 => abort(listener, to),
        3 => unread(listener, to),
        4 => unaccepted(host),
        _ => after_close(listener, to),
    }
}

/// The client aborts, and the server has seen it before it closes: one that closes meanwhile need not receive the RST.
fn abort(listener: &TcpListener, to: SocketAddr) -> Result<()> {
    let client = TcpStream::connect(to)?;
    let mut server = listener.accept()?.0;
    SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    drop(client);
    is_reset(&mut server)
}

/// The server closes without having read.
fn unread(listener: &TcpListener, to: SocketAddr) -> Result<()> {
    let mut client = TcpStream::connect(to)?;
    client.write_all(b"request")?;
    drop(listener.accept()?);
    is_reset(&mut client)
}

/// The server stops before it accepts.
fn unaccepted(host: Ipv4Addr) -> Result<()> {
    let listener = TcpListener::bind((host, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    drop(listener);
    is_reset(&mut client)
}

/// The server closes, then the client asks.
fn after_close(listener: &TcpListener, to: SocketAddr) -> Result<()> {
    let mut client = TcpStream::connect(to)?;
    drop(listener.accept()?);
    ensure!(client.read(&mut [0])? == 0, "data out of nowhere");
    client.write_all(b"request")?;
    // The loopback answers before write() returns: the error is EPIPE, which only the next write tells.
    match client.write_all(b"more") {
        Err(_) => Ok(()),
        Ok(()) => bail!("a closed connection was not reset"),
    }
}

fn is_reset(client: &mut TcpStream) -> Result<()> {
    match client.read(&mut [0]) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error.into()),
        Ok(read) => bail!("{read} bytes where a reset was due"),
    }
}
