//! Findings over HTTP: metrics, events, and the status page with its data.

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

/// Identifies this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// Version of the package.
    pub version: &'static str,
    /// Commit that it was built from.
    pub revision: &'static str,
    /// SHA-256 of the embedded eBPF object, hexadecimal.
    pub object: &'static str,
}

/// Everything that the HTTP handlers read. The event loop writes to it and never waits for a reader.
pub struct AppState {
    /// Name of this host.
    pub node: Arc<str>,
    /// This build.
    pub build: Build,
    /// State of each probe.
    pub probes: Arc<Probes>,
    /// Totals of all verdicts.
    pub aggregate: Arc<Aggregate>,
    /// Recent events, and the stream of new ones.
    pub history: Arc<History>,
    /// Resets per minute.
    pub timeline: Arc<Timeline>,
    /// Idle timeouts of destinations.
    pub idle_timeouts: Arc<SharedIdleTimeouts>,
    /// The kernel's exact counts.
    pub counts: CountsHandle,
    /// Queues and tables that fill up.
    pub capacity: Arc<Capacity>,
    /// Names from the Kubernetes API; `None`: the API is not used.
    pub kubernetes: Option<ClusterCache>,
    /// TLS and users; `None`: plain HTTP without passwords.
    pub web: Option<Arc<WebConfig>>,
    /// Names owners; `None`: owners are not named.
    pub owners: Option<Owners>,
}

impl AppState {
    fn totals(&self) -> Totals {
        self.aggregate.snapshot(|| (self.counts)())
    }

    /// The current metrics as text.
    fn metrics(&self, format: Format) -> Option<Bytes> {
        let totals = self.totals();
        let exposition = metrics::Exposition {
            events: EventCounts::new(&totals, self.history.missed()),
            totals,
            idle_timeouts: self.idle_timeouts.shown(),
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

/// Maximum concurrent requests that follow events. They do not count towards `--web.max-requests`.
const MAX_FOLLOWERS: usize = 16;

/// State that the handlers share.
struct Shared {
    state: AppState,
    /// Path of the metrics.
    telemetry_path: String,
    followers: Arc<Semaphore>,
    /// Metrics in each format: OpenMetrics, Prometheus.
    scrapes: [Scrapes; 2],
}

/// Paths of the health probes. They require no password and are not limited.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Whether the path is in use, so that `--web.telemetry-path` cannot have it.
pub fn is_reserved(path: &str) -> bool {
    path == "/" || PROBES.contains(&path) || path.starts_with("/api/") || path.starts_with(assets::FOLDER)
}

/// A server for every route, with the web configuration of `state`.
pub fn server(state: AppState, telemetry_path: &str) -> Server {
    let (node, web) = (state.node.to_string(), state.web.clone());
    Server::new(router(state, telemetry_path)).web_config(web).host_name(node).probe_paths(PROBES)
}

/// All routes.
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

/// Scripts, styles and data only from this origin and never inline. Trusted Types forbid turning strings into markup or code.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      require-trusted-types-for 'script'; trusted-types 'none'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Adds headers that forbid browsers everything the page does not need.
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
    match scrapes.text(move || state.state.metrics(format)).await {
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
