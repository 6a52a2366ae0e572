//! TCP sockets in namespaces that send no reset unless requested.

use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::network::ns::Ns;
use crate::wait::{SOON, until};

mod others;
pub(crate) mod repair;

pub(crate) use others::{Listener, Raw, forge};

/// A TCP socket. When dropped it vanishes without a packet, so that the leftovers of a scenario never cause a reset.
/// [`Tcp::close`] and [`Tcp::abort`] do what programs do.
pub(crate) struct Tcp {
    socket: Socket,
    silent: bool,
}

impl Tcp {
    /// An unconnected socket in this namespace.
    pub(crate) fn new(ns: &Ns, to: SocketAddr) -> Result<Self> {
        Self::with_protocol(ns, Protocol::TCP, to)
    }

    /// A socket of another protocol, such as MPTCP.
    pub(crate) fn with_protocol(ns: &Ns, protocol: Protocol, to: SocketAddr) -> Result<Self> {
        let domain = Domain::for_address(to);
        let socket = ns.run(|| Ok(Socket::new(domain, Type::STREAM, Some(protocol))?))?;
        Ok(Self::of(socket)?)
    }

    fn of(socket: Socket) -> std::io::Result<Self> {
        socket.set_read_timeout(Some(SOON))?;
        socket.set_write_timeout(Some(SOON))?;
        socket.set_tcp_nodelay(true)?;
        Ok(Self { socket, silent: true })
    }

    pub(crate) fn connect(ns: &Ns, to: SocketAddr) -> Result<Self> {
        let tcp = Self::new(ns, to)?;
        tcp.join(to).with_context(|| format!("connect to {to}"))?;
        Ok(tcp)
    }

    pub(crate) fn join(&self, to: SocketAddr) -> std::io::Result<()> {
        self.socket.connect_timeout(&to.into(), SOON)
    }

    /// Connects from a known source port.
    pub(crate) fn connect_from(ns: &Ns, from: SocketAddr, to: SocketAddr) -> Result<Self> {
        let tcp = Self::new(ns, to)?;
        tcp.socket.set_reuse_address(true)?;
        tcp.socket.bind(&from.into())?;
        tcp.join(to).with_context(|| format!("connect to {to}"))?;
        Ok(tcp)
    }

