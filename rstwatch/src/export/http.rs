//! Serving HTTP with limits: slow or many clients cannot hold memory or keep the agent from ending.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Connections served at once; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 64;

/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest request head in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// After so long without an acknowledgement a client is given up.
const VANISHED: Duration = Duration::from_secs(60);

/// How long open connections may take to end.
const GRACE: Duration = Duration::from_millis(500);

/// Serves until `stop` becomes true, then ends within half a second.
pub async fn serve(listeners: Vec<TcpListener>, router: Router, stop: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, router.clone(), Arc::clone(&room), stop.clone()));
    }
    accepting.join_all().await;
}

async fn accept(listener: TcpListener, router: Router, room: Arc<Semaphore>, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let stopped = stop.clone();
    let end = async move { _ = stop.wait_for(|stop| *stop).await };
    tokio::pin!(end);
    loop {
        let next = async { (Arc::clone(&room).acquire_owned().await, listener.accept().await) };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            () = &mut end => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                watch_over(&stream);
                let connection = connection(stream, router.clone(), stopped.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
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

/// A reader that vanished is found out, and gives its place back. An error leaves things as they were.
fn watch_over(stream: &TcpStream) {
    _ = sockopt::set_socket_keepalive(stream, true);
    _ = sockopt::set_tcp_keepidle(stream, VANISHED / 2);
    _ = sockopt::set_tcp_keepintvl(stream, VANISHED / 6);
    _ = sockopt::set_tcp_user_timeout(stream, u32::try_from(VANISHED.as_millis()).unwrap_or(u32::MAX));
}

async fn connection(stream: TcpStream, router: Router, mut stop: watch::Receiver<bool>) {
    let service = TowerToHyperService::new(router);
    // One request each: a tool that hunts idle connections reaped too early leaves none idle itself.
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // Errors are the client's: it went away, or sent what is no HTTP.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    _ = connection.await;
}
