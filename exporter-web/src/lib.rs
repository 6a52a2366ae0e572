//! The HTTP server of a Prometheus exporter, with `--web.config.file`.
//!
//! Exporters written in Go get their web server from the Prometheus [exporter toolkit]. This crate is its counterpart in
//! Rust: it serves an [`axum::Router`], configured by the same file.
//!
//! * **TLS** 1.2 and 1.3 by rustls; client certificates, optionally restricted to certain subject alternative names.
//! * **Passwords** hashed with bcrypt, checked at a bounded CPU cost; correct ones are cached.
//! * **Response headers** and a **rate limit**, as in the toolkit.
//! * **Reload**: certificates, keys and users are reloaded when their files change. While the new files are invalid, the
//!   last valid configuration stays in use; see [`WebConfig::is_up_to_date`].
//! * **Limits**: a client that sends no request, or does not read its response, is disconnected after a timeout, or sooner
//!   if another client needs its slot. A thousand slow clients do not delay a scrape.
//! * **DNS rebinding**: on loopback without TLS and passwords, only requests for this host's own names are answered.
//! * **Listening addresses** as `--web.listen-address` takes them: [`ListenAddress`].
//!
//! # Example
//!
//! ```
//! use std::error::Error;
//! use std::path::Path;
//!
//! use axum::Router;
//! use axum::routing::get;
//! use exporter_web::{ListenAddress, Server, WebConfig};
//! use tokio::net::TcpListener;
//! use tokio::sync::watch;
//!
//! async fn run(listen: &ListenAddress, web_config: Option<&Path>) -> Result<(), Box<dyn Error>> {
//!     let router = Router::new()
//!         .route("/metrics", get(|| async { "up 1\n" }))
//!         .route("/healthz", get(|| async { "ok\n" }));
//!     let web_config = web_config.map(WebConfig::open).transpose()?;
//!     let listener = TcpListener::from_std(listen.bind()?)?;
//!     let (stop, stopped) = watch::channel(false);
//!     let server = Server::new(router).web_config(web_config).probe_paths(["/healthz"]);
//!     let serving = tokio::spawn(server.serve(vec![listener], stopped));
//!     // At SIGTERM:
//!     stop.send_replace(true);
//!     serving.await?;
//!     Ok(())
//! }
//!
//! # fn main() -> Result<(), Box<dyn Error>> {
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! runtime.block_on(run(&"127.0.0.1:0".parse()?, None))
//! # }
//! ```
//!
//! # Differences from the toolkit
//!
//! HTTP/1.1 only, one request per connection. No CBC suites and no P-521. `VerifyClientCertIfGiven` and
//! `RequireAndVerifyClientCert` need a client CA. Any other setting is rejected on load, with its line number; nothing is
//! silently ignored.
//!
//! [exporter toolkit]: https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md

pub mod files;
mod listen;
mod peer;
mod auth;
mod config;
mod server;

#[cfg(test)]
mod testing;

pub use config::{ConfigError, WebConfig};
pub use listen::{InvalidListenAddress, ListenAddress, ListenError};
pub use server::{DEFAULT_MAX_REQUESTS, Server, Streaming};
