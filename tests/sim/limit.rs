//! A gateway's limit that finds itself, and what it is told: the real one, or, to show what its guard is for, the same
//! arithmetic without it.

use crate::scene::{Limits, Settings};
use std::time::Duration;
use tidegate::admission::adaptive::{Bounds, Limiter, Window};
use tidegate::admission::settings::Adaptive;

/// The limit of one gateway.
pub struct Limit {
    kind: Kind,
    window: Window,
}

enum Kind {
    Cap,
    Adaptive(Limiter),
    Unguarded(Unguarded),
}

/// Additive increase, multiplicative decrease, and no doubt about itself.
struct Unguarded {
    settings: Adaptive,
    bounds: Bounds,
    limit: u32,
}

impl Limit {
    /// At its beginning.
    pub fn new(settings: &Settings, backends: usize) -> Self {
        let bounds = Bounds { backends: backends as u32, cap: settings.cap };
        let kind = match settings.limit {
            Limits::Cap => Kind::Cap,
            Limits::Adaptive(settings) => Kind::Adaptive(Limiter::new(settings, bounds, None)),
            Limits::Unguarded(settings) => {
                Kind::Unguarded(Unguarded { settings, bounds, limit: 8 * bounds.backends })
            }
        };
        Limit { kind, window: Window::default() }
    }

    /// Requests in flight that it allows.
    pub fn now(&self) -> u32 {
        match &self.kind {
            Kind::Cap => u32::MAX,
            Kind::Adaptive(limiter) => limiter.limit(),
            Kind::Unguarded(unguarded) => unguarded.limit,
        }
    }

    /// Somebody was refused, or had to wait, because of it.
    pub fn bit(&mut self) {
        self.window.limited = true;
    }

    /// So many are in flight.
    pub fn held(&mut self, in_flight: u32) {
        if in_flight > self.window.max_in_flight {
            self.window.max_in_flight = in_flight;
        }
    }

    /// An answer's head came.
    pub fn answered(&mut self, rtt: u64) {
        self.window.ok += 1;
        self.window.time += Duration::from_nanos(rtt);
    }

    /// A request failed as under overload.
    pub fn failed(&mut self) {
        self.window.failed += 1;
    }

    /// Moves, with what happened since the last time; tells why if it was because a cut was futile.
    pub fn tick(&mut self, elapsed: Duration) -> Option<String> {
        let window = std::mem::take(&mut self.window);
        match &mut self.kind {
            Kind::Cap => None,
            Kind::Adaptive(limiter) => {
                let moved = limiter.tick(elapsed, &window)?;
                Some(format!(
                    "limit {} -> {} ({}, objective {:?})",
                    moved.from,
                    moved.to,
                    moved.why.as_str(),
                    limiter.objective()
                ))
            }
            Kind::Unguarded(unguarded) => {
                unguarded.tick(&window);
                None
            }
        }
    }
}

impl Unguarded {
    fn tick(&mut self, window: &Window) {
        let limit = f64::from(self.limit);
        let objective = self.settings.objective.as_secs_f64();
        let mean = window.time.as_secs_f64() / window.ok.max(1) as f64;
        let next = if window.failed >= 3 && window.failed * 10 > window.ok {
            0.7 * limit.min(f64::from(window.max_in_flight))
        } else if mean > objective {
            limit * (0.95 * objective / mean).max(0.7)
        } else if window.limited {
            limit + (0.05 * limit).max(1.0)
        } else {
            limit
        };
        self.limit = (next as u32).clamp(self.bounds.floor(), self.bounds.cap);
    }
}
