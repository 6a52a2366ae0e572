//! Parses and binds `--web.listen-address`.

use std::fmt;
use std::io::{Error, ErrorKind};
use std::net::TcpListener;
use std::str::FromStr;

/// Length of the accept queue; the kernel limits it to `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// `host:port`, as in the Prometheus exporter toolkit but with a numeric port only; an empty host means all local addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// Host name, or IP address without brackets; empty for all addresses.
    host: String,
    port: u16,
}

/// The address is not `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address: use HOST:PORT, [IPV6]:PORT or :PORT")]
pub struct InvalidListenAddress;

/// Listening failed. The message is one line that names the address, the reason and the flag.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}: pick another with --web.listen-address")]
pub struct ListenError {
    address: ListenAddress,
    reason: String,
}

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    fn from_str(text: &str) -> Result<Self, InvalidListenAddress> {
        let parse = || {
            let (host, port) = text.rsplit_once(':')?;
            let host = match host.strip_prefix('[') {
                Some(v6) => v6.strip_suffix(']').filter(|v6| v6.contains(':'))?,
                None if host.contains(':') => return None,
                None => host,
            };
            Some(Self { host: host.to_owned(), port: port.parse().ok()? })
        };
        parse().ok_or(InvalidListenAddress)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl ListenAddress {
    /// Binds and listens. The socket is non-blocking, as `tokio::net::TcpListener::from_std` requires.
    ///
    /// Does not need a runtime, so a privileged port can be bound before threads start and capabilities are dropped.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn bind(&self) -> Result<TcpListener, ListenError> {
        let bound = match self.host.as_str() {
            "" => self.bind_unspecified(),
            host => TcpListener::bind((host, self.port)),
        };
        let listen = |listener: TcpListener| {
            // The standard library sets a backlog of 128; raise it.
            rustix::net::listen(&listener, BACKLOG)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        bound.and_then(listen).map_err(|error| ListenError { address: self.clone(), reason: reason(&error) })
    }

    fn bind_unspecified(&self) -> Result<TcpListener, Error> {
        match TcpListener::bind(("::", self.port)) {
            // Other errors mean that this host has no IPv6.
            Err(error) if !matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => {
                TcpListener::bind(("0.0.0.0", self.port))
            }
            bound => bound,
        }
    }
}

fn reason(error: &Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => "address in use".to_owned(),
        ErrorKind::AddrNotAvailable => "this host has no such address".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_addresses_like_the_exporter_toolkit() {
        for text in [":9100", "0.0.0.0:9100", "[::]:9100", "127.0.0.1:0", "localhost:80"] {
            assert_eq!(text.parse::<ListenAddress>().map(|address| address.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "9100", "::1:9100", "[::1]", "[x]:1", "127.0.0.1:99999", "127.0.0.1:"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_in_use_is_reported_in_one_line() {
        let listener = "127.0.0.1:0".parse::<ListenAddress>().expect("address").bind().expect("bound");
        let address = listener.local_addr().expect("address").to_string();
        let error = address.parse::<ListenAddress>().expect("address").bind().expect_err("in use");
        assert_eq!(
            error.to_string(),
            format!("cannot listen on {address}: address in use: pick another with --web.listen-address")
        );
    }
}
