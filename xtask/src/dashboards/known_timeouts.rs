//! Well-known idle timeouts from the daemon's table, for the panels that show idle times.

use anyhow::{Context as _, Result};
use serde::Deserialize;

const TABLE: &str = include_str!("../../../rstwatch-verdict/src/known_timeouts/known.toml");

/// Upper bounds of the buckets of `rstwatch_reset_idle_seconds`, nearly all of them well-known timeouts.
pub(super) const EDGES: [u32; 20] =
    [1, 2, 4, 5, 10, 20, 30, 60, 75, 90, 120, 180, 240, 300, 350, 600, 900, 1800, 3600, 7200];

#[derive(Deserialize)]
struct Table {
    timeout: Vec<Timeout>,
}

/// An entry, with the fields that panels need.
#[derive(Deserialize)]
pub(super) struct Timeout {
    pub(super) seconds: u32,
    pub(super) who: String,
    source: String,
}

/// The table, sorted by seconds.
pub(super) fn timeouts() -> Result<Vec<Timeout>> {
    let table: Table = toml::from_str(TABLE).context("known.toml")?;
    Ok(table.timeout)
}

/// The owners of the timeouts in `from..to`, as a list of at most about `max_len` bytes and the number of further ones.
/// Documented timeouts come first.
pub(super) fn owners(timeouts: &[Timeout], from: u32, to: u32, max_len: usize) -> String {
    let mut matching: Vec<_> = timeouts.iter().filter(|it| (from..to).contains(&it.seconds)).collect();
    matching.sort_by_key(|it| (it.source != "documented", it.who.len()));
    let mut text = String::new();
    for (named, timeout) in matching.iter().enumerate() {
        if named > 0 && text.len() + timeout.who.len() > max_len {
            return format!("{text} +{}", matching.len() - named);
        }
        let comma = if named > 0 { ", " } else { "" };
        text += &format!("{comma}{}", timeout.who);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_the_buckets_of_the_daemon() {
        let source = include_str!("../../../rstwatch/src/stats/aggregate/idle.rs");
        let written: String = source.split_whitespace().collect();
        let edges = EDGES.map(|edge| edge.to_string()).join(",");
        let floats = EDGES.map(|edge| format!("{edge}.0")).join(",");
        assert!(written.contains(&edges) || written.contains(&floats), "EDGES differ from stats/aggregate/idle.rs");
    }

    #[test]
    fn documented_timeouts_are_named_first() {
        let timeouts = timeouts().unwrap();
        assert_eq!(owners(&timeouts, 60, 61, 10), "AWS ALB +4");
        assert!(owners(&timeouts, 350, 351, 99).starts_with("AWS NLB, AWS NAT gateway, "));
        assert_eq!(owners(&timeouts, 1, 2, 99), "");
    }
}
