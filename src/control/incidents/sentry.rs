//! When the gateway drafts: thresholds over the pulses of upstreams, with hysteresis. Pure: looks come in with their
//! time.
//!
//! What began lasts until it is clearly over: half of the threshold for shedding, as long a time of well fleets for
//! backends. While it lasts it is told once; who told it to somebody says so by [`Sentry::told`].

use super::book::Notice;
use super::incident::{Cause, Severity};
use super::pulse::{Beat, Fleet, Health, Pulse, told};
use crate::config::public::Incidents as Thresholds;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The process as a whole, among upstreams, of which none has this name: what it refuses comes to none of them.
pub(super) const PROCESS: &str = "";

/// Something that began and is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Episode {
    /// Nobody was told.
    Untold,
    /// It was told.
    Told,
}

/// What one look saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Saw {
    /// It lasts, and nobody was told.
    Lasts(Notice),
    /// It was told, and is over.
    Over(Notice),
}

#[derive(Debug)]
struct Watched {
    pulse: Pulse,
    shed: Option<Episode>,
    backends: Option<Episode>,
    /// Since when too many backends are out, or no longer are.
    turned: Option<(bool, Instant)>,
}

/// Everything that is watched.
#[derive(Debug, Default)]
pub struct Sentry {
    watched: HashMap<Arc<str>, Watched>,
}

impl Sentry {
    /// One look at one upstream.
    pub fn look(
        &mut self,
        now: Instant,
        (upstream, beat, fleet): (&Arc<str>, Beat, Fleet),
        thresholds: &Thresholds,
    ) -> Vec<Saw> {
        let watched = self.watched.entry(upstream.clone()).or_insert_with(|| Watched::new(now));
        watched.pulse.look(now, beat, fleet);
        let saw = [watched.shedding(now, thresholds), watched.fleet(now, thresholds)];
        let saw = saw.into_iter().flatten();
        saw.map(|(over, cause, because, severity)| {
            let upstream = Some(upstream.clone());
            let notice = Notice { upstream, cause, because, severity, named: Vec::new() };
            if over { Saw::Over(notice) } else { Saw::Lasts(notice) }
        })
        .collect()
    }

    /// Somebody was told that it lasts.
    pub fn told(&mut self, upstream: &str, cause: Cause) {
        let Some(watched) = self.watched.get_mut(upstream) else { return };
        let episode = if cause == Cause::Shed { &mut watched.shed } else { &mut watched.backends };
        *episode = episode.map(|_| Episode::Told);
    }

    /// Upstreams that are gone are forgotten.
    pub fn keep_only(&mut self, is_there: impl Fn(&str) -> bool) {
        self.watched.retain(|name, _| is_there(name));
    }

    /// How an upstream does: as well as the process as a whole at best, and well where nothing is known.
    pub fn health(&self, upstream: &str, now: Instant) -> Health {
        let of = |name: &str| self.watched.get(name).map_or(Health::Operational, |it| it.pulse.health(now));
        of(upstream).max(of(PROCESS))
    }

    /// How all of them together do: as the worst, but an outage of one is a partial one of the whole.
    pub fn overall(&self, now: Instant) -> Health {
        let each =
            || self.watched.keys().filter(|name| ***name != *PROCESS).map(|name| self.health(name, now));
        let (worst, best) = (each().max().unwrap_or_default(), each().min().unwrap_or_default());
        if worst == Health::MajorOutage && best < Health::MajorOutage { Health::PartialOutage } else { worst }
    }
}

/// Whether it is over, of what, with which numbers, and how bad.
type Change = (bool, Cause, String, Severity);

impl Watched {
    fn new(now: Instant) -> Self {
        Watched { pulse: Pulse::new(now), shed: None, backends: None, turned: None }
    }

    fn shedding(&mut self, now: Instant, thresholds: &Thresholds) -> Option<Change> {
        let (window, part) = (thresholds.shed_for, thresholds.shed);
        if self.shed.is_none() {
            let whole = self.pulse.sheds_throughout(now, window, part)?;
            self.shed = Some(Episode::Untold);
            return Some(lasting(whole, window));
        }
        let whole = self.pulse.over(now, window).unwrap_or_default();
        let over = whole.shed_part().unwrap_or(0.0) < part / 2.0;
        match (over, self.shed?) {
            (false, Episode::Told) => None,
            (false, Episode::Untold) => Some(lasting(whole, window)),
            (true, before) => {
                self.shed = None;
                let because = format!("It is over: it {}", told(whole, window));
                (before == Episode::Told).then_some((true, Cause::Shed, because, Severity::Minor))
            }
        }
    }

    fn fleet(&mut self, now: Instant, thresholds: &Thresholds) -> Option<Change> {
        let fleet = self.pulse.fleet();
        let is_out = fleet.total > 0 && fleet.out > 0 && fleet.part() >= thresholds.backends_out;
        let since = match self.turned {
            Some((before, since)) if before == is_out => since,
            _ => self.turned.insert((is_out, now)).1,
        };
        let lasted = now.saturating_duration_since(since) >= thresholds.backends_for;
        let seconds = now.saturating_duration_since(since).as_secs();
        let because = || format!("{} of {} backends are out for {seconds} s", fleet.out, fleet.total);
        let severity = if fleet.out == fleet.total { Severity::Critical } else { Severity::Major };
        match (is_out, lasted, self.backends) {
            (true, true, None | Some(Episode::Untold)) => {
                self.backends = Some(Episode::Untold);
                Some((false, Cause::Backends, because(), severity))
            }
            (false, true, Some(before)) => {
                self.backends = None;
                let because = format!("It is over: {} of {} backends are out", fleet.out, fleet.total);
                (before == Episode::Told).then_some((true, Cause::Backends, because, Severity::Minor))
            }
            _ => None,
        }
    }
}

fn lasting(whole: Beat, window: Duration) -> Change {
    let severity = match whole.shed_part() {
        Some(part) if part >= 0.5 => Severity::Major,
        _ => Severity::Minor,
    };
    (false, Cause::Shed, format!("It {}", told(whole, window)), severity)
}

#[cfg(test)]
mod tests;
