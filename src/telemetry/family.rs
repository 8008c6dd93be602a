//! One Prometheus family under construction: name, help, type and its samples.
//!
//! A thin wall around the `prometheus` crate's protos, so that whoever exposes a number states name, help,
//! labels and value on one line. It does not check names; `promtool` does, in a test.

use crate::telemetry::cells::{Bounds, HistogramSum};
use prometheus::proto;

/// A family with its samples so far.
#[derive(Debug)]
pub struct Family {
    family: proto::MetricFamily,
    samples: Vec<proto::Metric>,
}

/// Names and values of the labels of a sample.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

impl Family {
    /// A family of numbers that only grow.
    pub fn counter(name: &str, help: &str) -> Self {
        Family::new(name, help, proto::MetricType::COUNTER)
    }

    /// A family of numbers that come and go.
    pub fn gauge(name: &str, help: &str) -> Self {
        Family::new(name, help, proto::MetricType::GAUGE)
    }

    /// A family of times in buckets.
    pub fn histogram(name: &str, help: &str) -> Self {
        Family::new(name, help, proto::MetricType::HISTOGRAM)
    }

    fn new(name: &str, help: &str, kind: proto::MetricType) -> Self {
        let mut family = proto::MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Family { family, samples: Vec::new() }
    }

    /// Adds a sample to a counter.
    pub fn count(&mut self, labels: Labels<'_>, value: u64) {
        self.count_f64(labels, value as f64);
    }

    /// Adds a sample with a fraction to a counter.
    pub fn count_f64(&mut self, labels: Labels<'_>, value: f64) {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        let mut sample = labelled(labels);
        sample.set_counter(counter);
        self.samples.push(sample);
    }

    /// Adds a sample to a gauge.
    pub fn set(&mut self, labels: Labels<'_>, value: f64) {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        let mut sample = labelled(labels);
        sample.set_gauge(gauge);
        self.samples.push(sample);
    }

    /// Adds a sample to a histogram, in seconds.
    pub fn observe(&mut self, labels: Labels<'_>, bounds: &Bounds, sum: &HistogramSum) {
        let mut cumulative = 0;
        let buckets = bounds.iter().zip(&sum.buckets).map(|(&upper, &n)| {
            cumulative += n;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(upper as f64 / 1e9);
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(sum.count());
        histogram.set_sample_sum(sum.sum_ns as f64 / 1e9);
        let mut sample = labelled(labels);
        sample.set_histogram(histogram);
        self.samples.push(sample);
    }

    /// The finished proto.
    pub fn finish(mut self) -> proto::MetricFamily {
        self.family.set_metric(self.samples);
        self.family
    }
}

fn labelled(labels: Labels<'_>) -> proto::Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    let mut sample = proto::Metric::default();
    sample.set_label(pairs.collect());
    sample
}
