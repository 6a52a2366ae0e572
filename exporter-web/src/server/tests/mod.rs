//! A server with routes like an exporter's, over real connections.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Instant;

use axum::body::Body;
use axum::extract::Query;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;
use crate::testing::{Authority, bcrypt_hash, dns};

mod limits;
mod prometheus;
mod reload;
mod requests;
mod slow;
mod tls;

/// The last line of `/large`, which is longer than the buffers of a socket.
const END: &str = "end 1\n";

/// Responses of `/events` at once.
const MAX_STREAMS: usize = 16;

#[derive(Deserialize)]
struct Limit {
    limit: u8,
}

/// Routes of every kind: metrics, probes, a large response, one without an end, a query.
fn router(web_config: Option<Arc<WebConfig>>) -> Router {
    let metrics = move || {
        let is_up_to_date = web_config.as_ref().is_none_or(|config| config.is_up_to_date());
        async move { format!("test_config_up_to_date {}\n", u8::from(is_up_to_date)) }
    };
    let streams = Arc::new(Semaphore::new(MAX_STREAMS));
    Router::new()
        .route("/", get(|| async { ([(header::CONTENT_SECURITY_POLICY, "default-src 'self'")], "start\n") }))
        .route("/metrics", get(metrics))
        .route("/large", get(|| async { "some_metric{label=\"value\"} 1\n".repeat(50_000) + END }))
        .route("/events", get(move || events(Arc::clone(&streams))))
        .route("/query", get(|Query(Limit { limit })| async move { format!("{limit}\n") }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { (StatusCode::SERVICE_UNAVAILABLE, "database: connection refused\n") }))
}

async fn events(streams: Arc<Semaphore>) -> Response {
    let Ok(permit) = streams.try_acquire_owned() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let lines = futures_util::stream::unfold(permit, |permit| async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Some((Ok::<_, std::convert::Infallible>("event\n"), permit))
    });
    (Extension(Streaming), Body::from_stream(lines)).into_response()
}

/// A server on a port of its own.
struct TestServer {
    runtime: tokio::runtime::Runtime,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl TestServer {
    fn start(web_config: Option<Arc<WebConfig>>) -> Self {
        Self::with(web_config, |server| server)
    }

    /// Starts a server with further settings.
    fn with(web_config: Option<Arc<WebConfig>>, set: impl FnOnce(Server) -> Server) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("port");
        let address = listener.local_addr().expect("address");
        let (stop, stopped) = watch::channel(false);
        let server = Server::new(router(web_config.clone())).web_config(web_config);
        let server = server.host_name("node.test").probe_paths(["/healthz", "/readyz"]);
        let serving = runtime.spawn(set(server).serve(vec![listener], stopped));
        Self { runtime, address, stop, serving }
    }

    /// Sends a request and leaves the response to be read.
    fn open(&self, path: &str, headers: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").expect("sent");
        BufReader::new(stream)
    }

    /// Status, head in lower case and body of a response.
    fn get_with(&self, path: &str, headers: &str) -> (u16, String, String) {
        let mut text = String::new();
        self.open(path, &format!("{headers}Connection: close\r\n")).read_to_string(&mut text).expect("response");
        let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
        (status(&text), head.to_lowercase(), body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String, String) {
        self.get_with(path, "")
    }

    /// Stops the server; returns how long that took.
    fn stop(self) -> Duration {
        let began = Instant::now();
        self.stop.send_replace(true);
        self.runtime.block_on(self.serving).expect("ended");
        began.elapsed()
    }
}

/// A server with a web configuration, and the authority that signed its certificate.
struct SecureServer {
    folder: TempDir,
    authority: Authority,
    server: TestServer,
    web_config: Arc<WebConfig>,
}

/// The configuration of TLS without anything else.
const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

impl SecureServer {
    fn start(text: &str) -> Self {
        let (folder, authority) = (tempfile::tempdir().expect("folder"), Authority::new("ours"));
        write_certificate(folder.path(), &authority);
        fs::write(folder.path().join("ca.crt"), &authority.pem).expect("written");
        let path = folder.path().join("web.yml");
        fs::write(&path, text).expect("written");
        let web_config = WebConfig::open(&path).expect("valid");
        let server = TestServer::start(Some(Arc::clone(&web_config)));
        Self { folder, authority, server, web_config }
    }

    /// A client that trusts our authority, with or without a certificate of its own.
    fn client(&self, certificate: Option<(String, String)>) -> Arc<ClientConfig> {
        client(&self.authority, certificate)
    }

    /// Status and text of a response, or why there is no TLS.
    fn get(&self, client: &Arc<ClientConfig>, path: &str, headers: &str) -> std::io::Result<(u16, String)> {
        let mut stream = connect_tls(self.server.address, client)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok((status(&text), text))
    }
}

fn write_certificate(folder: &Path, authority: &Authority) {
    let (cert, key) = authority.sign(vec![dns("localhost")]);
    fs::write(folder.join("server.crt"), cert).expect("written");
    fs::write(folder.join("server.key"), key).expect("written");
}

fn client(authority: &Authority, certificate: Option<(String, String)>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("PEM")).expect("added");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let builder = builder.with_root_certificates(roots);
    Arc::new(match certificate {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let cert = CertificateDer::from_pem_slice(cert.as_bytes()).expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(vec![cert], key).expect("a matching pair")
        }
    })
}

fn connect_tls(
    to: SocketAddr,
    config: &Arc<ClientConfig>,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::clone(config), name).expect("client"), stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn status(text: &str) -> u16 {
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status: {text:?}"))
}

fn basic(user: &str, password: &str) -> String {
    let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {encoded}\r\n")
}

/// Reports a test that cannot run here, past the test harness, which would swallow it.
fn report_skipped(missing: &str) {
    _ = writeln!(std::io::stderr(), "skipped: {missing} not installed");
}
