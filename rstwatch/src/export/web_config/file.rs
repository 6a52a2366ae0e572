//! The file as it is written, and its checks.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use bcrypt::HashParts;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Fault;

/// A value that is left out, or empty, is not set.
type Text = Option<Spanned<String>>;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    tls_server_config: Option<Tls>,
    http_server_config: Option<Http>,
    rate_limit: Option<Limit>,
    basic_auth_users: Option<BTreeMap<String, Spanned<String>>>,
}

/// `tls_server_config`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
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

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Http {
    /// HTTP/2 is allowed, not demanded: clients and we agree on HTTP/1.1.
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    headers: Option<BTreeMap<String, Spanned<String>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    interval: Text,
    burst: Option<Spanned<i64>>,
}

/// A bucket of tokens: each request takes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Another token comes after so long.
    pub interval: Duration,
    /// So many are kept.
    pub burst: u32,
}

/// What is in it, checked. TLS is checked where it is made.
pub(super) struct File {
    pub(super) tls: Option<Tls>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) rate: Option<Rate>,
    pub(super) users: BTreeMap<String, String>,
    /// Whether it says who may ask, be it nobody in particular.
    pub(super) says_users: bool,
}

impl File {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let options = serde_saphyr::options! { with_snippet: false };
        let written: Option<Written> =
            serde_saphyr::from_str_with_options(text, options).map_err(|error| fault(&error))?;
        let Written { tls_server_config, http_server_config, rate_limit, basic_auth_users } =
            written.unwrap_or_default();
        let headers = http_server_config.and_then(|http| http.headers).unwrap_or_default();
        Ok(Self {
            says_users: basic_auth_users.is_some(),
            tls: tls_server_config.filter(Tls::says_anything),
            headers: headers.into_iter().map(|(name, value)| header(&name, &value)).collect::<Result<_, _>>()?,
            rate: rate_limit.as_ref().map(rate).transpose()?.flatten(),
            users: basic_auth_users.unwrap_or_default().into_iter().map(user).collect::<Result<_, _>>()?,
        })
    }
}

impl Tls {
    fn says_anything(&self) -> bool {
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

/// A text that is not empty.
pub(super) fn set(text: &Text) -> Option<&Spanned<String>> {
    text.as_ref().filter(|text| !text.value.is_empty())
}

/// A fault at a value.
pub(super) fn at<T>(value: &Spanned<T>, what: impl Into<String>) -> Fault {
    Fault { line: Some(value.referenced.line()), what: what.into() }
}

/// The parser's words in one line. It tells how our structures look, which is of no use to who wrote the file.
fn fault(error: &serde_saphyr::Error) -> Fault {
    let error = error.without_snippet();
    let line = error.location().map(|at| at.line()).filter(|line| *line > 0);
    let said = match error {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
            format!("{field:?} is no key here: there are {}", expected.join(", "))
        }
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => format!("{key} is there twice"),
        error => error.to_string(),
    };
    let first = said.lines().next().unwrap_or_default();
    let what = first.split(" at line ").next().unwrap_or(first);
    Fault { line, what: what.strip_prefix("error: ").unwrap_or(what).to_owned() }
}

/// The toolkit allows only these, some with few values.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

fn header(name: &str, value: &Spanned<String>) -> Result<(HeaderName, HeaderValue), Fault> {
    let Some((known, values)) = HEADERS.into_iter().find(|(known, _)| *known == name) else {
        return Err(at(value, format!("HTTP header {name:?} can not be configured")));
    };
    if !values.is_empty() && !values.contains(&value.value.as_str()) {
        let expected = values.join(", ");
        return Err(at(
            value,
            format!("invalid value for {known}: expected one of {expected}, but got {:?}", value.value),
        ));
    }
    let made = HeaderName::from_str(known).ok().zip(HeaderValue::from_str(&value.value).ok());
    made.ok_or_else(|| at(value, format!("{known} cannot be {:?}", value.value)))
}

fn user((name, hash): (String, Spanned<String>)) -> Result<(String, String), Fault> {
    let cost = match hash.value.parse::<HashParts>() {
        Ok(parts) => parts.get_cost(),
        // Not what is written instead: it may be the password.
        Err(_) => {
            return Err(at(&hash, format!("the password of {name:?} is not hashed with bcrypt: use htpasswd -nBC 10")));
        }
    };
    if !super::users::COSTS.contains(&cost) {
        let (least, most) = (super::users::COSTS.start(), super::users::COSTS.end());
        let what = format!("the hash of {name:?} has the cost {cost}: use one from {least} to {most}, such as 10");
        return Err(at(&hash, what));
    }
    Ok((name, hash.value))
}

fn rate(limit: &Limit) -> Result<Option<Rate>, Fault> {
    let Some(interval) = set(&limit.interval) else { return Ok(None) };
    let parsed = if interval.value == "0" { Some(Duration::ZERO) } else { duration(&interval.value) };
    let Some(duration) = parsed else {
        return Err(at(interval, format!("interval {:?} is no time such as 1s or 100ms", interval.value)));
    };
    if duration.is_zero() {
        return Ok(None);
    }
    let burst = limit.burst.as_ref().map_or(0, |burst| burst.value);
    match u32::try_from(burst) {
        Ok(burst) if burst > 0 => Ok(Some(Rate { interval: duration, burst })),
        _ => Err(at(
            limit.burst.as_ref().unwrap_or(&Spanned::new(0, interval.referenced, interval.defined)),
            "burst below 1 refuses every request: set it to 1 or more",
        )),
    }
}

fn duration(text: &str) -> Option<Duration> {
    text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok())
}
