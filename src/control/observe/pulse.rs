//! What the gateway is doing at one moment, cheap enough to be read every second at any size: gauges, and counts that
//! only grow. Rates are somebody else's: whoever keeps the pulse before.
//!
//! Nothing here counts anything of its own. A request is its route's, and its upstream is where that route goes now.

use crate::control::observe::Observatory;
use crate::reject::Reason;
use crate::request::Class;
use crate::routing::settings::Action;
use crate::telemetry::metrics::{RouteCounted, UpstreamMetrics};
use std::collections::HashMap;
use std::sync::Arc;

/// The gateway at one moment.
#[derive(Clone, Debug, Default)]
pub struct Pulse {
    /// Requests in the process.
    pub in_flight: u32,
    /// How late the latest core is, in seconds.
    pub lag_seconds: f64,
    /// The upstreams, in the order of the configuration.
    pub upstreams: Vec<UpstreamPulse>,
    /// Everything that was counted, by route; also of routes that are gone and still end requests.
    pub routes: HashMap<Arc<str>, RoutePulse>,
    /// Sheds by upstream, those of no upstream among them.
    pub sheds: HashMap<Arc<str>, Sheds>,
}

/// One upstream's gauges.
#[derive(Clone, Debug, Default)]
pub struct UpstreamPulse {
    /// Its name.
    pub name: Arc<str>,
    /// In flight, zombies included.
    pub in_flight: u32,
    /// Allowed in flight now.
    pub limit: u32,
    /// Waiting.
    pub queue: u32,
}

/// One route's counts.
#[derive(Clone, Debug, Default)]
pub struct RoutePulse {
    /// Where its requests go; nothing for fixed answers and for what is gone.
    pub upstream: Option<Arc<str>>,
    /// Its exchanges are long on purpose, so how long they take says nothing.
    pub streaming: bool,
    /// What it counted.
    pub counted: RouteCounted,
}

/// Sheds of one upstream, by class and reason; those that never happened are left out.
pub type Sheds = HashMap<(Class, Reason), u64>;

impl Observatory {
    /// Reads it.
    pub fn pulse(&self) -> Pulse {
        let tables = self.control.live.tables();
        let metrics = self.control.metrics();
        let limits = self.control.steering().limits(tables.upstreams());
        let upstreams = tables.upstreams().zip(limits).map(|(upstream, limit)| UpstreamPulse {
            name: upstream.name.clone(),
            in_flight: upstream.shared.line.in_flight.get(),
            limit,
            queue: upstream.shared.line.waiting.get(),
        });
        let upstreams = upstreams.collect();
        let mut routes: HashMap<Arc<str>, RoutePulse> = metrics
            .routes()
            .iter()
            .chain([&metrics.route(crate::telemetry::metrics::NONE)])
            .map(|route| {
                let pulse = RoutePulse { counted: route.counted(), ..RoutePulse::default() };
                (route.name.clone(), pulse)
            })
            .collect();
        // The stable version last: where both have a route, it is where most of its requests go.
        let tables = tables.candidate().into_iter().chain([&tables.stable]);
        for (table, route) in tables.flat_map(|table| table.routes.iter().map(move |route| (table, route))) {
            let Some(pulse) = routes.get_mut(&route.settings.name) else { continue };
            pulse.streaming = route.settings.streaming;
            pulse.upstream = match route.settings.action {
                Action::Upstream(index) => table.upstreams.get(index).map(|it| it.name.clone()),
                _ => None,
            };
        }
        let sheds = metrics.upstreams().iter().map(|it| (it.name.clone(), sheds(it))).collect();
        Pulse {
            in_flight: self.process.in_flight.get(),
            lag_seconds: self.worst_lag(),
            upstreams,
            routes,
            sheds,
        }
    }

    fn worst_lag(&self) -> f64 {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        (0..self.cores).map(|core| self.hearts.lag_seconds(core, now)).fold(0.0, f64::max)
    }
}

fn sheds(upstream: &UpstreamMetrics) -> Sheds {
    let reasons = || Reason::ALL.into_iter().filter(|reason| reason.is_shed());
    let kinds = Class::ALL.into_iter().flat_map(|class| reasons().map(move |reason| (class, reason)));
    kinds.map(|kind| (kind, upstream.sheds(kind.0, kind.1))).filter(|(_, count)| *count > 0).collect()
}
