//! What the lab reads from the daemon's /metrics: counts of resets, and which probes work.

use std::collections::BTreeMap;

const RESETS: &str = "rstwatch_resets_total{";
const PROBES: &str = "rstwatch_probe_attached{";

/// One reading of the page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metrics {
    /// By direction and cause, summed over all other labels.
    resets: BTreeMap<(String, String), u64>,
    probes: Vec<String>,
    /// Samples of listeners: name of the metric, port, workload, value.
    listeners: Vec<(String, String, String, u64)>,
}

impl Metrics {
    pub(crate) fn parse(text: &str) -> Self {
        let mut metrics = Self::default();
        for (labels, value) in samples(text, RESETS) {
            let key = (label(labels, "direction"), label(labels, "cause"));
            *metrics.resets.entry(key).or_default() += value;
        }
        let attached = samples(text, PROBES).filter(|(_, value)| *value == 1);
        metrics.probes = attached.map(|(labels, _)| label(labels, "probe")).collect();
        for name in ["listen_queue_length", "listen_queue_limit", "listen_overflows_total"] {
            let start = format!("rstwatch_{name}{{");
            let all = samples(text, &start)
                .map(|(labels, value)| (name.to_owned(), label(labels, "port"), label(labels, "workload"), value));
            metrics.listeners.extend(all);
        }
        metrics
    }

    /// A metric of the listener on a port: its owner and the value.
    pub(crate) fn listener(&self, metric: &str, port: u16) -> Option<(&str, u64)> {
        let port = port.to_string();
        let mut found = self.listeners.iter().filter(|(name, on, ..)| name == metric && *on == port);
        found.next().map(|(_, _, workload, value)| (workload.as_str(), *value))
    }

    /// Overflows that are attributed to no listener.
    pub(crate) fn unattributed_overflows(&self) -> u64 {
        let unattributed = |(name, port, workload, _): &&(String, String, String, u64)| {
            name == "listen_overflows_total" && port.is_empty() && workload.is_empty()
        };
        self.listeners.iter().filter(unattributed).map(|(.., value)| value).sum()
    }

    /// Whether the daemon says that this probe is attached.
    pub(crate) fn has_probe(&self, name: &str) -> bool {
        self.probes.iter().any(|probe| probe == name)
    }

    /// Sent resets with these causes, or all of them.
    pub(crate) fn sent(&self, causes: Option<&[&str]>) -> u64 {
        let wanted = |cause: &str| causes.is_none_or(|causes| causes.contains(&cause));
        let sent = self.resets.iter().filter(|((direction, cause), _)| direction == "sent" && wanted(cause));
        sent.map(|(_, count)| count).sum()
    }
}

fn samples<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
    text.lines().filter_map(move |line| {
        let (labels, value) = line.strip_prefix(start)?.split_once("} ")?;
        // OpenMetrics allows a fraction and a timestamp, which are not part of the count.
        let whole = value.split([' ', '.']).next()?;
        Some((labels, whole.parse().ok()?))
    })
}

/// The value of one label; the lab's own labels contain no escapes.
fn label(labels: &str, name: &str) -> String {
    let start = format!("{name}=\"");
    let mut pairs = labels.split("\",").filter_map(|pair| pair.strip_prefix(&start));
    pairs.next().map(|value| value.trim_end_matches('"').to_owned()).unwrap_or_default()
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
            rstwatch_probe_attached{probe=\"a\"} 1\n\
            rstwatch_probe_attached{probe=\"b\"} 0\n\
            rstwatch_resets_created{direction=\"sent\",cause=\"refused\"} 1.7e9\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sent(None), 12);
        assert_eq!(metrics.sent(Some(&["refused"])), 7);
        assert!(metrics.has_probe("a") && !metrics.has_probe("b"));
    }
}
