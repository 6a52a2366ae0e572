//! `http_server_config.headers`: what is added to every response.

use std::str::FromStr;

use axum::http::{HeaderName, HeaderValue};
use serde_saphyr::Spanned;

use super::error::Invalid;
use super::schema::HttpSection;

/// Headers that the toolkit permits; the values of some are restricted.
const PERMITTED: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

/// The headers of a section, checked.
pub(super) fn headers(section: Option<HttpSection>) -> Result<Vec<(HeaderName, HeaderValue)>, Invalid> {
    let headers = section.and_then(|section| section.headers).unwrap_or_default();
    headers.into_iter().map(|(name, value)| header(&name, &value)).collect()
}

fn header(name: &str, value: &Spanned<String>) -> Result<(HeaderName, HeaderValue), Invalid> {
    let Some((name, values)) = PERMITTED.into_iter().find(|(permitted, _)| *permitted == name) else {
        return Err(Invalid::at(value, format!("HTTP header {name:?} can not be configured")));
    };
    if !values.is_empty() && !values.contains(&value.value.as_str()) {
        let expected = values.join(", ");
        let message = format!("invalid value for {name}: expected one of {expected}, but got {:?}", value.value);
        return Err(Invalid::at(value, message));
    }
    let header = HeaderName::from_str(name).ok().zip(HeaderValue::from_str(&value.value).ok());
    header.ok_or_else(|| Invalid::at(value, format!("invalid value for {name}: {:?}", value.value)))
}
