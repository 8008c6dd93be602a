//! The last hour, kept on the admin thread whether or not somebody looks: whoever is woken at three sees what came
//! before.
//!
//! Every five seconds it takes the gateway's pulse and keeps a point of each line. It promises a fixed price
//! ([`ring`]), and that neither reloads nor clocks disturb it. It is lost with the process: what is to stay belongs to
//! Prometheus.

pub(super) mod lately;
pub mod meter;
pub mod ring;
mod spell;
pub mod times;

use super::AdminState;
use crate::control::observe::pulse::{Pulse, UpstreamPulse};
use meter::{Meter, Rates};
use ring::{Ring, STEP, Values};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::time::MissedTickBehavior;

/// The last hour.
#[derive(Debug)]
pub struct Series {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ring: Ring,
    meter: Meter,
    /// When the newest step was kept.
    kept: Option<Instant>,
}

impl Default for Series {
    fn default() -> Self {
        Series { began: Instant::now(), state: Mutex::default() }
    }
}

impl Series {
    /// Keeps a pulse as the point of the step that `now` is in.
    pub fn keep(&self, pulse: &Pulse, now: Instant) {
        let mut state = self.state();
        let rates = state.meter.take(pulse, now);
        let step = now.saturating_duration_since(self.began).as_millis() / STEP.as_millis();
        let upstreams =
            pulse.upstreams.iter().map(|upstream| (upstream.name.clone(), of_upstream(upstream, &rates)));
        state.ring.keep(u64::try_from(step).unwrap_or(u64::MAX), of_process(pulse, &rates), upstreams);
        state.kept = Some(now);
    }

    /// Something of the lines.
    pub fn look<T>(&self, at: impl FnOnce(&Ring) -> T) -> T {
        at(&self.state().ring)
    }

    /// The rates since the last step.
    pub fn rates(&self, pulse: &Pulse, now: Instant) -> Arc<Rates> {
        self.state().meter.look(pulse, now)
    }

    /// When the newest step was kept.
    pub fn kept(&self) -> Option<Instant> {
        self.state().kept
    }

    /// What knows the rates of the last step, to go on from there.
    pub fn meter(&self) -> Meter {
        self.state().meter.clone()
    }

    /// Nothing panics while it holds the lock; it is held for arithmetic only.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a point every five seconds, for as long as the admin thread lives.
pub async fn record(state: Arc<AdminState>) {
    let mut ticks = tokio::time::interval(STEP);
    // A thread that was late does not catch up: the steps between stay empty.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let now = ticks.tick().await.into_std();
        if let Ok(reach) = state.reach() {
            state.series.keep(&reach.observatory.pulse(), now);
        }
    }
}

/// In the order of [`ring::OF_PROCESS`].
fn of_process(pulse: &Pulse, rates: &Rates) -> Values<4> {
    let flow = |value: fn(&meter::Flow) -> f64| rates.process.as_ref().map_or(f64::NAN, value);
    let requests = flow(|flow| flow.requests);
    let sheds = flow(|flow| flow.sheds);
    [f64::from(pulse.in_flight), requests, sheds, pulse.lag_seconds].map(short)
}

/// In the order of [`ring::OF_UPSTREAM`].
fn of_upstream(upstream: &UpstreamPulse, rates: &Rates) -> Values<7> {
    let UpstreamPulse { in_flight, limit, queue, .. } = upstream;
    let [in_flight, limit, queue] = [in_flight, limit, queue].map(|gauge| f64::from(*gauge));
    let of = rates.upstreams.get(&upstream.name);
    let rate = |value: fn(&meter::UpstreamRates) -> Option<f64>| of.and_then(value).unwrap_or(f64::NAN);
    let requests = rate(|rates| Some(rates.flow.requests));
    let sheds = rate(|rates| Some(rates.flow.sheds));
    [
        in_flight,
        limit,
        queue,
        requests,
        sheds,
        rate(|rates| Some(rates.p50?.seconds)),
        rate(|rates| Some(rates.p99?.seconds)),
    ]
    .map(short)
}

/// Four digits behind the point are more than a chart shows, and less to send.
fn short(value: f64) -> f32 {
    ((value * 1e4).round() / 1e4) as f32
}

#[cfg(test)]
mod tests {
    use super::ring::{OF_PROCESS, OF_UPSTREAM, POINTS};
    use super::*;
    use std::time::Duration;

    fn pulse(in_flight: u32) -> Pulse {
        let upstream = UpstreamPulse { name: "u".into(), in_flight, limit: 64, queue: 2 };
        Pulse { in_flight, upstreams: vec![upstream], ..Pulse::default() }
    }

    fn newest(series: &Series, name: &str) -> f32 {
        series.look(|ring| {
            let end = ring.newest().expect("there is one");
            let line = |names: &[&str]| names.iter().position(|known| *known == name);
            let value = match line(&OF_UPSTREAM) {
                Some(line) => ring.upstream("u", line, end).expect("it is kept").last(),
                None => ring.process(line(&OF_PROCESS).expect("a name"), end).last(),
            };
            value.expect("720 of them")
        })
    }

    #[test]
    fn a_point_stands_where_its_time_says_and_every_line_has_its_own_value() {
        let series = Series::default();
        let at = |seconds| series.began + Duration::from_secs(seconds);
        series.keep(&pulse(3), at(0));
        assert!(newest(&series, "upstream.requests_per_second").is_nan(), "one pulse is no rate");
        series.keep(&pulse(4), at(5));
        for (name, value) in [
            ("upstream.in_flight", 4.0),
            ("upstream.limit", 64.0),
            ("upstream.queue", 2.0),
            ("upstream.requests_per_second", 0.0),
            ("process.in_flight", 4.0),
            ("process.shed_per_second", 0.0),
            ("worker.lag_seconds", 0.0),
        ] {
            assert_eq!(newest(&series, name), value, "{name}");
        }
        assert!(newest(&series, "upstream.latency_p99_seconds").is_nan(), "nobody was answered");
        series.keep(&pulse(5), at(3_600 * 24));
        let known = series.look(|ring| {
            let end = ring.newest().expect("there is one");
            ring.process(0, end).filter(|value| !value.is_nan()).count()
        });
        assert_eq!((known, newest(&series, "upstream.in_flight")), (1, 5.0), "asleep for a day");
        assert_eq!(series.look(|ring| ring.process(0, 0).count()), POINTS);
    }
}
