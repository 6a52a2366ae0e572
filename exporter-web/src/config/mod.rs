//! `--web.config.file`: TLS, users, headers and a rate limit, in the format of the Prometheus exporter toolkit.
//!
//! <https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md>. What this server does not support
//! is rejected when the file is read, never ignored. [`reload`] describes what happens when a file changes.

mod error;
mod source;
mod schema;
mod headers;
mod rate_limit;
mod users;
mod pem;
mod alternative_names;
mod client_auth;
mod cipher_suites;
mod tls;
mod load;
mod reload;

pub use error::ConfigError;
pub(crate) use load::LoadedConfig;
pub use reload::WebConfig;

#[cfg(test)]
mod tests;
