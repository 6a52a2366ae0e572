//! The HTTP server: accepts connections and serves a router, with limits for clients that are slow or too many.

mod connections;
mod stream;
mod host;
mod handler;
mod connection;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::WebConfig;
use connections::Connections;
use handler::Handler;
use host::HostNames;

pub use handler::Streaming;

/// Default of [`Server::max_requests`], as in Prometheus exporters written in Go.
pub const DEFAULT_MAX_REQUESTS: usize = 40;

/// How long open connections may take to end when the server stops.
const GRACE: Duration = Duration::from_millis(500);

/// Pause after a connection could not be accepted.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(200);

/// What is served, and its limits.
#[must_use = "a server does nothing until it serves"]
pub struct Server {
    router: Router,
    web_config: Option<Arc<WebConfig>>,
    max_requests: usize,
    host_names: Vec<String>,
    probe_paths: Vec<String>,
}

impl Server {
    /// Serves these routes, without TLS and passwords.
    pub fn new(router: Router) -> Self {
        let (host_names, probe_paths) = (Vec::new(), Vec::new());
        Self { router, web_config: None, max_requests: DEFAULT_MAX_REQUESTS, host_names, probe_paths }
    }

    /// TLS, users, headers and the rate limit of `--web.config.file`; none: the flag is not given.
    pub fn web_config(self, web_config: Option<Arc<WebConfig>>) -> Self {
        Self { web_config, ..self }
    }

    /// Requests handled at once, as `--web.max-requests`; 0: no limit. More are queued for a second, then refused.
    pub fn max_requests(self, max_requests: usize) -> Self {
        Self { max_requests, ..self }
    }

    /// A further name of this host that requests may use, see the crate's documentation on DNS rebinding.
    ///
    /// The kernel's host name, `localhost` and addresses are always accepted.
    pub fn host_name(mut self, name: impl Into<String>) -> Self {
        self.host_names.push(name.into());
        self
    }

    /// Paths of health probes, such as `/healthz`: they need no password and are not limited.
    ///
    /// While there are users, an unsuccessful response keeps its status, but its body is replaced, so that it reveals no
    /// details.
    pub fn probe_paths(mut self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.probe_paths.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Serves until `stop` becomes true or its sender is dropped; then ends within half a second.
    pub async fn serve(self, listeners: Vec<TcpListener>, stop: watch::Receiver<bool>) {
        let Self { router, web_config: config, max_requests, host_names, probe_paths } = self;
        let host_names = HostNames::new(host_names);
        let handler = Arc::new(Handler { router, config, host_names, probe_paths });
        let connections = Arc::new(Connections::new(max_requests));
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept(listener, Arc::clone(&handler), Arc::clone(&connections), stop.clone()));
        }
        accepting.join_all().await;
    }
}

async fn accept(
    listener: TcpListener,
    handler: Arc<Handler>,
    connections: Arc<Connections>,
    mut stop: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    let stopped = stop.clone();
    let end = async move { _ = stop.wait_for(|stop| *stop).await };
    tokio::pin!(end);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => break,
        };
        while tasks.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let slot = connections.insert(peer.ip());
                tasks.spawn(connection::serve(stream, peer, slot, Arc::clone(&handler), stopped.clone()));
            }
            Err(error) => {
                // Most likely out of file descriptors: wait until connections end.
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    // Refuse new connections at once; the rest is cut off when the set is dropped.
    drop(listener);
    _ = tokio::time::timeout(GRACE, async { while tasks.join_next().await.is_some() {} }).await;
}

#[cfg(test)]
mod tests;
