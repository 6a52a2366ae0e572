//! How a metric is declared: once, beside the code that feeds it.
//!
//! A [`Family`] is the description of a metric and the function that writes its samples. Each module with metrics keeps a
//! table of them in its `metrics.rs`; export/metrics.rs lists the tables, and /metrics and docs/metrics.md are generated from it.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry;

/// A label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What its values mean, for docs/metrics.md.
    pub meaning: &'static str,
}

impl Label {
    /// Declares a label.
    pub const fn new(name: &'static str, meaning: &'static str) -> Self {
        Self { name, meaning }
    }
}

/// Unit of a metric's value; its name ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// The word that names end in.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
        }
    }

    const fn encoded(self) -> &'static registry::Unit {
        match self {
            Self::Seconds => &registry::Unit::Seconds,
            Self::Bytes => &registry::Unit::Bytes,
        }
    }
}

/// A metric: its description, and how its samples are written from an `S`.
pub struct Family<S: ?Sized> {
    description: Description,
    feed: Feed<S>,
}

/// Writes the samples of a family.
type Feed<S> = fn(&S, Writer<'_, '_>) -> fmt::Result;

/// The description of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Name without prefix, unit and `_total`.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricType,
    /// Unit of the value; `None` for plain numbers.
    pub unit: Option<Unit>,
    /// What it measures, from which source.
    pub help: &'static str,
    /// Labels of each sample, in the order of the text.
    pub labels: &'static [Label],
}

impl<S: ?Sized> Family<S> {
    /// Declares a counter. Its samples get the suffix `_total`.
    pub const fn counter(name: &'static str, help: &'static str, feed: Feed<S>) -> Self {
        Self::new(name, help, MetricType::Counter, feed)
    }

    /// Declares a gauge.
    pub const fn gauge(name: &'static str, help: &'static str, feed: Feed<S>) -> Self {
        Self::new(name, help, MetricType::Gauge, feed)
    }

    /// Declares a histogram.
    pub const fn histogram(name: &'static str, help: &'static str, feed: Feed<S>) -> Self {
        Self::new(name, help, MetricType::Histogram, feed)
    }

    const fn new(name: &'static str, help: &'static str, kind: MetricType, feed: Feed<S>) -> Self {
        Self { description: Description { name, kind, unit: None, help, labels: &[] }, feed }
    }

    /// Sets the unit.
    pub const fn unit(mut self, unit: Unit) -> Self {
        self.description.unit = Some(unit);
        self
    }

    /// Sets the labels.
    pub const fn labels(mut self, labels: &'static [Label]) -> Self {
        self.description.labels = labels;
        self
    }

    /// The description.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Writes the family.
    ///
    /// # Errors
    ///
    /// If the samples do not match the declaration.
    pub fn encode(&self, source: &S, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        (self.feed)(source, Writer { encoder, description: &self.description })
    }
}

/// Writes one family.
pub struct Writer<'a, 'e> {
    encoder: &'a mut DescriptorEncoder<'e>,
    description: &'a Description,
}

impl<'a> Writer<'a, '_> {
    /// Name of the family, for functions that several families share.
    pub fn name(&self) -> &'static str {
        self.description.name
    }

    /// Writes the only sample of a gauge without labels. Without a value the family is absent.
    pub fn gauge(self, value: Option<impl EncodeGaugeValue + Copy>) -> fmt::Result {
        value.map_or(Ok(()), |value| self.samples()?.gauge(&[], value))
    }

    /// Writes the only sample of a counter without labels. Without a value the family is absent.
    pub fn count(self, count: Option<u64>) -> fmt::Result {
        count.map_or(Ok(()), |count| self.samples()?.count(&[], count))
    }

    /// Begins the family: its HELP and TYPE, even if no sample follows.
    pub fn samples(self) -> Result<Samples<'a>, fmt::Error> {
        let Description { name, kind, unit, help, labels } = *self.description;
        let encoder = self.encoder.encode_descriptor(name, help, unit.map(Unit::encoded), kind)?;
        Ok(Samples { encoder, kind, labels })
    }
}

/// The samples of one family.
pub struct Samples<'a> {
    encoder: MetricEncoder<'a>,
    kind: MetricType,
    labels: &'static [Label],
}

impl Samples<'_> {
    /// Writes a sample of a counter; `values`: of its labels, in the declared order.
    pub fn count(&mut self, values: &[&str], count: u64) -> fmt::Result {
        self.check(matches!(self.kind, MetricType::Counter))?;
        self.sample(values, |sample| sample.encode_counter::<NoLabelSet, _, u64>(&count, None))
    }

    /// Writes a sample of a gauge; `values`: of its labels, in the declared order.
    pub fn gauge(&mut self, values: &[&str], value: impl EncodeGaugeValue + Copy) -> fmt::Result {
        self.check(matches!(self.kind, MetricType::Gauge))?;
        self.sample(values, |sample| sample.encode_gauge(&value))
    }

    /// Writes one histogram; `values`: of its labels, in the declared order. `buckets`: upper bounds, each with its own count.
    pub fn histogram(&mut self, values: &[&str], sum: f64, count: u64, buckets: &[(f64, u64)]) -> fmt::Result {
        self.check(matches!(self.kind, MetricType::Histogram))?;
        self.sample(values, |sample| sample.encode_histogram::<NoLabelSet>(sum, count, buckets, None))
    }

    fn sample(&mut self, values: &[&str], write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result) -> fmt::Result {
        self.check(values.len() == self.labels.len())?;
        match values {
            [] => write(&mut self.encoder),
            _ => write(&mut self.encoder.encode_family(&LabelValues { labels: self.labels, values })?),
        }
    }

    /// Samples that do not match their declaration fail the tests, which write every family.
    fn check(&self, fits: bool) -> fmt::Result {
        if fits { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Labels with their values.
#[derive(Debug)]
struct LabelValues<'a> {
    labels: &'static [Label],
    values: &'a [&'a str],
}

impl EncodeLabelSet for LabelValues<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let mut pairs = self.labels.iter().zip(self.values);
        pairs.try_for_each(|(label, value)| (label.name, *value).encode(encoder.encode_label()))
    }
}

/// Writes a counter without labels that no table declares, because its name is known only at run time.
///
/// # Errors
///
/// If the text cannot be written.
pub fn encode_undeclared_counter(
    name: &str,
    help: &str,
    count: u64,
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    encoder.encode_descriptor(name, help, None, MetricType::Counter)?.encode_counter::<NoLabelSet, _, u64>(&count, None)
}
