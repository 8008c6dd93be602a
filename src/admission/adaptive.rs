//! The limit that finds itself: additive increase, multiplicative decrease against an absolute latency objective,
//! with a guard that gives a cut back when it did not help (`overload.md` 2(iii)).
//!
//! Pure: what happened in a window comes in, a limit comes out. It promises to stay between floor and cap whatever
//! comes, and to stand still while nothing is known. It has no baseline that could drift and sends no probes, so
//! several gateways before one fleet see the same times and cut together. It refuses nobody: the gate does, with the
//! limit that is published, and the caps that are configured stay the safety.
//!
//! Some things differ from the design's figure, because its simulation did not have them:
//! - A window with fewer than 20 outcomes after a second moves the limit only while the limit stands in somebody's
//!   way. Of an upstream that is seldom asked it says too little, and the caps act alone; but a limit that lets too
//!   few through for 20 outcomes must find its way back.
//! - Nothing can be cut below the floor, so a cut that began below twice the floor could never be found futile, and
//!   an upstream that is slow by nature would stay at four requests for ever after one bad minute. Three slow windows
//!   at the floor are judged like a cut to half.
//! - It begins as after a collapse, growing fast, until answers are slow or it has four times its first value: eight
//!   requests for each backend are a guess, and 5 % of sixteen takes seconds to become fifty.
//! - A client that leaves is no sample, unless more leave than are answered and after more than the objective: where
//!   clients have less patience than the routes, a queue that outlasts it would otherwise leave no sample at all.
//! - A cut is judged by what was let in after it. An answer that takes most
//!   of a second tells of a limit four windows ago: judged after three, a fleet that was ten times slower looked as if
//!   cutting did not help, and the limit went back to where nobody was served in time.
//! - A mean of few answers scatters by about their root, and is above the objective by chance if the objective is what
//!   answers take by nature. Cutting for that more than growing at other times wore the limit down to its floor, in
//!   one of sixteen runs; so it cuts when the mean is above by more than that, and stands still in between.
//! - In `shadow` no cut is felt, so none can be found futile. It stops at what Little's law leaves at the objective:
//!   where `enforce` settles if the time is spent in the upstream's queue.

pub mod board;

use crate::admission::settings::{Adaptive, Mode};
use std::time::Duration;

/// Between two ticks.
pub const TICK: Duration = Duration::from_millis(200);
/// Outcomes that make a window worth judging.
const ENOUGH: u64 = 20;
/// A window waits for them no longer than this.
const LONGEST: Duration = Duration::from_secs(1);
/// Failures that say something, and the part of the outcomes that they must be above.
const FAILURES: (u64, f64) = (3, 0.1);
/// What a cut leaves at least.
const CUT: f64 = 0.7;
/// Where a cut aims, relative to the objective.
const AIM: f64 = 0.95;
/// Slow windows in a row before a cut is judged.
const SLOW_WINDOWS: u32 = 3;
/// Answers that a cut is judged by: with twenty, chance decides one in ten times.
const JUDGED: u64 = 40;
/// A cut to half that leaves more than this part of the time was futile.
const FUTILE: f64 = 0.8;
/// The objective after a futile cut, relative to the time that was seen. The design's 1.25 leaves too little above the
/// scatter of forty answers.
const RAISE: f64 = 1.4;
/// A raised objective falls so per window that is below the configured one.
const EASE: f64 = 0.98;
/// Growth per window below the threshold that a collapse left, and above it. Not by what the objective leaves, as a
/// cut: answers tell of a limit of a window or two ago, and with 30 % a window two gateways together overshot twofold.
const GROWTH: (f64, f64) = (0.3, 0.05);
/// The first limit, per backend.
const FIRST_PER_BACKEND: u32 = 8;
/// How many times the first limit it grows fast, while nothing is known: up to half of the default cap.
const UNKNOWN: u32 = 4;
/// The least floor.
const FLOOR: u32 = 4;

