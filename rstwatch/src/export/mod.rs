//! Stage 6: what was found, over HTTP: metrics, the page and what it reads, events.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use exporter_web::{Server, WebConfig};
use tokio::sync::Semaphore;

use crate::capacity::Capacity;
use crate::identity::kubernetes::ClusterCache;
use crate::identity::owner::Owners;
use crate::kernel::probe::Probes;
use crate::stats::aggregate::metrics::EventCounts;
use crate::stats::aggregate::{Aggregate, CountsHandle, Totals};
use crate::stats::history::History;
use crate::stats::idle_timeouts::SharedIdleTimeouts;
use crate::stats::timeline::Timeline;

use metrics::Format;
use scrape::Scrapes;

mod events;
pub mod metrics;
mod assets;
mod page;
mod scrape;
mod status;

/// Which build this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// Version of the package.
    pub version: &'static str,
    /// Commit it was built from.
    pub revision: &'static str,
    /// SHA-256 of the embedded eBPF object, hexadecimal.
    pub object: &'static str,
}

/// What the HTTP side reads. The event loop writes `aggregate` and `history` and never waits for a reader.
pub struct AppState {
    /// Host name, or `--node-name`.
    pub node: Arc<str>,
    /// Which build this is.
    pub build: Build,
    /// What is attached.
    pub probes: Arc<Probes>,
    /// Totals of every verdict.
    pub aggregate: Arc<Aggregate>,
    /// Recent events and the feed of new ones.
    pub history: Arc<History>,
    /// Resets per minute.
    pub timeline: Arc<Timeline>,
    /// Idle timeouts of destinations.
    pub bounds: Arc<SharedIdleTimeouts>,
    /// The kernel's exact counts.
    pub counts: CountsHandle,
    /// Queues and tables that fill up.
    pub capacity: Arc<Capacity>,
    /// What the Kubernetes API told, if it is asked.
    pub kubernetes: Option<ClusterCache>,
    /// TLS and users, if there are any.
    pub web: Option<Arc<WebConfig>>,
    /// Names owners, where somebody does.
    pub owners: Option<Owners>,
}

impl AppState {
    fn totals(&self) -> Totals {
        self.aggregate.snapshot(|| (self.counts)())
    }

    /// The metrics of this moment.
    fn text(&self, format: Format) -> Option<Bytes> {
        let totals = self.totals();
        let exposition = metrics::Exposition {
            events: EventCounts::new(&totals, self.history.missed()),
            totals,
            idle_timeouts: self.bounds.shown(),
            capacity: self.capacity.get(),
            kubernetes: self.kubernetes.as_ref().map(ClusterCache::snapshot),
            owners: self.owners.as_ref().map(|owners| owners.counts().to_vec()).unwrap_or_default(),
            web_config: self.web.as_ref().map(|web| web.is_up_to_date()),
            probes: Arc::clone(&self.probes),
            build: self.build,
        };
        metrics::encode(exposition, format).ok().map(Bytes::from)
    }
}

/// How many requests may follow events at once. They take no place of other requests.
const MAX_FOLLOWERS: usize = 16;

/// What the handlers share.
struct Shared {
    state: AppState,
    /// Where the metrics are.
    telemetry_path: String,
    followers: Arc<Semaphore>,
    /// By dialect.
    scrapes: [Scrapes; 2],
}

/// Health probes: they need no password and are not limited.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Whether `--web.telemetry-path` cannot have this path.
pub fn is_reserved(path: &str) -> bool {
    path == "/" || PROBES.contains(&path) || path.starts_with("/api/") || path.starts_with(assets::FOLDER)
}

/// Serves every route, as the web configuration of `state` demands.
pub fn server(state: AppState, telemetry_path: &str) -> Server {
    let (node, web) = (state.node.to_string(), state.web.clone());
    Server::new(router(state, telemetry_path)).web_config(web).host_name(node).probe_paths(PROBES)
}

/// Every route.
fn router(state: AppState, telemetry_path: &str) -> Router {
    let followers = Arc::new(Semaphore::new(MAX_FOLLOWERS));
    let shared = Shared { state, telemetry_path: telemetry_path.to_owned(), followers, scrapes: Default::default() };
    assets::routes(Router::new())
        .route("/", get(page::page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/status", get(status::status))
        .route("/api/v1/causes", get(status::causes))
        .route(telemetry_path, get(metrics))
        .fallback(|| async { (StatusCode::NOT_FOUND, "nothing here: start at /\n") })
        .layer(map_response(harden))
        .with_state(Arc::new(shared))
}

/// Code, styles and data from here alone, nothing inline; and no string ever becomes markup or code, wherever it came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      require-trusted-types-for 'script'; trusted-types 'none'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Forbids browsers whatever the page does not need.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let format = Format::accepted(headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()));
    let scrapes = match format {
        Format::OpenMetrics => &shared.scrapes[0],
        Format::Prometheus => &shared.scrapes[1],
    };
    let state = Arc::clone(&shared);
    match scrapes.text(move || state.state.text(format)).await {
        Some(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        None => (StatusCode::INTERNAL_SERVER_ERROR, "cannot write the metrics\n").into_response(),
    }
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let missing: Vec<_> =
        shared.state.probes.missing().map(|probe| format!("{} ({})", probe.name, probe.detail())).collect();
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not attached: {}\n", missing.join(", "))).into_response()
}

#[cfg(test)]
mod tests;
