//! Metric families as plain data, and their encoding through `prometheus-client`.
//!
//! The encoder writes OpenMetrics, where a counter's family lacks the `_total` of its samples. The
//! older text format, which etcd uses, has the whole name in both places. So in text, a counter is
//! described under its whole name and its samples are written as plain values.

use std::borrow::Cow;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::format::Format;

/// Families under a heading.
pub type Group = (&'static str, Vec<Family>);

/// The labels of one sample.
pub type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// The value of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A count.
    Whole(u64),
    /// A floating-point number, usually of seconds.
    Real(f64),
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<bool> for Number {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

/// The values of a histogram at one scrape.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Upper bounds in seconds, with the number of observations between the previous bound and this
    /// one; the last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// Sum of all observations in seconds.
    pub sum: f64,
}

/// The samples of a family, by its type.
#[derive(Debug, Clone)]
pub enum Samples {
    /// Numbers that only go up. The family's name is without `_total`.
    Counter(Vec<(Labels, Number)>),
    /// Numbers that go up and down.
    Gauge(Vec<(Labels, Number)>),
    /// Distributions.
    Histogram(Vec<(Labels, Histogram)>),
}

/// One metric with all its samples.
#[derive(Debug, Clone)]
pub struct Family {
    /// The name; without `_total` for a counter.
    pub name: &'static str,
    /// The `HELP` text: one sentence.
    pub help: &'static str,
    /// Its samples; a family without any is left out of the page.
    pub samples: Samples,
}

impl Family {
    /// Creates a gauge without labels.
    pub fn gauge(name: &'static str, help: &'static str, value: impl Into<Number>) -> Self {
        let samples = Samples::Gauge(vec![(Vec::new(), value.into())]);
        Self { name, help, samples }
    }

    /// Creates a counter without labels. `name` is without `_total`.
    pub fn counter(name: &'static str, help: &'static str, value: impl Into<Number>) -> Self {
        let samples = Samples::Counter(vec![(Vec::new(), value.into())]);
        Self { name, help, samples }
    }

    /// Returns the name of its samples in both formats. A histogram's samples add `_bucket`, `_sum`
    /// and `_count` to it.
    pub fn sample_name(&self) -> String {
        match self.samples {
            Samples::Counter(_) => format!("{}_total", self.name),
            Samples::Gauge(_) | Samples::Histogram(_) => self.name.to_owned(),
        }
    }

    /// Returns the labels of each sample.
    pub fn labels(&self) -> Vec<&Labels> {
        match &self.samples {
            Samples::Counter(samples) | Samples::Gauge(samples) => {
                samples.iter().map(|(labels, _)| labels).collect()
            }
            Samples::Histogram(samples) => samples.iter().map(|(labels, _)| labels).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        match &self.samples {
            Samples::Counter(samples) | Samples::Gauge(samples) => samples.is_empty(),
            Samples::Histogram(samples) => samples.is_empty(),
        }
    }

    fn encode(&self, format: Format, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        match &self.samples {
            Samples::Gauge(samples) => {
                let metric =
                    encoder.encode_descriptor(self.name, self.help, None, MetricType::Gauge)?;
                each(metric, samples, gauge)
            }
            Samples::Counter(samples) if format == Format::OpenMetrics => {
                let kind = MetricType::Counter;
                each(encoder.encode_descriptor(self.name, self.help, None, kind)?, samples, counter)
            }
            Samples::Counter(samples) => {
                let name = self.sample_name();
                let kind = MetricType::Counter;
                each(encoder.encode_descriptor(&name, self.help, None, kind)?, samples, gauge)
            }
            Samples::Histogram(samples) => {
                let kind = MetricType::Histogram;
                each(
                    encoder.encode_descriptor(self.name, self.help, None, kind)?,
                    samples,
                    histogram,
                )
            }
        }
    }
}

/// Encodes each sample of a family with its labels.
fn each<T>(
    mut metric: MetricEncoder<'_>,
    samples: &[(Labels, T)],
    encode: fn(&mut MetricEncoder<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    samples.iter().try_for_each(|(labels, value)| {
        if labels.is_empty() {
            return encode(&mut metric, value);
        }
        encode(&mut metric.encode_family(labels)?, value)
    })
}

fn gauge(metric: &mut MetricEncoder<'_>, value: &Number) -> fmt::Result {
    match value {
        Number::Whole(value) => metric.encode_gauge(value),
        Number::Real(value) => metric.encode_gauge(value),
    }
}

fn counter(metric: &mut MetricEncoder<'_>, value: &Number) -> fmt::Result {
    match value {
        Number::Whole(value) => metric.encode_counter::<NoLabelSet, _, f64>(value, None),
        Number::Real(value) => metric.encode_counter::<NoLabelSet, _, f64>(value, None),
    }
}

fn histogram(metric: &mut MetricEncoder<'_>, value: &Histogram) -> fmt::Result {
    let count = value.buckets.iter().map(|(_, count)| count).sum();
    metric.encode_histogram::<NoLabelSet>(value.sum, count, &value.buckets, None)
}

/// All families of one scrape.
#[derive(Debug)]
pub struct Page {
    /// The format to encode them in.
    pub format: Format,
    /// The families in the order of the page. Those without samples are left out.
    pub families: Vec<Family>,
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = self.families.iter().filter(|family| !family.is_empty());
        families.try_for_each(|family| family.encode(self.format, &mut encoder))
    }
}