/// Between what the limit moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Backends that take requests.
    pub backends: u32,
    /// The configured cap of the upstream.
    pub cap: u32,
}

impl Bounds {
    /// One request for each backend, four at least, and never above the cap.
    pub fn floor(&self) -> u32 {
        self.backends.max(FLOOR).min(self.ceiling())
    }

    fn ceiling(&self) -> u32 {
        self.cap.max(1)
    }

    fn hold(&self, limit: f64) -> u32 {
        // Saturates; whole requests.
        (limit as u32).clamp(self.floor(), self.ceiling())
    }
}

/// What happened since the last tick, over all cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Requests whose answer's head came.
    pub ok: u64,
    /// What they took until then, altogether.
    pub time: Duration,
    /// Requests that failed as under overload: a timeout, a reset, no connection, the upstream's own 503.
    pub failed: u64,
    /// Clients that left without an answer after they had waited for longer than the objective.
    pub left: u64,
    /// Somebody was refused or waited because of the limit, or would have in `shadow`.
    pub limited: bool,
    /// The most in flight at once.
    pub max_in_flight: u32,
}

impl Window {
    fn add(&mut self, more: &Window) {
        self.ok += more.ok;
        self.time += more.time;
        self.failed += more.failed;
        self.left += more.left;
        self.limited |= more.limited;
        self.max_in_flight = self.max_in_flight.max(more.max_in_flight);
    }

    /// Who leaves may have changed its mind, or mean harm. But when more leave than are answered, they are what a
    /// timeout would have counted, had the clients been more patient than the gateway.
    pub fn failures(&self) -> u64 {
        if self.left > self.ok { self.failed + self.left } else { self.failed }
    }

    /// What it is judged by.
    pub fn outcomes(&self) -> u64 {
        self.ok + self.failures()
    }

    /// Seconds to the answer's head; without an answer, more than any objective.
    fn mean(&self) -> f64 {
        if self.ok == 0 { f64::INFINITY } else { self.time.as_secs_f64() / self.ok as f64 }
    }

    fn fails(&self) -> bool {
        let (least, part) = FAILURES;
        self.failures() >= least && self.failures() as f64 > part * self.outcomes() as f64
    }
}

/// Why the limit moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// More than a tenth of the requests failed.
    Failing,
    /// Answers took longer than the objective.
    Slow,
    /// A cut did not make answers faster: it is given back, and the objective raised.
    Futile,
    /// Requests were refused or waited, and answers are fast enough.
    Wanted,
    /// Backends came or went, or the configuration changed.
    Bounds,
}

impl Why {
    /// All of them, in the order of their numbers.
    pub const ALL: [Why; 5] = [Why::Failing, Why::Slow, Why::Futile, Why::Wanted, Why::Bounds];

    /// The label of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Why::Failing => "failing",
            Why::Slow => "slow",
            Why::Futile => "futile",
            Why::Wanted => "wanted",
            Why::Bounds => "bounds",
        }
    }
}

/// One move of the limit, with the numbers that led to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Move {
    /// Why.
    pub why: Why,
    /// The limit before.
    pub from: u32,
    /// The limit now.
    pub to: u32,
    /// What the window saw.
    pub window: Window,
    /// Mean time to the answer's head that was aimed at when it was judged.
    pub objective: Duration,
}

/// Slow windows in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Episode {
    windows: u32,
    /// The limit when it began.
    limit: u32,
    /// The limit when the first of those began that followed each other.
    first: u32,
    /// Answers before enough was cut, and what they took altogether.
    before: Answers,
    /// The same of those that were let in after it.
    after: Answers,
    /// For how long enough has been cut.
    tried: Duration,
}

/// Answers, and what they took altogether.
#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    count: u64,
    time: Duration,
}

impl Answers {
    fn add(&mut self, window: &Window) {
        self.count += window.ok;
        self.time += window.time;
    }

    fn mean(&self) -> f64 {
        self.time.as_secs_f64() / self.count.max(1) as f64
    }
}

