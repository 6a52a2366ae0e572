//! `rstwatch_resets_total`, read from the daemon's /metrics.

use std::collections::BTreeMap;

const RESETS: &str = "rstwatch_resets_total{";

/// Resets by direction and cause, summed over all other labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Metrics(BTreeMap<(String, String), u64>);

impl Metrics {
    pub(super) fn parse(text: &str) -> Self {
        let mut sums = BTreeMap::new();
        for (labels, value) in text.lines().filter_map(sample) {
            let key = (label(labels, "direction"), label(labels, "cause"));
            *sums.entry(key).or_default() += value;
        }
        Self(sums)
    }

    /// Over these causes, or over all of them.
    pub(super) fn sent(&self, causes: Option<&[&str]>) -> u64 {
        let wanted = |cause: &str| causes.is_none_or(|causes| causes.contains(&cause));
        let sent = self
            .0
            .iter()
            .filter(|((direction, cause), _)| direction == "sent" && wanted(cause));
        sent.map(|(_, count)| count).sum()
    }
}

fn sample(line: &str) -> Option<(&str, u64)> {
    let (labels, value) = line.strip_prefix(RESETS)?.split_once("} ")?;
    // OpenMetrics allows a fraction and a timestamp; a count has neither's digits.
    let whole = value.split([' ', '.']).next()?;
    Some((labels, whole.parse().ok()?))
}

/// The value of one label; the lab's own labels contain no escapes.
fn label(labels: &str, name: &str) -> String {
    let start = format!("{name}=\"");
    let mut pairs = labels
        .split("\",")
        .filter_map(|pair| pair.strip_prefix(&start));
    pairs
        .next()
        .map(|value| value.trim_end_matches('"').to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_workloads() {
        let text = "# TYPE rstwatch_resets counter\n\
            rstwatch_resets_total{direction=\"sent\",cause=\"refused\",workload=\"a\"} 3\n\
            rstwatch_resets_total{direction=\"sent\",cause=\"refused\",workload=\"b\"} 4.0\n\
            rstwatch_resets_total{cause=\"unsampled\",direction=\"sent\"} 5 1700000000\n\
            rstwatch_resets_total{direction=\"received\",cause=\"refused\"} 9\n\
            rstwatch_resets_created{direction=\"sent\",cause=\"refused\"} 1.7e9\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sent(None), 12);
        assert_eq!(metrics.sent(Some(&["refused"])), 7);
    }
}
