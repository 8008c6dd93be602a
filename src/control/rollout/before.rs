//! Now against the five minutes before the rollout, on one route or on all together: a change may hurt both sides, and
//! when it is everyone's there is no other side.
//!
//! Against earlier times an outage that began by chance looks like a change that hurts. What tells them apart is when
//! it began and how long it lasts: a burst ends. So this counts stretches of bad windows without a good one between
//! them; the guard says how long one must last, and what it does meanwhile.

use crate::control::rollout::counts::Counts;
use crate::control::rollout::evidence::{Evidence, Slice, lower_rate, upper_rate};
use crate::control::rollout::guard::Sight;
use crate::control::rollout::verdict::Finding;
use std::time::Duration;

/// Requests that make a window.
const ENOUGH: u64 = 8;
/// Requests from which on earlier times are known.
const KNOWN: u64 = 50;
/// A burst ends within so many windows: where little is asked each is long.
const WINDOWS: u32 = 4;
/// Failures without which a window is no bad one.
const LEAST: u64 = 3;
/// A window lasts at least so long.
const WINDOW: Duration = Duration::from_secs(1);

/// What may fail now after what failed earlier: the likely largest part of any of those times, and what the policy
/// adds. Nothing where none of them is known.
pub fn bar(earlier: &[Counts], max_increase: f64) -> Option<f64> {
    let known = earlier.iter().filter(|counts| counts.requests >= KNOWN);
    let rates = known.map(|counts| upper_rate(counts.failures(), counts.requests));
    rates.reduce(f64::max).map(|usual| usual + max_increase)
}

/// A time without a good window in which more fails than may.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worse {
    /// What was counted in it.
    pub counts: Counts,
    /// How long it lasts.
    pub lasted: Duration,
    /// Into the stage, when it began.
    pub into_stage: Duration,
    /// It may be a burst of failures still, however long its windows are.
    pub is_burst: bool,
    /// What may fail.
    pub bar: f64,
}

impl Worse {
    /// For a verdict.
    pub fn finding(&self) -> Finding {
        let bound = lower_rate(self.counts.failures(), self.counts.requests);
        Finding::FailingBefore { bound, bar: self.bar, lasted_seconds: self.lasted.as_secs_f64() }
    }

    /// Nothing succeeded in it.
    pub fn is_whole(&self) -> bool {
        self.counts.successes() == 0
    }
}

/// The windows of one comparison.
#[derive(Debug, Default)]
pub struct Before {
    /// Since when, and what had been counted by then.
    open: Option<(Duration, Counts)>,
    stretch: Option<Stretch>,
    /// Stretches so far: the more there were, the more convincing one must be.
    stretches: u32,
}

#[derive(Debug)]
struct Stretch {
    worse: Worse,
    windows: u32,
    since: Duration,
    evidence: Evidence,
}

impl Before {
    /// Takes in what one side has counted; a stretch, once it is beyond chance by these odds.
    pub fn take(&mut self, sight: Sight, now: Counts, bar: f64, odds: f64) -> Option<Worse> {
        let (since, before) = *self.open.get_or_insert((sight.at, now));
        let window = now.since(&before);
        if sight.at >= since + WINDOW && window.requests >= ENOUGH {
            self.open = Some((sight.at, now));
            self.close(sight, since, &window, bar);
        }
        let stretch = self.stretch.as_ref()?;
        let needed = odds * f64::from(self.stretches).powi(2);
        (stretch.evidence.odds(bar) >= needed).then_some(stretch.worse)
    }

    fn close(&mut self, sight: Sight, since: Duration, window: &Counts, bar: f64) {
        if window.failures() < LEAST || window.rate() <= bar {
            self.stretch = None;
            return;
        }
        let stretches = &mut self.stretches;
        let stretch = self.stretch.get_or_insert_with(|| {
            *stretches = stretches.saturating_add(1);
            let into_stage = since.saturating_sub(sight.stage_at);
            let worse =
                Worse { counts: Counts::default(), lasted: Duration::ZERO, into_stage, is_burst: true, bar };
            Stretch { worse, windows: 0, since, evidence: Evidence::default() }
        });
        stretch.worse.counts.add(window);
        stretch.worse.bar = bar;
        stretch.windows += 1;
        // Not beyond the last window: the open one may turn out to be a good one.
        stretch.worse.lasted = sight.at.saturating_sub(stretch.since);
        stretch.worse.is_burst = stretch.windows < WINDOWS;
        stretch.evidence.take(&Slice {
            candidate: window.requests,
            candidate_failed: window.failures(),
            stable_failed: 0,
            ratio: 0.0,
        });
    }
}
