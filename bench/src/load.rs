//! The work that is measured. Every CPU has a client and its server, both pinned to it. So the machine is saturated, and
//! any CPU time that another program takes lowers the rate.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Serialize;
use socket2::SockRef;

use super::cpu::{self, pin};

const REQUEST: [u8; 64] = [b'q'; 64];
const RESPONSE: [u8; 512] = [b'r'; 512];
const BULK: usize = 64 << 10;
/// A port without a listener.
const CLOSED: u16 = 1;

/// One kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Load {
    /// Connect, request, response, close.
    Short,
    /// Bytes in one direction over a persistent connection.
    Bulk,
    /// Round trips of 64 bytes over a persistent connection.
    Small,
    /// SYNs to a closed port: each is answered by an RST.
    Refused,
    /// Connect, accept, abort: each ends with an RST.
    Aborted,
}

impl Load {
    /// All, in the order of docs/performance.md.
    pub(crate) const ALL: [Self; 5] = [Self::Short, Self::Bulk, Self::Small, Self::Refused, Self::Aborted];

    /// Whether each operation is a reset that one end sends and the other receives.
    pub(crate) fn resets(self) -> bool {
        matches!(self, Self::Refused | Self::Aborted)
    }
}

/// The work that was done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    /// Operations.
    pub(crate) count: u64,
    /// Operations a second, over all CPUs.
    pub(crate) rate: f64,
}

/// Does the work on every CPU for this long.
pub(crate) fn run(load: Load, time: Duration) -> Result<Done> {
    let stop = AtomicBool::new(false);
    let workers =
        cpu::available().into_iter().map(|cpu| Ok((cpu, Worker::prepare(load, cpu)?))).collect::<Result<Vec<_>>>()?;
    thread::scope(|scope| {
        let stop = &stop;
        let running: Vec<_> = workers
            .into_iter()
            .map(|(cpu, worker)| {
                scope.spawn(move || {
                    pin(cpu)?;
                    let began = Instant::now();
                    let count = worker.run(cpu, stop)?;
                    Ok((count, began.elapsed()))
                })
            })
            .collect();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        let mut done = Done { count: 0, rate: 0.0 };
        for worker in running {
            let (count, elapsed) = worker.join().unwrap_or_else(|_| Err(anyhow!("a worker panicked")))?;
            done.count += count;
            done.rate += per_second(count, elapsed);
        }
        Ok(done)
    })
}

#[expect(clippy::cast_precision_loss, reason = "rates are shown with a few digits")]
fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// The sockets of one CPU.
enum Worker {
    Short(Peers),
    Bulk(TcpStream, TcpStream),
    Small(TcpStream, TcpStream),
    Refused(Peers),
    Aborted(Peers),
}

/// A listener, and its loopback addresses in turn, so that TIME_WAIT sockets never occupy the address pair of a new connection.
struct Peers {
    listener: TcpListener,
    port: u16,
    turn: u32,
}

impl Peers {
    fn new(cpu: usize) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port, turn: u32::try_from(cpu)?.wrapping_mul(7919) })
    }

    fn next(&mut self, port: u16) -> SocketAddr {
        self.turn = self.turn.wrapping_add(1);
        (Ipv4Addr::from(0x7f01_0000 | (self.turn & 0xffff)), port).into()
    }
}

impl Worker {
    fn prepare(load: Load, cpu: usize) -> Result<Self> {
        let peers = Peers::new(cpu)?;
        Ok(match load {
            Load::Short => Self::Short(peers),
            Load::Refused => Self::Refused(peers),
            Load::Aborted => Self::Aborted(peers),
            Load::Bulk | Load::Small => {
                let client = TcpStream::connect((Ipv4Addr::LOCALHOST, peers.port))?;
                let server = peers.listener.accept()?.0;
                client.set_nodelay(true)?;
                server.set_nodelay(true)?;
                if load == Load::Bulk { Self::Bulk(client, server) } else { Self::Small(client, server) }
            }
        })
    }