    /// Starts to connect without waiting.
    pub(crate) fn offer(ns: &Ns, to: SocketAddr) -> Result<Self> {
        let tcp = Self::new(ns, to)?;
        tcp.socket.set_nonblocking(true)?;
        match tcp.socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error.into()),
            _ => Ok(tcp),
        }
    }

    /// Sends a SYN from a known source port without waiting for the answer.
    pub(crate) fn send_syn(ns: &Ns, from: SocketAddr, to: SocketAddr) -> Result<Self> {
        let tcp = Self::new(ns, to)?;
        tcp.socket.set_reuse_address(true)?;
        tcp.socket.bind(&from.into())?;
        tcp.started(to)
    }

    /// Sends a SYN from any port without waiting for the answer.
    pub(crate) fn start(ns: &Ns, to: SocketAddr) -> Result<Self> {
        Self::new(ns, to)?.started(to)
    }

    fn started(self, to: SocketAddr) -> Result<Self> {
        self.socket.set_nonblocking(true)?;
        match self.socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(self),
            Err(error) => Err(error.into()),
            Ok(()) => bail!("connected at once, which no remote peer allows"),
        }
    }

    pub(crate) fn options(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> Result<()> {
        (&self.socket).write_all(bytes).context("send")
    }

    /// Reads this many bytes.
    pub(crate) fn receive(&self, bytes: usize) -> Result<()> {
        self.take(bytes).map(drop)
    }

    /// Reads and returns this many bytes.
    pub(crate) fn take(&self, bytes: usize) -> Result<Vec<u8>> {
        let mut taken = vec![0; bytes];
        (&self.socket).read_exact(&mut taken).context("receive")?;
        Ok(taken)
    }

    /// Reads until the data ends with this text, and returns them.
    pub(crate) fn receive_until(&self, end: &[u8]) -> Result<Vec<u8>> {
        let mut heard = Vec::new();
        while !heard.ends_with(end) {
            let mut some = [0; 4096];
            let count = (&self.socket).read(&mut some).context("receive")?;
            ensure!(count > 0, "the connection ended before the response did");
            heard.extend_from_slice(some.get(..count).unwrap_or_default());
        }
        Ok(heard)
    }

    /// The next read must be the end of the stream.
    pub(crate) fn reads_eof(&self) -> Result<()> {
        let count = (&self.socket).read(&mut [0; 16]).context("end of stream")?;
        ensure!(count == 0, "data instead of the end of the stream");
        Ok(())
    }

    /// The next read must fail with exactly this error.
    pub(crate) fn read_fails(&self, errno: i32) -> Result<()> {
        let got = (&self.socket).read(&mut [0; 16]);
        expect(errno, got.map(|count| format!("{count} bytes")))
    }

    /// Waits for the socket's error without reading, because after the peer's FIN a read returns only the end of the stream.
    pub(crate) fn error_is(&self, errno: i32) -> Result<()> {
        let ask = || Ok(self.socket.take_error()?);
        let error = until("the socket's error", SOON, ask)?;
        expect(errno, Err::<String, _>(error))
    }

    /// Sends until the connection fails or the time is over. Returns whether it failed.
    pub(crate) fn pour(&self, chunk: &[u8], pause: Duration, time: Duration) -> bool {
        let started = Instant::now();
        while started.elapsed() < time {
            if (&self.socket).write_all(chunk).is_err() {
                return true;
            }
            sleep(pause);
        }
        false
    }

    /// Reads and discards data until the stream ends or fails.
    pub(crate) fn drain(&self) -> std::io::Result<()> {
        let mut some = vec![0; 65_536];
        while (&self.socket).read(&mut some)? > 0 {}
        Ok(())
    }

    /// Sets the initial TTL or hop limit of sent packets.
    pub(crate) fn ttl(&self, ttl: u8) -> Result<()> {
        match self.local()? {
            SocketAddr::V4(_) => self.socket.set_ttl_v4(ttl.into())?,
            SocketAddr::V6(_) => self.socket.set_unicast_hops_v6(ttl.into())?,
        }
        Ok(())
    }

    /// Sets a socket option that socket2 lacks.
    pub(crate) fn tcp_option(&self, option: i32, value: i32) -> Result<()> {
        Ok(repair::set(&self.socket, option, value)?)
    }

    /// connect(AF_UNSPEC): aborts the connection and keeps the socket.
    pub(crate) fn disconnect(&self) -> Result<()> {
        Ok(repair::disconnect(&self.socket)?)
    }

    /// The sequence number of the next byte to send.
    pub(crate) fn next_sequence(&self) -> Result<u32> {
        Ok(repair::next_sequence(&self.socket)?)
    }

    pub(crate) fn local(&self) -> Result<SocketAddr> {
        self.socket.local_addr()?.as_socket().context("not an internet address")
    }

    /// Ends the sending direction with a FIN.
    pub(crate) fn shut_down(&self) -> Result<()> {
        Ok(self.socket.shutdown(std::net::Shutdown::Write)?)
    }

    /// close(), as in any program.
    pub(crate) fn close(mut self) {
        self.silent = false;
    }

    /// Aborts the connection: SO_LINGER 0, then close().
    pub(crate) fn abort(self) -> Result<()> {
        self.socket.set_linger(Some(Duration::ZERO))?;
        self.close();
        Ok(())
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        if self.silent {
            // Fails only for a closed socket, which sends nothing more.
            let _ = repair::silence(&self.socket);
        }
    }
}

/// Checks that an operation failed with exactly this error.
pub(crate) fn expect<T: Debug>(errno: i32, got: std::io::Result<T>) -> Result<()> {
    let wanted = std::io::Error::from_raw_os_error(errno);
    match got {
        Err(error) if error.raw_os_error() == Some(errno) => Ok(()),
        other => bail!("the socket gave {other:?} instead of {wanted}"),
    }
}
