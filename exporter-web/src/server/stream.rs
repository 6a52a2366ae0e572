//! Cuts off clients that do not read their response.

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

use super::connections::Slot;

/// How long a write may make no progress.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long, and how many bytes, a lingering close reads.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// A TCP connection, or TLS over one.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// The TCP connection.
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

/// A stream with timeouts for writes, closed in a way that loses no response.
pub(super) struct TimedStream<S: Socket> {
    inner: S,
    slot: Arc<Slot>,
    /// Runs while a write is pending.
    write_timeout: Option<Pin<Box<Sleep>>>,
    /// A timeout has expired: every further write fails.
    is_timed_out: bool,
    close: LingeringClose,
}

impl<S: Socket> TimedStream<S> {
    /// Wraps the stream of the connection that has this slot.
    pub(super) fn new(inner: S, slot: Arc<Slot>) -> Self {
        Self { inner, slot, write_timeout: None, is_timed_out: false, close: LingeringClose::default() }
    }

    /// Passes on the result of a write, unless the write or the whole response has taken too long.
    fn check_timeouts<T>(&mut self, cx: &mut Context<'_>, written: Poll<Result<T>>) -> Poll<Result<T>> {
        let deadline = self.slot.deadline();
        if self.is_timed_out || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.is_timed_out = true;
            return Poll::Ready(Err(timed_out()));
        }
        if written.is_ready() {
            self.write_timeout = None;
            self.slot.record_progress();
            return written;
        }
        let stalled_at = Instant::now() + WRITE_TIMEOUT;
        let until = deadline.map_or(stalled_at, |deadline| deadline.min(stalled_at));
        let timeout = self.write_timeout.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until.into())));
        ready!(timeout.as_mut().poll(cx));
        self.is_timed_out = true;
        Poll::Ready(Err(timed_out()))
    }
}

impl<S: Socket> Drop for TimedStream<S> {
    /// Resets a connection that is cut off: after an orderly close the kernel would keep retransmitting the unread data.
    fn drop(&mut self) {
        if !self.close.is_shut_down {
            _ = sockopt::set_socket_linger(self.inner.tcp(), Some(Duration::ZERO));
        }
    }
}

fn timed_out() -> Error {
    Error::new(ErrorKind::TimedOut, "the client does not read its response")
}

impl<S: Socket> AsyncRead for TimedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: Socket> AsyncWrite for TimedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.check_timeouts(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.check_timeouts(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.check_timeouts(cx, flushed)
    }

    /// Shuts down the write side, then reads what the client still sends, see [`LingeringClose`].
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.close.is_shut_down {
            let shut_down = Pin::new(&mut self.inner).poll_shutdown(cx);
            ready!(self.check_timeouts(cx, shut_down))?;
            self.close.is_shut_down = true;
            self.slot.finish();
        }
        let Self { inner, close, .. } = &mut *self;
        close.poll(inner, cx)
    }
}

/// Reads what the client sends after the write side is shut down.
///
/// A socket that is closed while unread data are queued sends a reset, which can make the client discard the response.
#[derive(Default)]
struct LingeringClose {
    is_shut_down: bool,
    read: usize,
    timeout: Option<Pin<Box<Sleep>>>,
}

impl LingeringClose {
    /// Ready when the client has closed its side too, or a limit is reached.
    fn poll<S: AsyncRead + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut discarded = [0; 4096];
        while self.read < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut discarded);
            match Pin::new(&mut *stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => self.read += buf.filled().len(),
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    let timeout = self.timeout.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER_TIMEOUT)));
                    return timeout.as_mut().poll(cx).map(Ok);
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Closes a stream without timeouts for writes in the same way.
pub(super) async fn close<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<()> {
    stream.shutdown().await?;
    let mut close = LingeringClose::default();
    std::future::poll_fn(|cx| close.poll(stream, cx)).await
}
