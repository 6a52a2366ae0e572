//! Where to listen.

use std::fmt;
use std::io::{Error, ErrorKind};
use std::net::TcpListener;
use std::str::FromStr;

use anyhow::anyhow;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// `host:port` as in the Prometheus exporter toolkit; without a host every address of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// Name or address without brackets; empty: every address.
    host: String,
    port: u16,
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (host, port) = text.rsplit_once(':')?;
            let host = match host.strip_prefix('[') {
                Some(v6) => v6.strip_suffix(']').filter(|v6| v6.contains(':'))?,
                None if host.contains(':') => return None,
                None => host,
            };
            Some(Self { host: host.to_owned(), port: port.parse().ok()? })
        };
        parse().ok_or_else(|| "not an address such as :9877, 127.0.0.1:9877 or [::1]:9877".to_owned())
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl ListenAddress {
    /// Opens the listener, for a runtime to take over. No runtime is needed, so that it can be done while the right to bind
    /// a privileged port is still there.
    ///
    /// # Errors
    /// In one line that names the address and the flag.
    pub fn bind(&self) -> anyhow::Result<TcpListener> {
        let bound = match self.host.as_str() {
            "" => self.bind_every(),
            host => TcpListener::bind((host, self.port)),
        };
        let ready = |listener: TcpListener| {
            // The standard library's own backlog is short.
            rustix::net::listen(&listener, BACKLOG)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        bound.and_then(ready).map_err(|error| {
            anyhow!("cannot listen on {self}: {}: pick another with --web.listen-address", why(&error))
        })
    }

    fn bind_every(&self) -> Result<TcpListener, Error> {
        match TcpListener::bind(("::", self.port)) {
            // Hosts without IPv6.
            Err(error) if !matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => {
                TcpListener::bind(("0.0.0.0", self.port))
            }
            bound => bound,
        }
    }
}

fn why(error: &Error) -> String {
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
    fn addresses_of_the_toolkit_are_taken() {
        for text in [":9877", "0.0.0.0:9877", "[::]:9877", "127.0.0.1:0", "localhost:80"] {
            assert_eq!(text.parse::<ListenAddress>().map(|address| address.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "9877", "::1:9877", "[::1]", "[x]:1", "127.0.0.1:99999", "127.0.0.1:"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_in_use_is_one_clear_line() {
        let taken = "127.0.0.1:0".parse::<ListenAddress>().expect("address").bind().expect("bound");
        let address = taken.local_addr().expect("address").to_string();
        let error = address.parse::<ListenAddress>().expect("address").bind().expect_err("in use");
        assert_eq!(
            format!("{error:#}"),
            format!("cannot listen on {address}: address in use: pick another with --web.listen-address")
        );
    }
}
