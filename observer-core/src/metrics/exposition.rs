//! Metrics as they are gathered, and as text.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Media type of the text.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// What kind of metric a family is. The name of a counter is given without the
/// `_total` that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// A value of a metric.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
    Histogram(Histogram),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<Histogram> for Value {
    fn from(value: Histogram) -> Self {
        Self::Histogram(value)
    }
}

type Labels = Vec<(&'static str, String)>;

/// A metric with all of its label sets.
#[derive(Debug)]
pub(super) struct Family {
    kind: MetricKind,
    help: &'static str,
    samples: BTreeMap<Labels, Value>,
}

impl Family {
    /// A value. What has the same labels twice is one sample: of counts their
    /// sum, for the text could not be read otherwise.
    pub(super) fn put<const N: usize>(&mut self, labels: [(&'static str, &str); N], value: impl Into<Value>) {
        let labels = labels.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        let mut value = value.into();
        if let (Some(Value::Whole(there)), Value::Whole(more)) = (self.samples.get(&labels), &mut value) {
            *more = more.saturating_add(*there);
        }
        self.samples.insert(labels, value);
    }

    /// A count for each cause.
    pub(super) fn put_causes<'a>(&mut self, label: &'static str, causes: impl IntoIterator<Item = (&'a str, u64)>) {
        for (cause, count) in causes {
            self.put([(label, cause)], count);
        }
    }
}

/// Every metric, in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    families: BTreeMap<&'static str, Family>,
}

impl Exposition {
    /// The metric of this name; it is there even if nothing is put into it.
    pub(super) fn family(&mut self, name: &'static str, kind: MetricKind, help: &'static str) -> &mut Family {
        self.families.entry(name).or_insert_with(|| Family { kind, help, samples: BTreeMap::new() })
    }

    /// All of it in the text format 0.0.4.
    pub(super) fn render(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, family) in &self.families {
            let kind = match family.kind {
                MetricKind::Counter => MetricType::Counter,
                MetricKind::Gauge => MetricType::Gauge,
                MetricKind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(name, family.help, None, kind)?;
            for (labels, value) in &family.samples {
                let sample = metric.encode_family(labels)?;
                match (family.kind, value) {
                    (MetricKind::Counter, &Value::Whole(value)) => ConstCounter::new(value).encode(sample)?,
                    (MetricKind::Counter, &Value::Real(value)) => ConstCounter::new(value).encode(sample)?,
                    (_, &Value::Whole(value)) => ConstGauge::new(value).encode(sample)?,
                    (_, &Value::Real(value)) => ConstGauge::new(value).encode(sample)?,
                    (_, Value::Histogram(histogram)) => histogram.encode(sample)?,
                }
            }
        }
        Ok(())
    }
}
