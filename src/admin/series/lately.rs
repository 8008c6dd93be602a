//! Writes the last seconds' rates into a view of the gateway.

use super::meter::{Rates, UpstreamRates};
use super::times::Quantile;
use crate::control::view::{GatewayView, LatelyView, ShedView};
use std::time::Duration;

/// Kinds of sheds that are told of an upstream, the most frequent first.
pub(in crate::admin) const MAX_SHEDS: usize = 6;

impl Rates {
    /// Tells the view of the process and of each upstream.
    pub fn tell(&self, view: &mut GatewayView) {
        view.lately = LatelyView {
            requests_per_second: self.process.map(|flow| short(flow.requests)),
            shed_per_second: self.process.map(|flow| short(flow.sheds)),
            latency_p50_seconds: None,
            latency_p99_seconds: None,
            ..told(&self.nowhere)
        };
        for upstream in &mut view.upstreams {
            if let Some(rates) = self.upstreams.get(&*upstream.name) {
                upstream.lately = told(rates);
            }
        }
    }
}

fn told(rates: &UpstreamRates) -> LatelyView {
    let seconds = |of: Option<Quantile>| of.map(|it| short(it.seconds));
    let at_least = |of: Option<Quantile>| of.is_some_and(|it| it.at_least);
    let span = |of: Option<Duration>| of.map(|it| short(it.as_secs_f64()));
    let shed = |(class, reason, per_second): &(&str, &str, f64)| ShedView {
        class: (*class).to_owned(),
        reason: (*reason).to_owned(),
        per_second: short(*per_second),
    };
    LatelyView {
        requests_per_second: Some(short(rates.flow.requests)),
        shed_per_second: Some(short(rates.flow.sheds)),
        latency_p50_seconds: seconds(rates.p50),
        latency_p50_at_least: at_least(rates.p50),
        latency_p99_seconds: seconds(rates.p99),
        latency_p99_at_least: at_least(rates.p99),
        shedding_seconds: span(rates.shedding),
        silent_seconds: span(rates.silent),
        sheds: rates.sheds.iter().take(MAX_SHEDS).map(shed).collect(),
    }
}

/// Four digits behind the point are more than anybody reads.
fn short(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
