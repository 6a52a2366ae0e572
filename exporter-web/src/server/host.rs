//! Protection against DNS rebinding.
//!
//! A foreign web site can make its own name resolve to 127.0.0.1, and its scripts then read through the visitor's browser
//! what is served to this host only. Browsers send the site's name in `Host`, so on loopback only this host's names are
//! accepted. TLS and passwords keep such scripts out by themselves.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderValue, Request, header};

/// The names of this host.
pub(super) struct HostNames(Vec<String>);

impl HostNames {
    /// This host's own name and these.
    pub(super) fn new(names: Vec<String>) -> Self {
        let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self(names.into_iter().chain([own]).map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether a request names this host.
    pub(super) fn accept<B>(&self, request: &Request<B>) -> bool {
        let host = request.headers().get(header::HOST).map(HeaderValue::to_str);
        match (request.uri().authority(), host) {
            (Some(authority), _) => self.contains(authority.host()),
            (None, Some(Ok(host))) => host.parse::<Authority>().is_ok_and(|it| self.contains(it.host())),
            (None, Some(Err(_))) => false,
            // HTTP/1.0 without Host: not a browser.
            (None, None) => true,
        }
    }

    /// Addresses, `localhost`, and names of this host with or without the domain.
    fn contains(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_short = |name: &str| name.split('.').next() == Some(host);
        address.parse::<IpAddr>().is_ok()
            || host == "localhost"
            || host.ends_with(".localhost")
            || self.0.iter().any(|name| name == host || is_short(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_with_or_without_the_domain() {
        let names = HostNames::new(vec!["Node.Example".to_owned()]);
        for host in ["node", "node.example", "NODE.example.", "localhost", "a.localhost", "127.0.0.1", "[::1]"] {
            assert!(names.contains(host), "{host}");
        }
        for host in ["node.evil.example", "example", "localhost.example", "127.0.0.1.example", ""] {
            assert!(!names.contains(host), "{host}");
        }
    }
}
