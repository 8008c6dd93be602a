//! One second of those that are on their way: what it brought of them and of their warm peers, and what comes of it.

use super::told::told;
use super::{Came, Comebacks, course, target};
use crate::balancing::Backend;
use crate::control::ramp::fleet;
use crate::control::ramp::guard::judge::{Second, Sight};
use crate::control::ramp::guard::{Setback, Turn, Usual};
use crate::control::ramp::lever::Levers;
use crate::control::steering::watchman::{Place, effective, place};
use crate::routing::table::Upstream;
use std::time::Duration;

/// Of a new second against those before: what is usual is known after minutes, so that a bad one is not.
const NEWS: f64 = 1.0 / 300.0;

impl Comebacks {
    /// One second of an upstream.
    pub(super) fn live(&mut self, upstream: &Upstream, levers: &Levers, elapsed: Duration, came: &mut Came) {
        let shares = upstream.cluster.shares.load();
        let course = course(upstream);
        let bar = upstream.gate.adaptive.objective.max(upstream.gate.adaptive.ceiling / 2);
        let ejected: Vec<bool> =
            upstream.cluster.backends.iter().map(|it| self.was_ejected(upstream, it)).collect();
        let seconds: Vec<_> =
            upstream.cluster.backends.iter().map(|it| (it, self.second(upstream, it))).collect();
        let open = |index: usize| shares.of.get(index).is_some_and(|share| !share.out && share.cap > 0);
        let percents: Vec<f64> =
            seconds.iter().map(|(it, _)| effective(upstream, it, levers, self)).collect();
        // While one refuses to be connected to, nothing is learned of it, and nothing is held against it.
        let away = |key: &Place| self.watched.get(key).is_some_and(|watched| watched.detector.is_away());
        let present: Vec<bool> = seconds
            .iter()
            .enumerate()
            .map(|(index, (it, _))| open(index) && it.is_present() && !away(&place(upstream, it)))
            .collect();
        let mut peers = Second::default();
        for (index, (_, second)) in seconds.iter().enumerate() {
            if percents[index] >= 100.0 && present[index] {
                peers += *second;
            }
        }
        for (index, (backend, own)) in seconds.iter().enumerate() {
            let key = place(upstream, backend);
            let Some(running) = self.running.get_mut(&key) else { continue };
            running.unseen = Duration::ZERO;
            if *running.name != *backend.settings.name {
                running.name = backend.settings.name.to_string();
            }
            // Whoever is on watch is warm, and no peer of its own.
            let own_part = if percents[index] >= 100.0 { *own } else { Second::default() };
            let sight = Sight { own: *own, peers: peers.without(&own_part), bar, present: present[index] };
            let turn = match ejected[index] && course.guarded {
                true => Some(running.ramp.back_off(&course, Setback::Ejected)),
                false => running.ramp.live(&course, elapsed, &sight),
            };
            if let Some(turn) = turn {
                let target = target(upstream, &backend.settings.name);
                came.changed = true;
                came.events.extend(told(&target, turn, &course));
                if turn == Turn::Done {
                    self.running.remove(&key);
                    self.tidy(&upstream.name);
                }
            }
        }
        self.open_low_classes(upstream, levers, came);
    }

    /// Low classes of a fleet that came back stay out below half; not where nobody else asks for anything, or
    /// nothing would ever succeed.
    pub(super) fn open_low_classes(&mut self, upstream: &Upstream, levers: &Levers, came: &mut Came) {
        let (mut sum, mut all) = (0.0, 0.0);
        for backend in &upstream.cluster.backends {
            let weight = f64::from(backend.settings.weight.get());
            sum += weight * effective(upstream, backend, levers, self);
            all += weight;
        }
        let course = course(upstream);
        let mut own = self.running.iter().filter(|((name, _), _)| *name == upstream.name);
        let closed = self.whole.contains(&upstream.name)
            && sum < fleet::LOW_CLASSES_FROM * all
            && !own.all(|(_, running)| running.ramp.is_idle(&course));
        came.changed |= closed != self.closed.contains(&upstream.name);
        if closed {
            self.closed.insert(upstream.name.clone());
        } else {
            self.closed.remove(&upstream.name);
        }
    }

    /// It was ejected since this was last asked, and not because it is gone: that it restarts will be noticed, and is
    /// one step back, not two.
    fn was_ejected(&mut self, upstream: &Upstream, backend: &Backend) -> bool {
        let now = backend.metrics.ejections.get();
        let watched = self.watched.entry(place(upstream, backend)).or_default();
        let before = watched.ejections.replace(now);
        before.is_some_and(|before| now > before) && !watched.detector.refuses()
    }

    /// The second of a backend that has just ended; what is usual of it is learned while it is not ramped.
    fn second(&mut self, upstream: &Upstream, backend: &Backend) -> Second {
        let key = place(upstream, backend);
        let is_ramped = self.running.contains_key(&key);
        let watched = self.watched.entry(key).or_default();
        let now = backend.endpoint.vitals.outcomes();
        let before = watched.ended.replace(now).unwrap_or(now);
        let [well, failed, latency_ns] =
            [0, 1, 2].map(|index: usize| now[index].saturating_sub(before[index]));
        let second = Second { well, failed, latency_ns, in_flight: u64::from(backend.in_flight.get()) };
        let signs = backend.endpoint.vitals.signs();
        let refuses = watched.refused.replace(signs.refused) != Some(signs.refused);
        let nobody = signs.established == 0 && refuses;
        if watched.detector.is_away() || nobody {
            // Failures count as slow answers, and its peers would be preferred for a minute. Somebody has to find out
            // whether it is back; who is refused goes elsewhere.
            backend.latency.forget();
        }
        if !is_ramped {
            learn(&mut watched.usual, &second);
        }
        second
    }
}

fn learn(usual: &mut Usual, second: &Second) {
    let outcomes = second.well.saturating_add(second.failed);
    if outcomes == 0 {
        return;
    }
    let mix = |old: f64, new: f64| old + NEWS * (new - old);
    usual.failing = mix(usual.failing, second.failed as f64 / outcomes as f64);
    let latency = second.latency_ns as f64 / second.well.max(1) as f64;
    usual.latency_ns = mix(usual.latency_ns as f64, latency).round() as u64;
}
