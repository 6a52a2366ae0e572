//! Well-known idle timeouts: candidates for a silence that was seen, never culprits.
//!
//! Sources: the vendors' documents and the programs' shipped defaults, as of 2026.

use std::time::Duration;

use crate::record::TimeoutCandidate;

/// Seconds, and who has that default.
const KNOWN: &[(u32, &str)] = &[
    (2, "gunicorn keepalive"),
    (4, "undici client"),
    (5, "Apache or Node http keep-alive"),
    (5, "CloudFront origin"),
    (5, "uvicorn keep-alive"),
    (20, "Tomcat or Puma"),
    (30, "Jetty"),
    (30, "JDK HttpClient"),
    (60, "AWS ALB"),
    (60, "nginx upstream keepalive"),
    (60, ".NET HttpClient"),
    (65, "Node http keep-alive (newer)"),
    (75, "nginx keepalive_timeout"),
    (90, "Go Transport"),
    (90, "Traefik client"),
    (120, "IIS"),
    (130, "Kestrel"),
    (180, "Traefik server"),
    (180, "NetScaler client"),
    (240, "Azure load balancer or NAT gateway"),
    (300, "Caddy"),
    (300, "Envoy stream_idle_timeout"),
    (300, "F5 BIG-IP"),
    (300, "OkHttp"),
    (350, "AWS NLB"),
    (350, "AWS NAT gateway"),
    (400, "Cloudflare client side"),
    (600, "Google Cloud load balancer"),
    (600, "Google Cloud VPC firewall"),
    (600, "PgBouncer server_idle_timeout"),
    (900, "IPVS"),
    (900, "Cloudflare origin side"),
    (1200, "Google Cloud NAT"),
    (1800, "RDS Proxy client"),
    (1800, "Juniper SRX"),
    (3600, "Envoy idle_timeout"),
    (3600, "Palo Alto or Cisco ASA"),
    (7200, "Linux tcp_keepalive_time"),
    (28_800, "MySQL wait_timeout"),
    (86_400, "kube-proxy conntrack"),
    (432_000, "Linux conntrack"),
];

/// More would be noise.
const MOST: usize = 4;

/// Timeouts that a timer-driven end fits: within one second, or two per cent.
///
/// A silence so short that one second is a large part of it fits nothing in particular.
pub fn fitting(silence: Duration) -> Vec<TimeoutCandidate> {
    let silence = silence.as_secs_f64();
    candidates(|timeout| {
        let tolerance = f64::max(1.0, timeout * 0.02).min(timeout * 0.2);
        (silence - timeout).abs() <= tolerance
    })
}

/// Timeouts that a silence of at least this length may have exceeded: the longest that is not longer.
///
/// For a reset that answered the next operation the silence is only an upper bound of the timeout.
pub fn exceeded_by(silence: Duration) -> Vec<TimeoutCandidate> {
    let silence = silence.as_secs_f64();
    let longest = KNOWN.iter().map(|(seconds, _)| *seconds).filter(|seconds| f64::from(*seconds) <= silence).max();
    longest
        .map(|longest| {
            candidates(|timeout| timeout >= f64::from(longest) * 0.99 && timeout <= f64::from(longest) * 1.01)
        })
        .unwrap_or_default()
}

fn candidates(fits: impl Fn(f64) -> bool) -> Vec<TimeoutCandidate> {
    KNOWN
        .iter()
        .filter(|(seconds, _)| fits((*seconds).into()))
        .take(MOST)
        .map(|(seconds, who)| TimeoutCandidate { seconds: *seconds, who: (*who).to_owned() })
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
            who(&fitting(Duration::from_millis(60_400))),
            ["AWS ALB", "nginx upstream keepalive", ".NET HttpClient"]
        );
        assert_eq!(
            who(&fitting(Duration::from_millis(5_050))),
            ["Apache or Node http keep-alive", "CloudFront origin", "uvicorn keep-alive"]
        );
        assert!(fitting(Duration::from_secs(47)).is_empty());
        assert!(fitting(Duration::from_millis(1_200)).is_empty());
    }

    #[test]
    fn the_next_operation_only_bounds_it() {
        assert_eq!(who(&exceeded_by(Duration::from_secs(400)))[..1], ["Cloudflare client side"]);
        assert_eq!(who(&exceeded_by(Duration::from_secs(399))), ["AWS NLB", "AWS NAT gateway"]);
        assert!(exceeded_by(Duration::from_secs(1)).is_empty());
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(KNOWN.is_sorted_by_key(|(seconds, _)| *seconds));
    }
}
