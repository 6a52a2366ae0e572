//! Handles one request: checks its host, the rate limit and its password, then passes it to the router.
//!
//! Health probes are exempt from the password and the rate limit: a kubelet has no secret to send, and a refused liveness
//! probe restarts the exporter. The exporter toolkit has no such exemption (prometheus/prometheus#9166), so its users write
//! passwords into pod templates. If users are configured, a failed probe reveals nothing but its status.

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

/// Response extension that marks an endless response, such as a stream of events.
///
/// A streaming response has no time limit and does not count towards the limit of concurrent requests, so the route must
/// limit how many are open. A client that stops reading is disconnected all the same.
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

/// Checks requests and passes them to the router.
pub(super) struct Handler {
    pub(super) router: Router,
    pub(super) config: Option<Arc<WebConfig>>,
    pub(super) host_names: HostNames,
    pub(super) probe_paths: Vec<String>,
}

/// The connection on which a request arrived.
pub(super) struct Client {
    /// The client's address.
    pub(super) peer: SocketAddr,
    /// This host's address.
    pub(super) local: SocketAddr,
    /// The connection's slot in the table of open connections.
    pub(super) slot: Arc<Slot>,
}

impl Handler {
    /// Returns the response to one request.
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

    /// Returns the error response to a request that must not reach the router, or `None` if it may.
    async fn refuse(
        &self,
        request: &Request<Incoming>,
        client: &Client,
        loaded: Option<&LoadedConfig>,
    ) -> Option<Response> {
        let is_unprotected = loaded.is_none_or(|loaded| loaded.tls.is_none() && loaded.users.is_empty());
        if is_unprotected && client.local.ip().to_canonical().is_loopback() && !self.host_names.accept(request) {
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
        password_refusal(result)
    }

    fn is_probe(&self, uri: &Uri) -> bool {
        self.probe_paths.iter().any(|path| path == uri.path())
    }
}

fn password_refusal(result: PasswordResult) -> Option<Response> {
    match result {
        PasswordResult::Correct => None,
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
