//! The agent's HTTP pages, read from within its namespace, and the counts in /metrics.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// The agent's address in the network namespace of the measurement.
pub(crate) const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9877);
const TIMEOUT: Duration = Duration::from_secs(10);

/// A page's body.
pub(crate) fn get(path: &str) -> Result<String> {
    let mut connection = request(path)?;
    let mut response = String::new();
    connection.read_to_string(&mut response).with_context(|| format!("{path}: connection failed"))?;
    let (head, body) = response.split_once("\r\n\r\n").with_context(|| format!("{path}: not an HTTP response"))?;
    if head.split(' ').nth(1) != Some("200") {
        bail!("{path}: {}", head.lines().next().unwrap_or_default());
    }
    Ok(body.to_owned())
}

/// Requests a page; the caller reads the response.
pub(crate) fn request(path: &str) -> Result<TcpStream> {
    let mut connection = TcpStream::connect(ADDRESS)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    // HTTP/1.0: the response is not chunked, and the server closes the connection after it.
    write!(connection, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    Ok(connection)
}

/// The value of a series without labels in /metrics.
pub(crate) fn value(series: &str) -> Result<u64> {
    value_in(&get("/metrics")?, series).with_context(|| format!("no {series} in /metrics"))
}

fn value_in(page: &str, series: &str) -> Option<u64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// Totals of resets in /metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Sent, over all causes.
    pub(crate) sent: u64,
    /// Received, over all causes.
    pub(crate) received: u64,
    /// The kernel's own counts of both directions.
    pub(crate) kernel: u64,
    /// Those whose event was not delivered.
    pub(crate) unsampled: u64,
    /// Verdicts.
    pub(crate) events: u64,
    /// Verdicts folded into `_other`.
    pub(crate) folded: u64,
}

impl Counts {
    /// Reads the current counts.
    pub(crate) fn now() -> Result<Self> {
        Ok(Self::parse(&get("/metrics")?))
    }

    fn parse(text: &str) -> Self {
        let mut counts = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let value: u64 = value.parse().unwrap_or(0);
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            match name {
                "rstwatch_resets_total" => {
                    let sent = labels.contains("direction=\"sent\"");
                    *(if sent { &mut counts.sent } else { &mut counts.received }) += value;
                    if labels.contains("cause=\"unsampled\"") {
                        counts.unsampled += value;
                    }
                }
                "rstwatch_kernel_resets_total" => counts.kernel += value,
                "rstwatch_events_total" => counts.events += value,
                "rstwatch_series_folded_total" => counts.folded += value,
                _ => {}
            }
        }
        counts
    }

    /// What was counted since an earlier reading.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            sent: self.sent - earlier.sent,
            received: self.received - earlier.received,
            kernel: self.kernel - earlier.kernel,
            unsampled: self.unsampled - earlier.unsampled,
            events: self.events - earlier.events,
            folded: self.folded - earlier.folded,
        }
    }

    /// Both directions, over all causes.
    pub(crate) fn all(self) -> u64 {
        self.sent + self.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_resets_by_direction() {
        let text = "# TYPE rstwatch_resets counter\n\
            rstwatch_resets_total{direction=\"sent\",cause=\"refused\",workload=\"a b\"} 3\n\
            rstwatch_resets_total{direction=\"sent\",cause=\"unsampled\"} 4\n\
            rstwatch_resets_total{direction=\"received\",cause=\"refused\"} 6\n\
            rstwatch_kernel_resets_total{direction=\"sent\",reason=\"NO_SOCKET\"} 7\n\
            rstwatch_kernel_resets_total{direction=\"received\",reason=\"none\"} 6\n\
            rstwatch_events_total 9\nrstwatch_series_folded_total 1\n# EOF\n";
        let expected = Counts { sent: 7, received: 6, kernel: 13, unsampled: 4, events: 9, folded: 1 };
        assert_eq!(Counts::parse(text), expected);
        assert_eq!(expected.since(expected), Counts::default());
        assert_eq!((value_in(text, "rstwatch_events_total"), value_in(text, "rstwatch_events")), (Some(9), None));
    }
}
