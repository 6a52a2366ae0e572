//! What is asked of a request before it is answered: its host, its turn, its user.
//!
//! `/healthz` and `/readyz` are answered without a password and at any rate: a kubelet holds no secret to send, and a probe
//! that is refused ends the agent. The toolkit has no such exception (prometheus/prometheus#9166), so its users write
//! passwords into pod templates. Where users are asked for passwords, the two say yes or no alone.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::body::Incoming;
use tower_service::Service;

use super::Asked;
use crate::command::settings::host_name;
use crate::export::Following;
use crate::export::web_config::Loaded;
use crate::export::web_config::reload::Web;
use crate::export::web_config::users::Answer;

/// Everything that stands before the routes.
pub(super) struct Gate {
    router: Router,
    web: Option<Arc<Web>>,
    /// Names of this host.
    names: Vec<String>,
}

impl Gate {
    pub(super) fn new(router: Router, web: Option<Arc<Web>>, node: Arc<str>) -> Self {
        let names = [node, host_name()].map(|name| name.to_ascii_lowercase());
        Self { router, web, names: names.into() }
    }

    /// The answer to one request.
    pub(super) async fn answer(&self, request: Request<Incoming>, asked: &Asked) -> Response {
        let loaded = match &self.web {
            Some(web) => Some(web.current().await),
            None => None,
        };
        let mut response = match self.refusal(&request, asked, loaded.as_deref()).await {
            Some(refusal) => refusal,
            None => self.routed(request, asked, loaded.as_deref()).await,
        };
        for (name, value) in loaded.iter().flat_map(|loaded| &loaded.headers) {
            response.headers_mut().insert(name, value.clone());
        }
        match response.extensions().get::<Following>() {
            Some(_) => asked.ticket.follow(),
            None => asked.ticket.answer(),
        }
        response
    }

    async fn routed(&self, request: Request<Incoming>, asked: &Asked, loaded: Option<&Loaded>) -> Response {
        let is_probe = is_probe(request.uri());
        if !is_probe && !asked.ticket.begin().await {
            let said = "Limit of concurrent requests reached, try again later.\n";
            return (StatusCode::SERVICE_UNAVAILABLE, said).into_response();
        }
        // The router is always ready, and its error cannot be.
        let Ok(response) = self.router.clone().call(request.map(Body::new)).await;
        let is_secret = is_probe && loaded.is_some_and(|loaded| !loaded.users.is_empty());
        if is_secret && !response.status().is_success() {
            return (response.status(), "not ready\n").into_response();
        }
        response
    }

    /// Why the request is not answered, if so.
    async fn refusal(&self, request: &Request<Incoming>, asked: &Asked, loaded: Option<&Loaded>) -> Option<Response> {
        if !self.is_ours(request, asked, loaded) {
            let said = "this host has another name: ask by its address or as localhost\n";
            return Some((StatusCode::FORBIDDEN, said).into_response());
        }
        let (web, loaded) = (self.web.as_ref()?, loaded?);
        if is_probe(request.uri()) {
            return None;
        }
        if !web.admits(loaded) {
            return Some((StatusCode::TOO_MANY_REQUESTS, "Too Many Requests\n").into_response());
        }
        if loaded.users.is_empty() {
            return None;
        }
        let answer = match credentials(request.headers()) {
            Some((user, password)) => web.checker.check(&loaded.users, &user, &password, asked.peer.ip()).await,
            None => Answer::Wrong,
        };
        match answer {
            Answer::Right => None,
            Answer::Wrong => {
                let challenge = [(header::WWW_AUTHENTICATE, "Basic")];
                Some((StatusCode::UNAUTHORIZED, challenge, "Unauthorized\n").into_response())
            }
            Answer::Busy => {
                let later = [(header::RETRY_AFTER, "5")];
                Some((StatusCode::TOO_MANY_REQUESTS, later, "too many passwords to check\n").into_response())
            }
        }
    }

    /// Against DNS rebinding: a page of a foreign site, whose name was made to mean this host, must not read what is served to
    /// this host alone. Passwords and TLS keep such pages out by themselves, and where others may ask, by any name.
    fn is_ours(&self, request: &Request<Incoming>, asked: &Asked, loaded: Option<&Loaded>) -> bool {
        let is_kept = loaded.is_some_and(|loaded| loaded.tls.is_some() || !loaded.users.is_empty());
        if is_kept || !asked.local.ip().to_canonical().is_loopback() {
            return true;
        }
        let named = request.uri().authority().map(|authority| authority.host().to_owned());
        let host = request.headers().get(header::HOST).map(HeaderValue::to_str);
        match (named, host) {
            (Some(host), _) => self.is_name(&host),
            (None, Some(Ok(host))) => {
                host.parse::<axum::http::uri::Authority>().is_ok_and(|it| self.is_name(it.host()))
            }
            (None, Some(Err(_))) => false,
            // HTTP/1.0; browsers always name it.
            (None, None) => true,
        }
    }

    fn is_name(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_short = |name: &str| name.split('.').next() == Some(host);
        address.parse::<std::net::IpAddr>().is_ok()
            || host == "localhost"
            || host.ends_with(".localhost")
            || self.names.iter().any(|name| name == host || is_short(name))
    }
}

fn is_probe(uri: &Uri) -> bool {
    ["/healthz", "/readyz"].contains(&uri.path())
}

/// User and password (RFC 7617).
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let said = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = said.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let plain = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let colon = plain.iter().position(|byte| *byte == b':')?;
    Some((String::from_utf8(plain[..colon].to_vec()).ok()?, plain[colon + 1..].to_vec()))
}