/// One upstream's limit.
#[derive(Clone, Debug)]
pub struct Limiter {
    settings: Adaptive,
    bounds: Bounds,
    limit: u32,
    /// Seconds, at least the configured objective.
    objective: f64,
    episode: Episode,
    /// Below it the limit grows fast: what was well before a collapse, or is likely to be at first.
    threshold: u32,
    gathered: Window,
    gathered_for: Duration,
}

impl Limiter {
    /// Begins at `initial`, what it was when it was last known; else at eight requests for each backend.
    pub fn new(settings: Adaptive, bounds: Bounds, initial: Option<u32>) -> Self {
        let first = initial.unwrap_or_else(|| bounds.backends.saturating_mul(FIRST_PER_BACKEND));
        Limiter {
            settings,
            bounds,
            limit: bounds.hold(f64::from(first)),
            objective: settings.objective.as_secs_f64(),
            episode: Episode::default(),
            threshold: if initial.is_none() { first.saturating_mul(UNKNOWN) } else { 0 },
            gathered: Window::default(),
            gathered_for: Duration::ZERO,
        }
    }

    /// Requests in flight that it allows.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// What it aims at now; above the configured objective after a futile cut.
    pub fn objective(&self) -> Duration {
        Duration::from_secs_f64(self.objective)
    }

    /// The objective is above the configured one.
    pub fn is_raised(&self) -> bool {
        self.objective > self.settings.objective.as_secs_f64()
    }

    /// It cannot go lower.
    pub fn at_floor(&self) -> bool {
        self.limit <= self.bounds.floor() && self.limit < self.bounds.cap
    }

    /// The bounds that it moves in.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Takes over what a new version says, and how many backends there are now: with more of them it grows at once in
    /// the same proportion, and with fewer it shrinks. What it has learned stays, whatever the mode was.
    pub fn follow(&mut self, settings: Adaptive, bounds: Bounds) -> Option<Move> {
        if settings != self.settings {
            let raised = self.is_raised();
            let (objective, most) = (settings.objective.as_secs_f64(), ceiling(&settings));
            self.objective = if raised { self.objective.clamp(objective, most) } else { objective };
            self.settings = settings;
            self.episode = Episode::default();
        }
        if bounds == self.bounds {
            return None;
        }
        // Without any backend nothing is known; they mostly come back.
        let backends = if bounds.backends == 0 { self.bounds.backends } else { bounds.backends };
        let was = std::mem::replace(&mut self.bounds, Bounds { backends, ..bounds });
        let scale = if was.backends == 0 { 1.0 } else { f64::from(backends) / f64::from(was.backends) };
        // To the nearest: what comes and goes must not wear the limit down.
        let to = self.bounds.hold((f64::from(self.limit) * scale).round());
        self.episode = Episode::default();
        self.moved(Why::Bounds, to, Window::default())
    }

    /// Takes in what happened in the last `elapsed`, and moves when it has seen enough. Call it every [`TICK`].
    pub fn tick(&mut self, elapsed: Duration, window: &Window) -> Option<Move> {
        self.gathered.add(window);
        self.gathered_for += elapsed;
        let enough = self.gathered.outcomes() >= ENOUGH;
        if !enough && self.gathered_for < LONGEST {
            return None;
        }
        let gathered = std::mem::take(&mut self.gathered);
        let span = std::mem::take(&mut self.gathered_for);
        let tells = enough || (gathered.limited && gathered.outcomes() > 0);
        if !tells {
            return None;
        }
        if gathered.fails() {
            self.collapse(gathered)
        } else if gathered.mean() > self.objective {
            self.cut(gathered, span)
        } else {
            self.grow(gathered)
        }
    }

    fn collapse(&mut self, seen: Window) -> Option<Move> {
        let held = self.limit.min(seen.max_in_flight.max(1));
        self.threshold = self.threshold.max(self.limit.min(held.saturating_mul(2)));
        self.moved(Why::Failing, self.bounds.hold(CUT * f64::from(held)), seen)
    }