    fn run(self, cpu: usize, stop: &AtomicBool) -> Result<u64> {
        match self {
            Self::Short(peers) => short(peers, cpu, stop),
            Self::Bulk(client, server) => bulk(client, server, cpu, stop),
            Self::Small(client, server) => small(client, server, cpu, stop),
            Self::Refused(mut peers) => until(stop, || refused(peers.next(CLOSED))),
            Self::Aborted(mut peers) => until(stop, || {
                let to = peers.next(peers.port);
                abort(&peers.listener, to)
            }),
        }
    }
}

/// Repeats an operation until told to stop, and counts.
fn until(stop: &AtomicBool, mut once: impl FnMut() -> Result<()>) -> Result<u64> {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        once()?;
        count += 1;
    }
    Ok(count)
}

/// A SYN to a port without a listener.
pub(crate) fn refused(to: SocketAddr) -> Result<()> {
    match TcpStream::connect(to) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error).context("a connect that should be refused"),
        Ok(_) => bail!("{to} accepts connections, but should refuse them"),
    }
}

/// A connection that its client aborts.
pub(crate) fn abort(listener: &TcpListener, to: SocketAddr) -> Result<()> {
    let client = TcpStream::connect(to)?;
    let _server = listener.accept()?;
    SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    drop(client);
    Ok(())
}

fn short(mut peers: Peers, cpu: usize, stop: &AtomicBool) -> Result<u64> {
    let listener = peers.listener.try_clone()?;
    thread::scope(|scope| {
        let server = scope.spawn(move || {
            pin(cpu)?;
            while serve(&mut listener.accept()?.0)? {}
            Ok(())
        });
        let count = until(stop, || ask(peers.next(peers.port)));
        // A connection without a request ends the server.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, peers.port))?);
        server.join().unwrap_or_else(|_| Err(anyhow!("a server panicked")))?;
        count
    })
}

fn ask(to: SocketAddr) -> Result<()> {
    let mut connection = TcpStream::connect(to)?;
    connection.write_all(&REQUEST)?;
    connection.read_exact(&mut [0; RESPONSE.len()])?;
    Ok(())
}

/// Serves one connection. Returns whether a request came.
fn serve(connection: &mut TcpStream) -> Result<bool> {
    let mut request = [0; REQUEST.len()];
    if connection.read(&mut request)? == 0 {
        return Ok(false);
    }
    connection.write_all(&RESPONSE)?;
    // Read until the client closes, so that no data is left unread and no RST is sent.
    while connection.read(&mut request)? > 0 {}
    Ok(true)
}

fn bulk(mut client: TcpStream, mut server: TcpStream, cpu: usize, stop: &AtomicBool) -> Result<u64> {
    thread::scope(|scope| {
        let server = scope.spawn(move || {
            pin(cpu)?;
            let mut buffer = vec![0; BULK];
            while server.read(&mut buffer)? > 0 {}
            Ok(())
        });
        let data = vec![b'd'; BULK];
        let count = until(stop, || Ok(client.write_all(&data)?));
        drop(client);
        server.join().unwrap_or_else(|_| Err(anyhow!("a server panicked")))?;
        Ok(count? * BULK as u64)
    })
}

fn small(mut client: TcpStream, mut server: TcpStream, cpu: usize, stop: &AtomicBool) -> Result<u64> {
    thread::scope(|scope| {
        let server = scope.spawn(move || {
            pin(cpu)?;
            let mut message = [0; REQUEST.len()];
            loop {
                match server.read_exact(&mut message) {
                    Ok(()) => server.write_all(&message)?,
                    Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                    Err(error) => return Err(anyhow::Error::from(error)),
                }
            }
        });
        let count = until(stop, || {
            client.write_all(&REQUEST)?;
            Ok(client.read_exact(&mut [0; REQUEST.len()])?)
        });
        drop(client);
        server.join().unwrap_or_else(|_| Err(anyhow!("a server panicked")))?;
        count
    })
}

/// Sets this process's name from any of its threads. The agent takes it as the workload of the process's connections.
pub(crate) fn set_process_name(name: &str) -> Result<()> {
    std::fs::write("/proc/self/comm", name).context("/proc/self/comm")
}
