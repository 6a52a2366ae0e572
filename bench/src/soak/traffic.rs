//! Resets of many causes, between many addresses, by many programs.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::cpu::{self, pin};
use crate::load::{self, set_process_name};
use crate::network;
use crate::resets;
use crate::subject::conservation::own_out_rsts;

/// A port without a listener.
const CLOSED: u16 = 1;
/// Connections per namespace and listener.
const ROUND: u64 = 4_000;
/// Connections per process name.
const PER_NAME: u64 = 16;
/// Process names: more than the agent keeps series for.
const NAMES: u64 = 3_000;

/// Progress of the traffic.
pub(super) struct Traffic {
    /// Connections to make. Each ends with a reset that one end sends and the other receives.
    wanted: u64,
    beginning: u64,
    made: AtomicU64,
    stop: AtomicBool,
    working: AtomicU64,
}

/// A worker's thread, which returns the number of resets that it made.
type Worker<'scope> = ScopedJoinHandle<'scope, Result<u64>>;

impl Traffic {
    /// `events`: resets to make in all; `beginning`: those after which the agent is sampled.
    pub(super) fn new(events: u64, beginning: u64) -> Self {
        let working = AtomicU64::new(cpu::available().len() as u64);
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
        cpu::available().into_iter().map(|cpu| scope.spawn(move || self.work(cpu))).collect()
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
            // The kernel removes the previous round's namespace with everything in it.
            network::enter()?;
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
    if number % PER_NAME < 7 {
        set_process_name(&format!("soak-{}", number / PER_NAME % NAMES))?;
    }
    let port = listener.local_addr()?.port();
    // One of loopback's 16 million addresses, without the broadcast address.
    let host = Ipv4Addr::from(0x7f00_0001 + u32::try_from(number.wrapping_mul(2_654_435_761) % 0x00ff_fff0)?);
    let to = SocketAddr::from((host, port));
    match number % KINDS {
        0 => load::refused((host, CLOSED).into()),
        1 => load::refused((Ipv6Addr::LOCALHOST, CLOSED).into()),
        2 => connection(listener, to).and_then(|(client, server)| resets::abort(client, server)),
        3 => connection(listener, to).and_then(|(client, server)| resets::unread(client, server)),
        4 => unaccepted(host),
        _ => connection(listener, to).and_then(|(client, server)| resets::after_close(client, server)),
    }
}

/// The server closes its listener before it accepts.
fn unaccepted(host: Ipv4Addr) -> Result<()> {
    let listener = TcpListener::bind((host, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    drop(listener);
    resets::is_reset(&mut client)
}

/// A connection to the listener: the client's end, and the server's.
fn connection(listener: &TcpListener, to: SocketAddr) -> Result<(TcpStream, TcpStream)> {
    Ok((TcpStream::connect(to)?, listener.accept()?.0))
}
