//! Encodes the metrics as text, in the OpenMetrics or the Prometheus format.
//!
//! Metrics are declared beside the code that feeds them (see [`crate::metric`]). This module lists their tables.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use super::Build;
use crate::capacity::CapacitySnapshot;
use crate::identity::kubernetes::Snapshot as KubernetesSnapshot;
use crate::identity::owner::Outcome;
use crate::identity::{kubernetes, owner};
use crate::kernel::probe::Probes;
use crate::metric::Family;
use crate::stats::aggregate::Totals;
use crate::stats::aggregate::metrics::EventCounts;
use crate::stats::idle_timeouts::IdleTimeout;
use crate::stats::{aggregate, idle_timeouts};
use crate::{capacity, kernel};

mod agent;

/// All metrics, in output order: each table of declarations, and the part of an exposition that holds its values.
const TABLES: &[&dyn Table] = &[
    &Declared(aggregate::metrics::RESETS, |it| Some(&it.totals)),
    &Declared(idle_timeouts::metrics::FAMILIES, |it| Some(&*it.idle_timeouts)),
    &Declared(capacity::metrics::LISTENERS, |it| Some(&*it.capacity)),
    &Declared(capacity::metrics::CONNTRACK, |it| Some(&*it.capacity)),
    &Declared(capacity::metrics::STACK, |it| Some(&*it.capacity)),
    &Declared(capacity::metrics::counters::COUNTERS, |it| Some(&*it.capacity)),
    &Undeclared(|it, encoder| capacity::metrics::counters::encode_undeclared(&it.capacity, encoder)),
    &Declared(capacity::metrics::OUT_RSTS, |it| Some(&*it.capacity)),
    &Declared(kubernetes::metrics::FAMILIES, |it| it.kubernetes.as_ref()),
    &Declared(aggregate::metrics::EVENTS, |it| Some(&it.events)),
    &Declared(owner::metrics::FAMILIES, |it| Some(&*it.owners)),
    &Declared(kernel::metrics::FAMILIES, |it| Some(&*it.probes)),
    &Declared(agent::WEB_CONFIG, |it| it.web_config.as_ref()),
    &Declared(agent::BUILD, |it| Some(&it.build)),
];

/// A text format of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0: the family of a counter has no `_total` in its name.
    OpenMetrics,
    /// Prometheus 0.0.4, for curl and promtool.
    Prometheus,
}

impl Format {
    /// OpenMetrics if an `Accept` header names it, as that of Prometheus does; otherwise the older format.
    pub fn accepted<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let named = |range: &str| range.trim_start().starts_with("application/openmetrics-text");
        let is_named = accept.into_iter().flat_map(|header| header.split(',')).any(named);
        if is_named { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Everything that one scrape exports.
#[derive(Debug)]
pub struct Exposition {
    /// Totals of resets, with the kernel side's counts.
    pub totals: Totals,
    /// Idle timeouts of destinations, at most `timeout_series`.
    pub idle_timeouts: Vec<IdleTimeout>,
    /// How full queues and tables are.
    pub capacity: Arc<CapacitySnapshot>,
    /// State of the Kubernetes watches; `None` if the API is not used.
    pub kubernetes: Option<KubernetesSnapshot>,
    /// Counts of events that were classified, lost or folded.
    pub events: EventCounts,
    /// Whether the web configuration in use is up to date; `None` without a configuration file.
    pub web_config: Option<bool>,
    /// Events by the outcome of looking up their owner; empty if owners are not looked up.
    pub owners: Vec<(Outcome, u64)>,
    /// State of each probe.
    pub probes: Arc<Probes>,
    /// This build.
    pub build: Build,
}

/// Encodes an exposition.
///
/// # Errors
/// If a family's samples contradict its declaration. Writing to a string cannot fail.
pub fn encode(exposition: Exposition, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("rstwatch");
    registry.register_collector(Box::new(exposition));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(match format {
        Format::OpenMetrics => out,
        Format::Prometheus => to_prometheus(&out),
    })
}

/// Converts OpenMetrics text to the Prometheus format: appends `_total` to the names of counter families, and drops the
/// `# UNIT` and `# EOF` lines.
fn to_prometheus(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    let mut lines = openmetrics.lines().peekable();
    while let Some(line) = lines.next() {
        // Samples, which are most of the lines, are the same in both formats.
        if !line.starts_with('#') {
            out.extend([line, "\n"]);
            continue;
        }
        if line.starts_with("# UNIT ") || line == "# EOF" {
            continue;
        }
        let counter = |line: &str| line.starts_with("# TYPE ") && line.ends_with(" counter");
        let of_counter = counter(line) || line.starts_with("# HELP ") && lines.peek().is_some_and(|next| counter(next));
        match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
            [hash, keyword, name, rest] if of_counter => out.extend([hash, " ", keyword, " ", name, "_total ", rest]),
            _ => out += line,
        }
        out.push('\n');
    }
    out
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        TABLES.iter().try_for_each(|table| table.encode(self, &mut encoder))
    }
}

/// Metrics that are encoded from the same part of an exposition.
trait Table {
    fn encode(&self, exposition: &Exposition, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result;

    /// The declarations, for docs/metrics.md.
    #[cfg(test)]
    fn descriptions(&self) -> Vec<crate::metric::Description>;
}

/// A table of families, and the part of an exposition that holds their values. Without that part, the families are absent.
struct Declared<S: ?Sized + 'static>(&'static [Family<S>], fn(&Exposition) -> Option<&S>);

impl<S: ?Sized> Table for Declared<S> {
    fn encode(&self, exposition: &Exposition, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Self(families, source) = self;
        let Some(source) = source(exposition) else { return Ok(()) };
        families.iter().try_for_each(|family| family.encode(source, encoder))
    }

    #[cfg(test)]
    fn descriptions(&self) -> Vec<crate::metric::Description> {
        self.0.iter().map(|family| *family.description()).collect()
    }
}

/// Metrics whose names are known only at run time.
struct Undeclared(fn(&Exposition, &mut DescriptorEncoder<'_>) -> fmt::Result);

impl Table for Undeclared {
    fn encode(&self, exposition: &Exposition, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(exposition, encoder)
    }

    #[cfg(test)]
    fn descriptions(&self) -> Vec<crate::metric::Description> {
        Vec::new()
    }
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
