//! The keys of the file, as YAML.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::{Error, Spanned};

use super::error::Invalid;

/// A text with its line; a missing key and an empty text both mean "not set", see [`set`].
pub(super) type Text = Option<Spanned<String>>;

/// The whole file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) tls_server_config: Option<TlsSection>,
    pub(super) http_server_config: Option<HttpSection>,
    pub(super) rate_limit: Option<RateLimitSection>,
    pub(super) basic_auth_users: Option<BTreeMap<String, Spanned<String>>>,
}

/// `tls_server_config`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsSection {
    pub(super) cert: Text,
    pub(super) key: Text,
    pub(super) client_ca: Text,
    pub(super) cert_file: Text,
    pub(super) key_file: Text,
    pub(super) client_auth_type: Text,
    pub(super) client_ca_file: Text,
    pub(super) client_allowed_sans: Option<Vec<String>>,
    pub(super) min_version: Text,
    pub(super) max_version: Text,
    pub(super) cipher_suites: Option<Vec<Spanned<String>>>,
    pub(super) prefer_server_cipher_suites: Option<bool>,
    pub(super) curve_preferences: Option<Vec<Spanned<String>>>,
}

/// `http_server_config`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpSection {
    /// Permits HTTP/2 but does not demand it: clients negotiate HTTP/1.1 with this server either way.
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    pub(super) headers: Option<BTreeMap<String, Spanned<String>>>,
}

/// `rate_limit`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RateLimitSection {
    pub(super) interval: Text,
    pub(super) burst: Option<Spanned<i64>>,
}

impl Document {
    /// Reads the text of a file.
    pub(super) fn parse(text: &str) -> Result<Self, Invalid> {
        let options = serde_saphyr::options! { with_snippet: false };
        let document: Option<Self> =
            serde_saphyr::from_str_with_options(text, options).map_err(|error| invalid(&error))?;
        Ok(document.unwrap_or_default())
    }
}

impl TlsSection {
    /// Whether any key is there. As in the toolkit, an empty section leaves TLS off.
    pub(super) fn has_keys(&self) -> bool {
        let Self { cert, key, client_ca, cert_file, key_file, client_auth_type, client_ca_file, .. } = self;
        let Self { client_allowed_sans, min_version, max_version, cipher_suites, .. } = self;
        let Self { prefer_server_cipher_suites, curve_preferences, .. } = self;
        let texts =
            [cert, key, client_ca, cert_file, key_file, client_auth_type, client_ca_file, min_version, max_version];
        texts.into_iter().any(Option::is_some)
            || client_allowed_sans.is_some()
            || cipher_suites.is_some()
            || curve_preferences.is_some()
            || prefer_server_cipher_suites.is_some()
    }
}

/// The text, if it is there and not empty.
pub(super) fn set(text: &Text) -> Option<&Spanned<String>> {
    text.as_ref().filter(|text| !text.value.is_empty())
}

/// The parser's error in one line, without the names of Rust types in it.
fn invalid(error: &Error) -> Invalid {
    let error = error.without_snippet();
    let line = error.location().map(|at| at.line()).filter(|line| *line > 0);
    let text = match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("unknown key {field:?}: expected one of {}", expected.join(", "))
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("duplicate key {key}"),
        error => error.to_string(),
    };
    let first = text.lines().next().unwrap_or_default();
    let message = first.split(" at line ").next().unwrap_or(first);
    Invalid { line, message: message.strip_prefix("error: ").unwrap_or(message).to_owned() }
}
