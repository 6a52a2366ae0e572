//! Selects events by cause, direction, peer and port.

use std::net::IpAddr;

use ipnet::IpNet;

use rstwatch_verdict::cause::{Cause, Direction};
use rstwatch_verdict::event::Event;

/// Conditions that an event must meet; an empty condition is always met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The cause is one of these.
    pub causes: Vec<Cause>,
    /// The direction.
    pub direction: Option<Direction>,
    /// The remote address is in this network.
    pub peer: Option<IpNet>,
    /// Either end has this port.
    pub port: Option<u16>,
}

impl Filter {
    /// Whether the event meets every condition.
    pub fn admits(&self, event: &Event) -> bool {
        let Self { causes, direction, peer, port } = self;
        (causes.is_empty() || causes.contains(&event.cause))
            && direction.is_none_or(|direction| direction == event.direction)
            && peer.is_none_or(|net| net.contains(&event.remote.ip().to_canonical()))
            && port.is_none_or(|port| [event.local.port(), event.remote.port()].contains(&port))
    }
}

/// Parses a network such as `10.0.0.0/8`, or a single address.
///
/// # Errors
/// What was expected, if it is neither.
pub fn network(text: &str) -> Result<IpNet, String> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "not an address or network such as 10.0.0.0/8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstwatch_verdict::testing::sample;

    #[test]
    fn all_conditions_must_hold() {
        let event = sample::idle_reaped();
        let filter = |change: fn(&mut Filter)| {
            let mut filter = Filter::default();
            change(&mut filter);
            filter.admits(&event)
        };
        assert!(filter(|_| ()));
        assert!(filter(|f| f.causes = vec![Cause::Refused, Cause::IdleReaped]));
        assert!(!filter(|f| f.causes = vec![Cause::Refused]));
        assert!(filter(|f| f.direction = Some(Direction::Received)));
        assert!(!filter(|f| f.direction = Some(Direction::Sent)));
        assert!(filter(|f| f.peer = network("10.0.7.0/24").ok()));
        assert!(!filter(|f| f.peer = network("10.0.3.41").ok()), "the local address is not the peer's");
        assert!(filter(|f| f.port = Some(5432)));
        assert!(filter(|f| f.port = Some(48732)));
        assert!(!filter(|f| f.port = Some(80)));
        assert!(!filter(|f| (f.port, f.direction) = (Some(5432), Some(Direction::Sent))));
    }

    #[test]
    fn networks_and_addresses() {
        for (text, expected) in
            [("10.0.0.0/8", Some("10.0.0.0/8")), ("::1", Some("::1/128")), ("10.0.0.0/33", None), ("db", None)]
        {
            assert_eq!(network(text).ok().map(|net| net.to_string()).as_deref(), expected);
        }
    }
}