    fn cut(&mut self, seen: Window, span: Duration) -> Option<Move> {
        let mean = seen.mean();
        if mean.is_infinite() {
            // One or two failures and nothing else.
            return None;
        }
        let surely = mean > self.objective * (1.0 + 1.0 / (seen.ok as f64).sqrt());
        if self.settings.mode == Mode::Shadow {
            if !surely {
                return None;
            }
            let little = seen.ok as f64 / span.as_secs_f64().max(1e-3) * self.objective;
            let to = self.less(mean).max(self.bounds.hold(little)).min(self.limit);
            return self.moved(Why::Slow, to, seen);
        }
        if self.episode.windows > 0 && self.has_tried() {
            // What is answered now was mostly let in before the cut, until that has lasted as long as an answer takes.
            let settled = self.episode.tried.as_secs_f64() >= mean;
            self.episode.windows += 1;
            self.episode.tried += span;
            if settled {
                self.episode.after.add(&seen);
            }
            if self.episode.windows <= SLOW_WINDOWS || self.episode.after.count < JUDGED {
                return None;
            }
            let mean = self.episode.after.mean();
            if mean > FUTILE * self.episode.before.mean() {
                return Some(self.give_back(mean, seen));
            }
            self.episode = Episode { first: self.episode.first, ..Episode::default() };
        }
        if !surely {
            return None;
        }
        self.threshold = 0;
        if self.episode.windows == 0 {
            self.episode.limit = self.limit;
            self.episode.first = self.episode.first.max(self.limit);
        }
        self.episode.windows += 1;
        self.episode.before.add(&seen);
        self.moved(Why::Slow, self.less(mean), seen)
    }

    /// To where the objective is, should all of the time be spent in a queue; not too far at once.
    fn less(&self, mean: f64) -> u32 {
        self.bounds.hold(f64::from(self.limit) * (AIM * self.objective / mean).max(CUT))
    }

    /// Enough was cut for its effect to be seen, or there is no more to cut.
    fn has_tried(&self) -> bool {
        self.limit <= self.bounds.floor() || f64::from(self.limit) <= 0.5 * f64::from(self.episode.limit)
    }

    fn give_back(&mut self, mean: f64, seen: Window) -> Move {
        let before = std::mem::take(&mut self.episode);
        // Cuts that were kept before may have been as futile, and are soon made good then.
        let objective = self.objective();
        // And whoever takes longer holds as much more for the same work (Little's law).
        let little = self.bounds.hold(f64::from(before.limit) * mean / objective.as_secs_f64());
        self.threshold = before.first.max(little);
        self.objective = self.objective.max((RAISE * mean).min(ceiling(&self.settings)));
        let from = std::mem::replace(&mut self.limit, self.bounds.hold(f64::from(before.limit)));
        Move { why: Why::Futile, from, to: self.limit, window: seen, objective }
    }

    fn grow(&mut self, seen: Window) -> Option<Move> {
        self.episode = Episode::default();
        let configured = self.settings.objective.as_secs_f64();
        if self.is_raised() && seen.mean() < configured {
            self.objective = (self.objective * EASE).max(configured);
        }
        if !seen.limited {
            return None;
        }
        let growth = if self.limit < self.threshold { GROWTH.0 } else { GROWTH.1 };
        let more = (growth * f64::from(self.limit)).floor().max(1.0);
        self.moved(Why::Wanted, self.bounds.hold(f64::from(self.limit) + more), seen)
    }

    fn moved(&mut self, why: Why, to: u32, window: Window) -> Option<Move> {
        let from = std::mem::replace(&mut self.limit, to);
        (from != to).then(|| Move { why, from, to, window, objective: self.objective() })
    }
}

/// What the objective may be raised to, in seconds.
fn ceiling(settings: &Adaptive) -> f64 {
    settings.ceiling.max(settings.objective).as_secs_f64()
}

#[cfg(test)]
mod tests;
