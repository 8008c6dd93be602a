//! How an upstream does, second by second: what was asked, what was refused, what failed, and how many of its backends
//! are out. Pure: looks come in with their time.

use crate::config::units::as_percent;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Nothing older is kept; the longest window of a threshold.
const KEPT: Duration = Duration::from_secs(600);
/// Looks that are kept, should they come faster than one a second.
const MAX_BEATS: usize = 700;
/// What the status page speaks of.
const LATELY: Duration = Duration::from_secs(60);
/// Fewer requests say nothing of a share.
const LEAST: u64 = 20;

/// What was counted between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Requests that were answered well.
    pub well: u64,
    /// Requests that failed at a backend.
    pub failed: u64,
    /// Requests that were refused for want of room.
    pub shed: u64,
    /// Requests that were refused because of a ramp: somebody wants that, so no incident is drafted for it.
    pub ramped: u64,
}

impl Beat {
    /// All of them.
    pub fn asked(self) -> u64 {
        self.well + self.failed + self.shed + self.ramped
    }

    /// The part that was refused, 0 to 1; nothing where nothing was asked.
    pub fn shed_part(self) -> Option<f64> {
        (self.asked() > 0).then(|| self.shed as f64 / self.asked() as f64)
    }

    fn with(self, other: Beat) -> Beat {
        Beat {
            well: self.well + other.well,
            failed: self.failed + other.failed,
            shed: self.shed + other.shed,
            ramped: self.ramped + other.ramped,
        }
    }
}

/// Backends of an upstream that nobody drained, and those of them that are out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// All.
    pub total: u32,
    /// Ejected, down, or without an address.
    pub out: u32,
}

impl Fleet {
    /// The part that is out, 0 to 1.
    pub fn part(self) -> f64 {
        if self.total == 0 { 0.0 } else { f64::from(self.out) / f64::from(self.total) }
    }
}

/// How an upstream does, in the words of the status page; the worst last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing is wrong.
    #[default]
    Operational,
    /// A few requests go wrong.
    Degraded,
    /// Many do.
    PartialOutage,
    /// Most do.
    MajorOutage,
}

impl Health {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Health::Operational => "operational",
            Health::Degraded => "degraded",
            Health::PartialOutage => "partial_outage",
            Health::MajorOutage => "major_outage",
        }
    }

    /// In words, for people.
    pub const fn told(self) -> &'static str {
        match self {
            Health::Operational => "Operational",
            Health::Degraded => "Degraded",
            Health::PartialOutage => "Partial outage",
            Health::MajorOutage => "Major outage",
        }
    }
}

/// What is known of one upstream.
#[derive(Clone, Debug)]
pub struct Pulse {
    since: Instant,
    beats: VecDeque<(Instant, Beat)>,
    fleet: Fleet,
}

impl Pulse {
    /// It is looked at from now on.
    pub fn new(now: Instant) -> Self {
        Pulse { since: now, beats: VecDeque::new(), fleet: Fleet::default() }
    }

    /// One look.
    pub fn look(&mut self, now: Instant, beat: Beat, fleet: Fleet) {
        self.fleet = fleet;
        self.beats.push_back((now, beat));
        let is_old = |at: Instant| now.saturating_duration_since(at) > KEPT;
        while self.beats.len() > MAX_BEATS || self.beats.front().is_some_and(|(at, _)| is_old(*at)) {
            self.beats.pop_front();
        }
    }

    /// What was counted from `from` until `until` ago.
    fn between(&self, now: Instant, from: Duration, until: Duration) -> Beat {
        let inside = |at: Instant| {
            let ago = now.saturating_duration_since(at);
            ago < from && ago >= until
        };
        let beats =
            self.beats.iter().rev().skip_while(|(at, _)| !inside(*at)).take_while(|(at, _)| inside(*at));
        beats.fold(Beat::default(), |sum, (_, beat)| sum.with(*beat))
    }

    /// What was counted in the last `window`, if it was looked at for so long and enough was asked to say something.
    pub fn over(&self, now: Instant, window: Duration) -> Option<Beat> {
        let covered = now.saturating_duration_since(self.since) >= window;
        Some(self.between(now, window, Duration::ZERO)).filter(|beat| covered && beat.asked() >= LEAST)
    }

    /// Whether more than `part` was refused in each third of the last `window`: it lasts, and is no burst that is over.
    pub fn sheds_throughout(&self, now: Instant, window: Duration, part: f64) -> Option<Beat> {
        let whole = self.over(now, window)?;
        let third = window / 3;
        let thirds = [(third, Duration::ZERO), (third * 2, third), (window, third * 2)];
        let each = thirds.into_iter().map(|(from, until)| self.between(now, from, until).shed_part());
        each.into_iter().all(|it| it.is_some_and(|it| it > part)).then_some(whole)
    }

    /// Its backends, as of the last look.
    pub fn fleet(&self) -> Fleet {
        self.fleet
    }

    /// How it does, by its last minute. A backend or two that are out are no news for everyone: others answer.
    pub fn health(&self, now: Instant) -> Health {
        let lately = self.between(now, LATELY, Duration::ZERO);
        let wrong = match lately.asked() {
            asked if asked < LEAST => 0.0,
            asked => (lately.shed + lately.ramped + lately.failed) as f64 / asked as f64,
        };
        let by_requests = match wrong {
            wrong if wrong >= 0.5 => Health::MajorOutage,
            wrong if wrong >= 0.1 => Health::PartialOutage,
            wrong if wrong >= 0.01 => Health::Degraded,
            _ => Health::Operational,
        };
        let by_backends = match self.fleet.part() {
            part if part >= 1.0 => Health::MajorOutage,
            part if part >= 0.5 => Health::Degraded,
            _ => Health::Operational,
        };
        by_requests.max(by_backends)
    }
}

/// What was counted, in words.
pub(super) fn told(beat: Beat, window: Duration) -> String {
    format!(
        "refused {} of its requests over {} s ({} of {})",
        as_percent((beat.shed_part().unwrap_or(0.0) * 1000.0).round() / 1000.0),
        window.as_secs(),
        beat.shed,
        beat.asked()
    )
}
