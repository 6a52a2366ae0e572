//! Well-known idle timeouts, from the daemon's own table: marks for panels that show silences.

use anyhow::{Context as _, Result};
use serde::Deserialize;

const TABLE: &str = include_str!("../../../rstwatch-verdict/src/known_timeouts/known.toml");

/// The buckets of `rstwatch_reset_idle_seconds`, which end at well-known timeouts.
pub(super) const EDGES: [u32; 20] =
    [1, 2, 4, 5, 10, 20, 30, 60, 75, 90, 120, 180, 240, 300, 350, 600, 900, 1800, 3600, 7200];

#[derive(Deserialize)]
struct Table {
    timeout: Vec<Timeout>,
}

/// One entry; what panels do not need is left out.
#[derive(Deserialize)]
pub(super) struct Timeout {
    pub(super) seconds: u32,
    pub(super) who: String,
    source: String,
}

/// The whole table, sorted by seconds.
pub(super) fn timeouts() -> Result<Vec<Timeout>> {
    let table: Table = toml::from_str(TABLE).context("known.toml")?;
    Ok(table.timeout)
}

/// Whose timeouts lie from `from` up to but without `to`: as many names as there is room for, the documented ones
/// first, and how many more there are.
pub(super) fn whose(timeouts: &[Timeout], from: u32, to: u32, room: usize) -> String {
    let mut here: Vec<_> = timeouts.iter().filter(|it| (from..to).contains(&it.seconds)).collect();
    here.sort_by_key(|it| (it.source != "documented", it.who.len()));
    let mut text = String::new();
    for (named, timeout) in here.iter().enumerate() {
        if named > 0 && text.len() + timeout.who.len() > room {
            return format!("{text} +{}", here.len() - named);
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
    fn the_daemon_has_these_buckets() {
        let source = include_str!("../../../rstwatch/src/aggregate/idle.rs");
        let written: String = source.split_whitespace().collect();
        let edges = EDGES.map(|edge| edge.to_string()).join(",");
        let floats = EDGES.map(|edge| format!("{edge}.0")).join(",");
        assert!(written.contains(&edges) || written.contains(&floats), "EDGES differ from aggregate/idle.rs");
    }

    #[test]
    fn documented_timeouts_are_named_first() {
        let timeouts = timeouts().unwrap();
        assert_eq!(whose(&timeouts, 60, 61, 10), "AWS ALB +4");
        assert!(whose(&timeouts, 350, 351, 99).starts_with("AWS NLB, AWS NAT gateway, "));
        assert_eq!(whose(&timeouts, 1, 2, 99), "");
    }
}
