//! One connection: the TLS handshake, one request, and the close.

use std::convert::Infallible;
use std::io::{Error, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connections::Slot;
use super::handler::{Client, Handler};
use super::stream::{self, Socket, TimedStream};
use crate::config::WebConfig;

/// Time limit of the TLS handshake, and then of the request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest request head in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Maximum number of header fields in a request.
const MAX_HEADERS: usize = 100;

/// A client that acknowledges nothing for this long is gone.
const USER_TIMEOUT: Duration = Duration::from_secs(60);

/// Socket send buffer in bytes; the kernel doubles it to allow for its own bookkeeping.
const SEND_BUFFER: usize = 256 * 1024;

/// Serves an accepted connection until it is closed, evicted or stopped.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    slot: Slot,
    handler: Arc<Handler>,
    stop: watch::Receiver<bool>,
) {
    set_options(&stream);
    let slot = Arc::new(slot);
    let evicted = Arc::clone(&slot);
    let served = async {
        let Ok(local) = stream.local_addr() else { return };
        let client = Client { peer, local, slot };
        match &handler.config {
            Some(config) if config.has_tls() => {
                let Some(stream) = secure(stream, peer, config, stop.clone()).await else { return };
                http(stream, client, &handler, stop).await;
            }
            _ => http(stream, client, &handler, stop).await,
        }
    };
    tokio::select! {
        () = served => {}
        () = evicted.evicted() => tracing::debug!("closing the connection from {peer}: its slot is needed"),
    }
}

/// Bounds the kernel memory that a slow client occupies, and detects a client that is gone. Errors are ignored: the connection
/// works without these options.
fn set_options(stream: &TcpStream) {
    _ = sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER);
    _ = sockopt::set_socket_keepalive(stream, true);
    _ = sockopt::set_tcp_keepidle(stream, USER_TIMEOUT / 2);
    _ = sockopt::set_tcp_keepintvl(stream, USER_TIMEOUT / 6);
    _ = sockopt::set_tcp_user_timeout(stream, u32::try_from(USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX));
}

/// Does the TLS handshake; `None` if it failed or timed out, or the server is stopping.
async fn secure(
    stream: TcpStream,
    peer: SocketAddr,
    config: &Arc<WebConfig>,
    mut stop: watch::Receiver<bool>,
) -> Option<TlsStream<TcpStream>> {
    let handshake = tokio::time::timeout(HEAD_TIMEOUT, handshake(stream, config));
    let result = tokio::select! {
        result = handshake => result,
        _ = stop.wait_for(|stop| *stop) => return None,
    };
    match result {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => tracing::debug!("TLS handshake with {peer} failed: {error}"),
        Err(_) => tracing::debug!("TLS handshake with {peer} timed out"),
    }
    None
}

/// Does the handshake with the current certificates, or refuses plain HTTP.
async fn handshake(stream: TcpStream, config: &Arc<WebConfig>) -> Result<TlsStream<TcpStream>> {
    // The first byte of a TLS record is its type, below 32; that of an HTTP request is a letter.
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_alphabetic() {
        return Err(refuse_http(stream).await);
    }
    let Some(tls) = config.current().await.tls.clone() else { return Err(Error::other("TLS is off")) };
    TlsAcceptor::from(tls).accept(stream).await
}

/// Answers HTTP on a TLS port, with the text that Go's server sends.
async fn refuse_http(mut stream: TcpStream) -> Error {
    let text = "HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    _ = stream.write_all(text.as_bytes()).await;
    _ = stream::close(&mut stream).await;
    Error::other("HTTP without TLS")
}

async fn http<S>(stream: S, client: Client, handler: &Arc<Handler>, mut stop: watch::Receiver<bool>)
where
    S: Socket + Send + 'static,
{
    let stream = TimedStream::new(stream, Arc::clone(&client.slot));
    let (client, handler) = (Arc::new(client), Arc::clone(handler));
    let service = service_fn(move |request| {
        let (client, handler) = (Arc::clone(&client), Arc::clone(&handler));
        Box::pin(async move { Ok::<_, Infallible>(handler.handle(request, &client).await) })
    });
    // One request per connection: an idle connection in a client's pool could be closed just as it is reused.
    let mut connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    // Errors are the client's: it has disconnected, or sent something other than HTTP.
    let is_stopped = tokio::select! {
        _ = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)) => false,
        _ = stop.wait_for(|stop| *stop) => true,
    };
    if is_stopped {
        Pin::new(&mut connection).graceful_shutdown();
        _ = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    }
    // Close in order after an error too, so that the error response arrives.
    _ = connection.into_parts().io.into_inner().shutdown().await;
}
