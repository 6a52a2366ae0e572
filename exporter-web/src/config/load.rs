//! Reads and checks the web configuration and the files that it names.

use std::path::Path;
use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};
use rustls::ServerConfig;

use super::error::{ConfigError, Invalid};
use super::headers::headers;
use super::rate_limit::RateLimit;
use super::schema::{Document, TlsSection};
use super::source::SourceFiles;
use super::{tls, users};
use crate::auth::Users;

/// A checked configuration, ready for use.
pub(crate) struct LoadedConfig {
    /// `None`: plain HTTP.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Set on every response. They replace the router's headers of the same names.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Users who may send requests. If empty, no password is required.
    pub(crate) users: Users,
    /// Whether the file has the section `basic_auth_users`, even an empty one.
    pub(super) has_users_section: bool,
    /// `None`: no limit.
    pub(super) rate_limit: Option<RateLimit>,
    /// The files that it was read from.
    pub(super) files: SourceFiles,
}

/// Reads and checks the configuration at `path`.
pub(super) fn load(path: &Path) -> Result<LoadedConfig, ConfigError> {
    let mut files = SourceFiles::default();
    let bytes = files
        .read(path)
        .map_err(|error| ConfigError::new(format!("cannot read the web configuration {}: {error}", path.display())))?;
    parse(&bytes, path, files).map_err(|invalid| invalid.in_file(path))
}

fn parse(bytes: &[u8], path: &Path, mut files: SourceFiles) -> Result<LoadedConfig, Invalid> {
    let Ok(text) = str::from_utf8(bytes) else { return Err(Invalid::new("not valid UTF-8")) };
    let Document { tls_server_config, http_server_config, rate_limit, basic_auth_users } = Document::parse(text)?;
    let headers = headers(http_server_config)?;
    let rate_limit = rate_limit.as_ref().map(RateLimit::from_section).transpose()?.flatten();
    let has_users_section = basic_auth_users.is_some();
    let users = users::users(basic_auth_users.unwrap_or_default())?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let section = tls_server_config.filter(TlsSection::has_keys);
    let tls = section.map(|section| tls::server(&section, folder, &mut files)).transpose()?;
    Ok(LoadedConfig { tls, headers, users, has_users_section, rate_limit, files })
}
