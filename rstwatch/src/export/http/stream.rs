//! A connection's bytes, with limits for clients that do not take theirs.

use std::future::Future;
use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use super::table::Ticket;

/// How long a client may take nothing at all.
const STALLED: Duration = Duration::from_secs(10);

/// How long, and how much, is read of what a client still sends after it was answered.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// What is a TCP connection in the end.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// The connection.
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// The stream below, guarded.
pub(super) struct Stream<S: Socket> {
    below: S,
    ticket: Arc<Ticket>,
    /// Since the last write could not go on.
    stalled: Option<Pin<Box<Sleep>>>,
    /// It was too slow: there is nothing to wait for.
    is_cut: bool,
    end: End,
}

impl<S: Socket> Stream<S> {
    pub(super) fn new(below: S, ticket: Arc<Ticket>) -> Self {
        Self { below, ticket, stalled: None, is_cut: false, end: End::default() }
    }

    /// Lets a write pass unless it, or the whole answer, takes too long.
    fn guard<T>(&mut self, cx: &mut Context<'_>, written: Poll<Result<T>>) -> Poll<Result<T>> {
        let deadline = self.ticket.deadline();
        if self.is_cut || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.is_cut = true;
            return Poll::Ready(Err(too_slow()));
        }
        if written.is_ready() {
            self.stalled = None;
            self.ticket.took();
            return written;
        }
        let until = (Instant::now() + STALLED).min(deadline.unwrap_or_else(|| Instant::now() + STALLED));
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until.into())));
        ready!(stalled.as_mut().poll(cx));
        self.is_cut = true;
        Poll::Ready(Err(too_slow()))
    }
}

impl<S: Socket> Drop for Stream<S> {
    /// Who is cut off gets a reset: closed in peace, the kernel would keep what was not taken, and go on offering it.
    fn drop(&mut self) {
        if !self.end.is_shut {
            _ = sockopt::set_socket_linger(self.below.tcp(), Some(Duration::ZERO));
        }
    }
}

fn too_slow() -> Error {
    Error::new(ErrorKind::TimedOut, "the client does not take its answer")
}

impl<S: Socket> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.below).poll_read(cx, buf)
    }
}

impl<S: Socket> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.below).poll_write(cx, buf);
        self.guard(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.below).poll_write_vectored(cx, bufs);
        self.guard(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.below.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let flushed = Pin::new(&mut self.below).poll_flush(cx);
        self.guard(cx, flushed)
    }

    /// Ends our side, then takes what the client still sends: closed at once, the kernel would answer that with a reset, and
    /// the client might lose the answer.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.end.is_shut {
            let shut = Pin::new(&mut self.below).poll_shutdown(cx);
            ready!(self.guard(cx, shut))?;
            self.end.is_shut = true;
            self.ticket.end();
        }
        let Self { below, end, .. } = &mut *self;
        end.poll(below, cx)
    }
}

/// What is left to do once our side has ended.
#[derive(Default)]
struct End {
    is_shut: bool,
    read: usize,
    patience: Option<Pin<Box<Sleep>>>,
}

impl End {
    /// Reads until the client ends its side too, or for long enough.
    fn poll<S: AsyncRead + Unpin>(&mut self, from: &mut S, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut room = [0; 4096];
        while self.read < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut room);
            match Pin::new(&mut *from).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => self.read += buf.filled().len(),
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
                    return patience.as_mut().poll(cx).map(Ok);
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Ends a stream that is not guarded the same way.
pub(super) async fn end<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<()> {
    stream.shutdown().await?;
    let mut end = End::default();
    std::future::poll_fn(|cx| end.poll(stream, cx)).await
}
