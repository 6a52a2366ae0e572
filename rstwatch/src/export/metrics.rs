//! The totals as Prometheus text, in either of its two dialects.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::Build;
use crate::aggregate::{Labels, LossStage, Series, Totals};
use crate::bounds::Bracket;
use crate::capacity::Snapshot;
use crate::kernel::probe::Probes;
use crate::kubernetes::Snapshot as KubernetesSnapshot;
use crate::owner::Outcome;
use crate::text::fraction;

/// A dialect of the exposition text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0: a counter's family is named without `_total`.
    OpenMetrics,
    /// Prometheus 0.0.4: what curl and promtool get.
    Prometheus,
}

impl Format {
    /// OpenMetrics for who names it in `Accept`, as Prometheus does; the older dialect for everyone else.
    pub fn accepted<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let named = |range: &str| range.trim_start().starts_with("application/openmetrics-text");
        let wanted = accept.into_iter().flat_map(|header| header.split(',')).any(named);
        if wanted { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Everything that one scrape shows.
#[derive(Debug)]
pub struct Exposition {
    /// Totals with the kernel's counts.
    pub totals: Totals,
    /// Idle timeouts of destinations, as many as are shown.
    pub brackets: Vec<Bracket>,
    /// Queues and tables that fill up.
    pub capacity: Arc<Snapshot>,
    /// How the Kubernetes API is, if it is asked.
    pub kubernetes: Option<KubernetesSnapshot>,
    /// Events that HTTP followers were too slow to take; counted in the totals all the same.
    pub follower_missed: u64,
    /// Whether the newest web configuration is in use; none: there is no such file.
    pub web_config: Option<bool>,
    /// Owners of events by what was found; empty where nobody names them.
    pub owners: Vec<(Outcome, u64)>,
    /// What is attached.
    pub probes: Arc<Probes>,
    /// Which build this is.
    pub build: Build,
}

/// The whole text.
///
/// # Errors
/// None that can be met: a string takes what is written.
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

/// OpenMetrics text in the older dialect: counters are named by their samples; no units, no end mark.
fn downgrade(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    let mut lines = openmetrics.lines().peekable();
    while let Some(line) = lines.next() {
        // Nearly all lines are samples.
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
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.resets(&mut encoder)?;
        self.kernel_resets(&mut encoder)?;
        self.idle(&mut encoder)?;
        self.idle_timeout(&mut encoder)?;
        capacity::encode(&self.capacity, &mut encoder)?;
        self.kubernetes.as_ref().map_or(Ok(()), |snapshot| kubernetes::encode(snapshot, &mut encoder))?;
        self.own(&mut encoder)?;
        self.owners(&mut encoder)?;
        self.probe_attached(&mut encoder)?;
        self.probe_missed(&mut encoder)?;
        self.web_config(&mut encoder)?;
        self.build_info(&mut encoder)
    }
}

impl Exposition {
    fn resets(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "TCP resets by verdict. Summed over cause they are what the kernel counted; those without details are unsampled.";
        let mut family = encoder.encode_descriptor("resets", help, None, MetricType::Counter)?;
        for (series, count) in self.totals.resets() {
            let Series { direction, cause, sender, workload } = series;
            let Labels { kind, namespace, workload } = self.totals.labels(workload);
            let labels = [
                ("direction", direction.as_str()),
                ("cause", cause.as_str()),
                ("sender", sender.as_str()),
                ("workload_kind", kind),
                ("namespace", namespace),
                ("workload", workload),
            ];
            counter(&mut family, &labels, count)?;
        }
        Ok(())
    }

    fn kernel_resets(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "TCP resets by the kernel's reason, counted in the kernel, never sampled.";
        let mut family = encoder.encode_descriptor("kernel_resets", help, None, MetricType::Counter)?;
        for (direction, reason, count) in self.totals.kernel_resets() {
            counter(&mut family, &[("direction", direction.as_str()), ("reason", reason)], count)?;
        }
        Ok(())
    }

    fn idle(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "How long connections had been quiet, in seconds, before the operation that met the reset or the reset itself.";
        let mut family = encoder.encode_descriptor("reset_idle", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (direction, cause, histogram) in self.totals.idle() {
            let labels = [("direction", direction.as_str()), ("cause", cause.as_str())];
            let mut metric = family.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(histogram.sum(), histogram.count(), &histogram.buckets(), None)?;
        }
        Ok(())
    }

    fn idle_timeout(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "Idle timeout of a destination, inferred: the longest silence that a connection survived, the shortest that one died of.";
        let mut family = encoder.encode_descriptor("idle_timeout", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for bracket in &self.brackets {
            let peer = bracket.peer.to_string();
            let bounds = [("survived", bracket.survived), ("died", bracket.died.map(|died| died.after))];
            for (bound, silence) in bounds {
                let Some(silence) = silence else { continue };
                family.encode_family(&[("peer", &*peer), ("bound", bound)])?.encode_gauge(&fraction(silence))?;
            }
        }
        Ok(())
    }

    fn own(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "Events classified and counted.";
        encoder
            .encode_descriptor("events", help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&self.totals.events(), None)?;

        let help = "Events lost by stage. Their resets are counted all the same: as unsampled, or by their cause at the stage follower.";
        let mut family = encoder.encode_descriptor("events_lost", help, None, MetricType::Counter)?;
        for stage in LossStage::ALL {
            counter(&mut family, &[("stage", stage.as_str())], self.totals.lost(stage))?;
        }
        counter(&mut family, &[("stage", "follower")], self.follower_missed)?;

        let help = "Resets counted as workload _other because the limit of workloads was reached.";
        encoder
            .encode_descriptor("series_folded", help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&self.totals.folded(), None)
    }

    fn owners(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        if self.owners.is_empty() {
            return Ok(());
        }
        let help = "Events by what their owner was found to be. Unresolved: its cgroup or pod was not known when the event left.";
        let mut family = encoder.encode_descriptor("owners", help, None, MetricType::Counter)?;
        for (outcome, count) in &self.owners {
            counter(&mut family, &[("result", outcome.as_str())], *count)?;
        }
        Ok(())
    }

    fn probe_attached(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "Whether the probe is attached: 1 or 0.";
        let mut family = encoder.encode_descriptor("probe_attached", help, None, MetricType::Gauge)?;
        for probe in &self.probes.0 {
            family.encode_family(&[("probe", probe.name)])?.encode_gauge(&u64::from(probe.is_attached()))?;
        }
        Ok(())
    }

    fn probe_missed(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "1 if the probe is not attached and nothing stands in for it, so that evidence is missing; else 0.";
        let mut family = encoder.encode_descriptor("probe_missed", help, None, MetricType::Gauge)?;
        for probe in &self.probes.0 {
            family.encode_family(&[("probe", probe.name)])?.encode_gauge(&u64::from(probe.is_missed()))?;
        }
        Ok(())
    }

    fn web_config(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let Some(is_up_to_date) = self.web_config else { return Ok(()) };
        let help = "1 if the newest --web.config.file is in use with its certificates; 0 if that cannot be used, so that an older one is.";
        let mut metric =
            encoder.encode_descriptor("web_config_last_reload_successful", help, None, MetricType::Gauge)?;
        metric.encode_gauge(&u64::from(is_up_to_date))
    }

    fn build_info(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let Build { version, revision, object } = self.build;
        let help = "Always 1; which build runs, and the SHA-256 of its eBPF object.";
        let mut family = encoder.encode_descriptor("build_info", help, None, MetricType::Gauge)?;
        let labels = [("version", version), ("revision", revision), ("object", object)];
        family.encode_family(&labels)?.encode_gauge(&1_u64)
    }
}

fn counter<const N: usize>(family: &mut MetricEncoder, labels: &[(&str, &str); N], count: u64) -> fmt::Result
where
    for<'a> [(&'a str, &'a str); N]: EncodeLabelSet,
{
    family.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)
}

mod capacity;
mod kubernetes;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
