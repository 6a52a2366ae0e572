//! Well-known idle timeouts: candidates for a silence that was seen, never culprits.
//!
//! Sources: the vendors' documents and the programs' shipped defaults, as of 2026.

use std::time::Duration;

use crate::record::TimeoutCandidate;

/// Where a timeout lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a device that forwards packets.
    Device,
    /// In a program that ends connections: client, server, proxy.
    End,
}

use Place::{Device, End};

/// Seconds, where, and who has that default.
const KNOWN: &[(u32, Place, &str)] = &[
    (2, End, "gunicorn keepalive"),
    (4, End, "undici client"),
    (5, End, "Apache or Node http keep-alive"),
    (5, End, "CloudFront origin"),
    (5, End, "uvicorn keep-alive"),
    (20, End, "Tomcat or Puma"),
    (30, End, "Jetty"),
    (30, End, "JDK HttpClient"),
    (60, End, "AWS ALB"),
    (60, End, "nginx upstream keepalive"),
    (60, End, ".NET HttpClient"),
    (65, End, "Node http keep-alive (newer)"),
    (75, End, "nginx keepalive_timeout"),
    (90, End, "Go Transport"),
    (90, End, "Traefik client"),
    (120, End, "IIS"),
    (130, End, "Kestrel"),
    (180, End, "Traefik server"),
    (180, Device, "NetScaler client"),
    (240, Device, "Azure load balancer or NAT gateway"),
    (300, End, "Caddy"),
    (300, End, "Envoy stream_idle_timeout"),
    (300, Device, "F5 BIG-IP"),
    (300, End, "OkHttp"),
    (350, Device, "AWS NLB"),
    (350, Device, "AWS NAT gateway"),
    (400, End, "Cloudflare client side"),
    (600, End, "Google Cloud load balancer"),
    (600, Device, "Google Cloud VPC firewall"),
    (600, End, "PgBouncer server_idle_timeout"),
    (900, Device, "IPVS"),
    (900, End, "Cloudflare origin side"),
    (1200, Device, "Google Cloud NAT"),
    (1800, End, "RDS Proxy client"),
    (1800, Device, "Juniper SRX"),
    (3600, End, "Envoy idle_timeout"),
    (3600, Device, "Palo Alto or Cisco ASA"),
    (7200, End, "Linux tcp_keepalive_time"),
    (28_800, End, "MySQL wait_timeout"),
    (86_400, Device, "kube-proxy conntrack"),
    (432_000, Device, "Linux conntrack"),
];

/// More would be noise.
const MOST: usize = 4;

/// Timeouts that a timer-driven end fits: within one second, or two per cent.
///
/// A silence so short that one second is a large part of it fits nothing in particular.
pub fn fitting(silence: Duration, place: Option<Place>) -> Vec<TimeoutCandidate> {
    let silence = silence.as_secs_f64();
    candidates(place, |timeout| {
        let tolerance = f64::max(1.0, timeout * 0.02).min(timeout * 0.2);
        (silence - timeout).abs() <= tolerance
    })
}

/// Timeouts that a silence of at least this length may have exceeded: the longest that is not longer.
///
/// For a reset that answered the next operation the silence is only an upper bound of the timeout.
pub fn exceeded_by(silence: Duration, place: Option<Place>) -> Vec<TimeoutCandidate> {
    let silence = silence.as_secs_f64();
    let longest = of_place(place).map(|(seconds, ..)| *seconds).filter(|seconds| f64::from(*seconds) <= silence).max();
    longest
        .map(|longest| {
            candidates(place, |timeout| timeout >= f64::from(longest) * 0.99 && timeout <= f64::from(longest) * 1.01)
        })
        .unwrap_or_default()
}

/// The entries of one place, or of all.
fn of_place(place: Option<Place>) -> impl Iterator<Item = &'static (u32, Place, &'static str)> {
    KNOWN.iter().filter(move |(_, at, _)| place.is_none_or(|place| place == *at))
}

fn candidates(place: Option<Place>, fits: impl Fn(f64) -> bool) -> Vec<TimeoutCandidate> {
    of_place(place)
        .filter(|(seconds, ..)| fits((*seconds).into()))
        .take(MOST)
        .map(|(seconds, _, who)| TimeoutCandidate { seconds: *seconds, who: (*who).to_owned() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(found: &[TimeoutCandidate]) -> Vec<&str> {
        found.iter().map(|candidate| candidate.who.as_str()).collect()
    }

    #[test]
    fn a_timer_fits_its_timeout() {
        assert_eq!(
            who(&fitting(Duration::from_millis(60_400), None)),
            ["AWS ALB", "nginx upstream keepalive", ".NET HttpClient"]
        );
        assert_eq!(
            who(&fitting(Duration::from_millis(5_050), None)),
            ["Apache or Node http keep-alive", "CloudFront origin", "uvicorn keep-alive"]
        );
        assert!(fitting(Duration::from_secs(47), None).is_empty());
        assert!(fitting(Duration::from_millis(1_200), None).is_empty());
    }

    #[test]
    fn the_next_operation_only_bounds_it() {
        assert_eq!(who(&exceeded_by(Duration::from_secs(400), None))[..1], ["Cloudflare client side"]);
        assert_eq!(who(&exceeded_by(Duration::from_secs(399), None)), ["AWS NLB", "AWS NAT gateway"]);
        assert!(exceeded_by(Duration::from_secs(1), None).is_empty());
    }

    #[test]
    fn devices_are_asked_for_alone() {
        assert_eq!(who(&fitting(Duration::from_secs(300), Some(Device))), ["F5 BIG-IP"]);
        assert!(fitting(Duration::from_secs(60), Some(Device)).is_empty());
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(KNOWN.is_sorted_by_key(|(seconds, ..)| *seconds));
    }
}
