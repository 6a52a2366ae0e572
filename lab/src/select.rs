//! Selects the rows to run, by name and by installed programs.

use dev_support::programs;

use crate::rows::table::{Row, rows};

/// The pseudo row of the 20,000 resets at the end.
pub(crate) const BURST: &str = "burst";

/// The pseudo row of the overflowing accept queues.
pub(crate) const QUEUES: &str = "queues";

/// The pseudo row of processes with an owner by cgroup.
pub(crate) const OWNERS: &str = "owners";

/// The pseudo row of the alert that a full conntrack table fires.
pub(crate) const ALERTS: &str = "alerts";

/// Whether a name selects a row: the row with exactly this name or, if there is none, every row of a family. "8" means every
/// "8-…" and "18" means 18a and 18b, but "4" means only 4.
pub(crate) fn names(asked: &str, id: &str) -> bool {
    if ids().any(|known| known == asked) {
        return id == asked;
    }
    let rest = id.strip_prefix(asked).unwrap_or_default();
    let numbered = asked.ends_with(|last: char| last.is_ascii_digit());
    rest.starts_with(|next: char| next == '-' || (numbered && next.is_ascii_lowercase()))
}

pub(crate) fn ids() -> impl Iterator<Item = &'static str> {
    rows().map(|row| row.id).chain([QUEUES, OWNERS, ALERTS, BURST])
}

/// The first missing program of those that a row needs.
pub(crate) fn missing(row: &Row) -> Option<&'static str> {
    row.needs.iter().copied().find(|program| !installed(program))
}

pub(crate) fn installed(program: &str) -> bool {
    programs::find(program).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_a_row_or_a_family() {
        let named = |asked: &str| ids().filter(|id| names(asked, id)).collect::<Vec<_>>();
        assert_eq!(named("4"), ["4"]);
        assert_eq!(named("18"), ["18a", "18b"]);
        assert!(named("8").len() > 5 && named("nginx").len() > 5);
        assert!(named("no").is_empty());
    }
}
