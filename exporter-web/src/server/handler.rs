//! Handles one request: checks its host, the rate limit and its password, then passes it to the router.
//!
//! Health probes need no password and are not limited: a kubelet has no secret to send, and a refused liveness probe
//! restarts the exporter. The toolkit has no such exception (prometheus/prometheus#9166), so its users write passwords into
//! pod templates. While there are users, probes reveal success or failure only.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use tower_service::Service;

use super::connections::Slot;
use super::host::HostNames;
use crate::auth::{PasswordResult, credentials};
use crate::config::{LoadedConfig, WebConfig};

/// Response extension: the response has no end, as that of a route which sends events as they come.
///
/// It has no time limit and does not count as one of the requests handled at once; the route limits how many there are. A
/// client that reads nothing is cut off as any other.
///
/// ```
/// use axum::Extension;
/// use axum::body::Body;
/// use axum::response::{IntoResponse, Response};
/// use exporter_web::Streaming;
///
/// fn events(lines: Body) -> Response {
///     (Extension(Streaming), lines).into_response()
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Streaming;

/// Checks requests and routes them.
pub(super) struct Handler {
    pub(super) router: Router,
    pub(super) config: Option<Arc<WebConfig>>,
    pub(super) host_names: HostNames,
    pub(super) probe_paths: Vec<String>,
}

/// The connection that a request came on.
pub(super) struct Client {
    /// The client's address.
    pub(super) peer: SocketAddr,
    /// This host's address.
    pub(super) local: SocketAddr,
    /// The connection's entry in the table.
    pub(super) slot: Arc<Slot>,
}

impl Handler {
    /// The response to one request.
    pub(super) async fn handle(&self, request: Request<Incoming>, client: &Client) -> Response {
        let loaded = match &self.config {
            Some(config) => Some(config.current().await),
            None => None,
        };
        let mut response = match self.refuse(&request, client, loaded.as_deref()).await {
            Some(refusal) => refusal,
            None => self.route(request, client, loaded.as_deref()).await,
        };
        for (name, value) in loaded.iter().flat_map(|loaded| &loaded.headers) {
            response.headers_mut().insert(name, value.clone());
        }
        match response.extensions().get::<Streaming>() {
            Some(Streaming) => client.slot.start_streaming(),
            None => client.slot.start_response(),
        }
        response
    }

    async fn route(&self, request: Request<Incoming>, client: &Client, loaded: Option<&LoadedConfig>) -> Response {
        let is_probe = self.is_probe(request.uri());
        if !is_probe && !client.slot.start_request().await {
            let text = "Limit of concurrent requests reached, try again later.\n";
            return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
        }
        // A router is always ready and never fails.
        let Ok(response) = self.router.clone().call(request.map(Body::new)).await;
        let hides_details = is_probe && loaded.is_some_and(|loaded| !loaded.users.is_empty());
        if hides_details && !response.status().is_success() {
            return (response.status(), "not ready\n").into_response();
        }
        response
    }

    /// The response to a request that must not reach the router.
    async fn refuse(
        &self,
        request: &Request<Incoming>,
        client: &Client,
        loaded: Option<&LoadedConfig>,
    ) -> Option<Response> {
        let is_open = loaded.is_none_or(|loaded| loaded.tls.is_none() && loaded.users.is_empty());
        if is_open && client.local.ip().to_canonical().is_loopback() && !self.host_names.accept(request) {
            let text = "unknown host name: use an address of this host, its name or localhost\n";
            return Some((StatusCode::FORBIDDEN, text).into_response());
        }
        let (config, loaded) = (self.config.as_ref()?, loaded?);
        if self.is_probe(request.uri()) {
            return None;
        }
        if !config.admits(loaded) {
            return Some((StatusCode::TOO_MANY_REQUESTS, "Too Many Requests\n").into_response());
        }
        if loaded.users.is_empty() {
            return None;
        }
        let result = match credentials(request.headers()) {
            Some((user, password)) => config.passwords().check(&loaded.users, &user, &password, client.peer.ip()).await,
            None => PasswordResult::Wrong,
        };
        refuse_password(result)
    }

    fn is_probe(&self, uri: &Uri) -> bool {
        self.probe_paths.iter().any(|path| path == uri.path())
    }
}

fn refuse_password(result: PasswordResult) -> Option<Response> {
    match result {
        PasswordResult::Right => None,
        PasswordResult::Wrong => {
            let challenge = [(header::WWW_AUTHENTICATE, "Basic")];
            Some((StatusCode::UNAUTHORIZED, challenge, "Unauthorized\n").into_response())
        }
        PasswordResult::Busy => {
            let retry = [(header::RETRY_AFTER, "5")];
            Some((StatusCode::TOO_MANY_REQUESTS, retry, "too many password checks pending\n").into_response())
        }
    }
}
