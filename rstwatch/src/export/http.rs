//! Serving HTTP with limits: slow or many clients cannot hold memory, keep the agent from ending, or stall a scrape.
//!
//! A connection is in one of the states of `table`, each with a budget of its own. Where one is used up, the oldest
//! connection of the peer that holds most of it gives way to the new one. So a scrape meets a free place, however many
//! clients dawdle. `gate` holds what is asked of a request, `stream` how long its answer may take.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::web_config::reload::Web;
use gate::Gate;
use stream::{Socket, Stream};
use table::{Table, Ticket};

mod gate;
mod stream;
pub(super) mod table;

/// Requests answered at once, unless told otherwise: as many as the exporters of Prometheus take.
pub const MAX_REQUESTS: usize = 40;

/// How long a client may take to shake hands, and how long then to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest request head in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Most lines in it.
const MAX_HEADERS: usize = 100;

/// After so long without an acknowledgement a client is given up.
const VANISHED: Duration = Duration::from_secs(60);

/// Bytes of an answer that the kernel may hold for a client; it takes twice as much for its books.
const SEND_BUFFER: usize = 256 * 1024;

/// How long open connections may take to end.
const GRACE: Duration = Duration::from_millis(500);

/// What is served, to whom, and how much of it at once.
pub struct Service {
    /// The routes.
    pub router: Router,
    /// TLS and users, if there are any.
    pub web: Option<Arc<Web>>,
    /// Requests answered at once; 0: as many as come.
    pub max_requests: usize,
    /// Name of this host, by which it may be asked.
    pub node: Arc<str>,
}

/// What connections share.
struct Shared {
    gate: Gate,
    web: Option<Arc<Web>>,
    table: Arc<Table>,
}

/// Serves until `stop` becomes true, then ends within half a second.
pub async fn serve(listeners: Vec<TcpListener>, service: Service, stop: watch::Receiver<bool>) {
    let Service { router, web, max_requests, node } = service;
    let gate = Gate::new(router, web.clone(), node);
    let shared = Arc::new(Shared { gate, web, table: Arc::new(Table::new(max_requests)) });
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, Arc::clone(&shared), stop.clone()));
    }
    accepting.join_all().await;
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let stopped = stop.clone();
    let end = async move { _ = stop.wait_for(|stop| *stop).await };
    tokio::pin!(end);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                watch_over(&stream);
                let ticket = shared.table.enter(peer.ip());
                connections.spawn(connection(stream, peer, Arc::clone(&shared), ticket, stopped.clone()));
            }
            Err(error) => {
                // Most likely out of file descriptors: let some connections end.
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    // Nobody may connect any more; who does not end in time is cut off when the set is dropped.
    drop(listener);
    _ = tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

/// A reader that vanished is found out, and gives its place back; one that is slow holds little of the kernel's memory. An error
/// leaves things as they were.
fn watch_over(stream: &TcpStream) {
    _ = sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER);
    _ = sockopt::set_socket_keepalive(stream, true);
    _ = sockopt::set_tcp_keepidle(stream, VANISHED / 2);
    _ = sockopt::set_tcp_keepintvl(stream, VANISHED / 6);
    _ = sockopt::set_tcp_user_timeout(stream, u32::try_from(VANISHED.as_millis()).unwrap_or(u32::MAX));
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    ticket: Ticket,
    stop: watch::Receiver<bool>,
) {
    let ticket = Arc::new(ticket);
    let evicted = Arc::clone(&ticket);
    let served = async {
        let Ok(local) = stream.local_addr() else { return };
        let asked = Asked { peer, local, ticket };
        match &shared.web {
            Some(web) if web.has_tls() => {
                let mut stop = stop.clone();
                let secured = tokio::time::timeout(HEAD_TIMEOUT, secure(stream, web));
                let secured = tokio::select! {
                    secured = secured => secured,
                    _ = stop.wait_for(|stop| *stop) => return,
                };
                match secured {
                    Ok(Ok(stream)) => http(stream, asked, &shared, stop).await,
                    Ok(Err(error)) => tracing::debug!("no TLS with {peer}: {error}"),
                    Err(_) => tracing::debug!("no TLS with {peer}: too slow"),
                }
            }
            _ => http(stream, asked, &shared, stop).await,
        }
    };
    tokio::select! {
        () = served => {}
        () = evicted.evicted() => tracing::debug!("connection from {peer} gave way to another"),
    }
}

/// Who asks, where, and its place in the table.
struct Asked {
    peer: SocketAddr,
    local: SocketAddr,
    ticket: Arc<Ticket>,
}

/// TLS with the certificates as they are now.
async fn secure(stream: TcpStream, web: &Arc<Web>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    let is_plain = stream.peek(&mut first).await? == 1 && first[0].is_ascii_alphabetic();
    if is_plain {
        return Err(tell_plain(stream).await);
    }
    let Some(tls) = web.current().await.tls.clone() else { return Err(std::io::Error::other("TLS is off")) };
    TlsAcceptor::from(tls).accept(stream).await
}

/// Whoever speaks HTTP where TLS is spoken is told so, in Go's words, as by other exporters.
async fn tell_plain(mut stream: TcpStream) -> std::io::Error {
    let text = "HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    _ = stream.write_all(text.as_bytes()).await;
    _ = stream::end(&mut stream).await;
    std::io::Error::other("HTTP without TLS")
}

async fn http<S>(stream: S, asked: Asked, shared: &Arc<Shared>, mut stop: watch::Receiver<bool>)
where
    S: Socket + Send + 'static,
{
    let ticket = Arc::clone(&asked.ticket);
    let (asked, shared) = (Arc::new(asked), Arc::clone(shared));
    let service = service_fn(move |request| {
        let (asked, shared) = (Arc::clone(&asked), Arc::clone(&shared));
        Box::pin(async move { Ok::<_, std::convert::Infallible>(shared.gate.answer(request, &asked).await) })
    });
    // One request each: a tool that hunts idle connections reaped too early leaves none idle itself.
    let mut connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Stream::new(stream, ticket)), service);
    // Errors are the client's: it went away, or sent what is no HTTP.
    let is_stopped = tokio::select! {
        _ = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)) => false,
        _ = stop.wait_for(|stop| *stop) => true,
    };
    if is_stopped {
        Pin::new(&mut connection).graceful_shutdown();
        _ = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    }
    // Also after an error, so that what was answered to it arrives.
    _ = connection.into_parts().io.into_inner().shutdown().await;
}

#[cfg(test)]
mod tests;
