//! The metrics as text, in the format of OpenMetrics or of Prometheus.
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

/// All metrics, in the order of the text: tables of declarations, and the part of an exposition that feeds each.
const TABLES: &[&dyn Table] = &[
    &Fed(aggregate::metrics::RESETS, |it| Some(&it.totals)),
    &Fed(idle_timeouts::metrics::FAMILIES, |it| Some(&*it.idle_timeouts)),
    &Fed(capacity::metrics::LISTENERS, |it| Some(&*it.capacity)),
    &Fed(capacity::metrics::CONNTRACK, |it| Some(&*it.capacity)),
    &Fed(capacity::metrics::STACK, |it| Some(&*it.capacity)),
    &Fed(capacity::metrics::counters::COUNTERS, |it| Some(&*it.capacity)),
    &Undeclared(|it, encoder| capacity::metrics::counters::encode_undeclared(&it.capacity, encoder)),
    &Fed(capacity::metrics::OUT_RSTS, |it| Some(&*it.capacity)),
    &Fed(kubernetes::metrics::FAMILIES, |it| it.kubernetes.as_ref()),
    &Fed(aggregate::metrics::EVENTS, |it| Some(&it.events)),
    &Fed(owner::metrics::FAMILIES, |it| Some(&*it.owners)),
    &Fed(kernel::metrics::FAMILIES, |it| Some(&*it.probes)),
    &Fed(agent::WEB_CONFIG, |it| it.web_config.as_ref()),
    &Fed(agent::BUILD, |it| Some(&it.build)),
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
    /// OpenMetrics if an `Accept` header names it, as Prometheus does; else the older format.
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
    /// Totals with the kernel's counts.
    pub totals: Totals,
    /// Idle timeouts of destinations, at most `timeout_series`.
    pub idle_timeouts: Vec<IdleTimeout>,
    /// Queues and tables that fill up.
    pub capacity: Arc<CapacitySnapshot>,
    /// State of the Kubernetes watches; `None`: the API is not used.
    pub kubernetes: Option<KubernetesSnapshot>,
    /// Events that were classified, lost or folded.
    pub events: EventCounts,
    /// Whether the current web configuration is in use; `None`: there is no such file.
    pub web_config: Option<bool>,
    /// Events by the outcome of naming their owner; empty if owners are not named.
    pub owners: Vec<(Outcome, u64)>,
    /// State of each probe.
    pub probes: Arc<Probes>,
    /// This build.
    pub build: Build,
}

/// Writes the whole text.
///
/// # Errors
/// If a feed contradicts its declaration. Writing to a string cannot fail.
pub fn encode(exposition: Exposition, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("rstwatch");
    registry.register_collector(Box::new(exposition));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(match format {
        Format::OpenMetrics => out,
        Format::Prometheus => downgrade(&out),
    })
}

/// Translates OpenMetrics text into the Prometheus format: counter families get the suffix of their samples, and the lines
/// UNIT and EOF are removed.
fn downgrade(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    let mut lines = openmetrics.lines().peekable();
    while let Some(line) = lines.next() {
        // Samples, which are most of the lines, stay as they are.
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

/// Metrics that are declared and fed together.
trait Table {
    fn encode(&self, exposition: &Exposition, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result;

    /// The declarations, for docs/metrics.md.
    #[cfg(test)]
    fn descriptions(&self) -> Vec<crate::metric::Description>;
}

/// A table of families, and the part of an exposition that feeds them. Without that part the families are absent.
struct Fed<S: ?Sized + 'static>(&'static [Family<S>], fn(&Exposition) -> Option<&S>);

impl<S: ?Sized> Table for Fed<S> {
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
