//! Who watches, and what one is expected to see.

use std::fmt;

use super::place::Place;

/// A watcher, by the namespaces that it may look into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Vantage {
    /// Both ends and the router: what one host with all three pods sees.
    All,
    /// The client alone.
    Client,
    /// The server alone, before and after its reboot.
    Server,
}

impl Vantage {
    pub(super) const EACH: [Self; 3] = [Self::All, Self::Client, Self::Server];

    pub(super) fn places(self) -> &'static [Place] {
        match self {
            Self::All => &Place::ALL,
            Self::Client => &[Place::Client],
            Self::Server => &[Place::Server, Place::Rebooted],
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// An event as a row expects it, or as one came: direction, where, cause and sender.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Seen {
    pub(super) direction: String,
    pub(super) at: Option<Place>,
    pub(super) cause: String,
    pub(super) sender: String,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.map_or("?", Place::letter);
        write!(f, "{}@{at} {} {}", self.direction, self.cause, self.sender)
    }
}

/// "2× a + b", in a fixed order; "nothing" for none.
pub(super) fn listed(events: &[Seen]) -> String {
    let mut sorted: Vec<&Seen> = events.iter().collect();
    // Cause before effect.
    sorted.sort_by_key(|seen| (seen.direction != "sent", *seen));
    let groups = sorted.chunk_by(|a, b| a == b);
    let words: Vec<String> = groups
        .filter_map(|group| {
            let first = group.first()?;
            Some(match group.len() {
                1 => first.to_string(),
                count => format!("{count}× {first}"),
            })
        })
        .collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(" + ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_alike_events_once() {
        let sent = Seen {
            direction: "sent".to_owned(),
            at: Some(Place::Server),
            cause: "refused".to_owned(),
            sender: "local_kernel".to_owned(),
        };
        let unplaced = Seen { at: None, ..sent.clone() };
        let text = listed(&[sent.clone(), unplaced, sent]);
        assert_eq!(text, "sent@? refused local_kernel + 2× sent@s refused local_kernel");
        assert_eq!(listed(&[]), "nothing");
    }
}
