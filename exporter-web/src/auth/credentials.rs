//! Parses the `Authorization` header of a request (basic authentication).

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Returns the user and the password, or `None` if the header is missing or malformed.
pub(crate) fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some((String::from_utf8(decoded[..colon].to_vec()).ok()?, decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_basic_credentials() {
        let parse = |value: &str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().expect("a value"))]);
            credentials(&headers)
        };
        let alice = |password: &str| Some(("alice".to_owned(), password.as_bytes().to_vec()));
        assert_eq!(parse("Basic YWxpY2U6c2VjcmV0"), alice("secret"));
        assert_eq!(parse("bAsIc  YWxpY2U6c2VjcmV0 "), alice("secret"));
        assert_eq!(parse("Basic YWxpY2U6YTpi"), alice("a:b"), "a password may contain a colon");
        assert_eq!(parse("Basic YWxpY2U6"), alice(""));
        for malformed in ["Basic", "Basic ???", "Basic YWxpY2U=", "Bearer YWxpY2U6c2VjcmV0", "Basic /zp4"] {
            assert_eq!(parse(malformed), None, "{malformed}");
        }
        assert_eq!(credentials(&HeaderMap::new()), None);
    }
}
