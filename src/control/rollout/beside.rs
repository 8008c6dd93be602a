//! The candidate beside the stable version, on one route or on all together, by what fails.
//!
//! Two tests: eight failures without a success, where stable succeeds meanwhile, and the odds of
//! [`Evidence`](super::evidence) once there are enough requests. Requests that are over are no fair sample of those
//! that began: right after the share grew, the candidate's quick failures are over and its slow successes are not.
//! So its failures are also held against those of stable by the share that the stage gives it, never only by
//! requests that are over.

use crate::config::policy;
use crate::control::rollout::counts::{Counts, Pair};
use crate::control::rollout::evidence::{Evidence, Slice, all_by_chance, lower_rate, upper_rate};
use crate::control::rollout::guard::Sight;
use crate::control::rollout::verdict::{Finding, Verdict};
use std::time::Duration;

/// Failures without a success that are no chance.
const WHOLLY: u64 = 8;
/// And those from which on it does not go on to more clients before it is known; one, where it never succeeded.
const SUSPICIOUS: u64 = 3;
/// Where so many times as many fail as stable's failures account for.
const CLEARLY: f64 = 4.0;
/// The probability that who failed is chance, below which stable "succeeds" meanwhile, and few failures are suspicious.
const CHANCE: f64 = 0.01;
/// A slice of both sides' requests.
const SLICE: u64 = 8;
/// Where there are fewer, a slice lasts so long.
const SLICE_AGE: Duration = Duration::from_millis(2500);
/// What may fail on a route that only the candidate has, unless the policy allows more.
const NEW: f64 = 0.05;
/// Odds that are this part of what is needed put in doubt.
const DOUBT: f64 = 0.05;
/// Without a stable version beside it, sooner than this it could be a burst.
const ALONE: Duration = Duration::from_secs(4);
/// What is known of before is of so long.
const BASELINE: Duration = Duration::from_secs(300);
/// So many requests make a time known.
const KNOWN: u64 = 50;
/// Where more than this failed before, an outage went on: what stable no longer has has healed, not moved.
const OUTAGE: f64 = 0.1;
/// And where the candidate has less than this part of the requests, a stable that has healed a little would excuse
/// a candidate that fails wholly.
const LARGE: f64 = 0.2;

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// No fault.
    Fine,
    /// Not beyond chance yet.
    Doubt(Verdict),
    /// Beyond chance.
    Fault(Verdict),
}

/// What a judgement is held to.
#[derive(Clone, Copy, Debug)]
pub struct Bars<'a> {
    /// Nothing: all together.
    pub route: Option<&'a str>,
    /// The policy's.
    pub policy: policy::Guard,
    /// Odds from which on a difference is beyond chance.
    pub odds: f64,
    /// The five minutes before.
    pub before: Option<Counts>,
}

/// Answers of backends below 500 since the rollout began: what a success is. Of the candidate, of stable.
pub type Answered = (u64, u64);

/// One route, or all together.
#[derive(Debug, Default)]
pub struct Beside {
    /// Only the candidate has it.
    new: bool,
    /// Since the rollout began, and by the time that this stage did.
    seen: Pair,
    stage: Pair,
    /// Not yet compared: since when, and by the largest ratio of candidate to stable meanwhile.
    pending: Pair,
    pending_since: Duration,
    pending_ratio: f64,
    run: Option<Run>,
    evidence: Evidence,
}

/// Since the candidate's last success.
#[derive(Clone, Copy, Debug)]
struct Run {
    since: Pair,
    answered: Answered,
    ratio: f64,
}

impl Beside {
    /// A route that both versions have, or only the candidate.
    pub fn new(new: bool) -> Self {
        Beside { new, ..Beside::default() }
    }

    /// Takes in what both sides have counted; a slice, where one is complete.
    pub fn take(&mut self, sight: Sight, now: Pair, answered: impl Fn() -> Answered) -> Option<Slice> {
        let came = now.since(&self.seen);
        let before = std::mem::replace(&mut self.seen, now);
        self.follow_run(sight, &came, before, answered);
        if self.pending == Pair::default() {
            (self.pending_since, self.pending_ratio) = (sight.at, 0.0);
        }
        self.pending.add(&came);
        if sight.is_early() {
            self.pending_ratio = self.pending_ratio.max(sight.ratio());
        }
        let slice = self.slice(sight)?;
        self.pending = Pair::default();
        self.evidence.take(&slice);
        Some(slice)
    }

    /// Takes in a slice of one of all routes.
    pub fn bet(&mut self, slice: &Slice) {
        self.evidence.take(slice);
    }

    /// As [`Beside::take`] without slices of its own: all together are compared route by route.
    pub fn take_together(&mut self, sight: Sight, now: Pair) {
        let came = now.since(&self.seen);
        let before = std::mem::replace(&mut self.seen, now);
        self.follow_run(sight, &came, before, || (now.candidate.successes(), now.stable.successes()));
    }

    /// From here on it may be different.
    pub fn start(&mut self) {
        self.evidence.start();
    }

    /// What comes now is of the next stage.
    pub fn begin_stage(&mut self) {
        self.stage = self.seen;
    }

    /// Since the rollout began.
    pub fn seen(&self) -> &Pair {
        &self.seen
    }

    /// Of the side that serves most, at this stage.
    pub fn at_stage(&self, is_full: bool) -> Counts {
        let pair = self.seen.since(&self.stage);
        if is_full { pair.candidate } else { pair.stable }
    }

    /// Only the candidate has it.
    pub fn is_new(&self) -> bool {
        self.new
    }

    fn slice(&self, sight: Sight) -> Option<Slice> {
        let (candidate, stable) = (self.pending.candidate, self.pending.stable);
        let (own, other) = (candidate.requests as f64, stable.requests as f64);
        let enough = candidate.requests >= SLICE && stable.requests >= SLICE;
        let old = sight.at.saturating_sub(self.pending_since) >= SLICE_AGE;
        // Too few of stable for what the candidate has would say nothing: those that come are waited for.
        let fair = 2.0 * sight.ratio() * other >= own;
        let complete = own > 0.0 && (self.new || other > 0.0 && (enough || old && fair));
        complete.then(|| Slice {
            candidate: candidate.requests,
            candidate_failed: candidate.failures(),
            stable_failed: stable.failures(),
            ratio: if self.new { 0.0 } else { self.pending_ratio.max(own / other) },
        })
    }

    fn follow_run(&mut self, sight: Sight, came: &Pair, before: Pair, answered: impl Fn() -> Answered) {
        if let Some(run) = &mut self.run {
            run.ratio = run.ratio.max(sight.ratio());
            if came.candidate.requests == came.candidate.failures() || answered().0 == run.answered.0 {
                return;
            }
            self.run = None;
        }
        let failures = came.candidate.failures();
        if failures == 0 {
            return;
        }
        // Successes of the same look may have come before the failures or after them: it begins after both.
        let mixed = came.candidate.requests > failures;
        let mut answered = answered();
        if !mixed {
            answered.1 = answered.1.saturating_sub(came.stable.successes());
        }
        let since = if mixed { self.seen } else { before };
        self.run = Some(Run { since, answered, ratio: sight.ratio() });
    }

    /// The verdict on what is known.
    pub fn judge(&self, bars: &Bars<'_>, answered: impl Fn() -> Answered) -> Judgement {
        if let Some(fault) = self.wholly(bars, &answered) {
            return fault;
        }
        let requests = self.seen.candidate.requests;
        if requests < bars.policy.min_requests || self.seen.candidate.failures() == 0 {
            return Judgement::Fine;
        }
        let moved = self.moved(bars.before);
        let bar = if self.new {
            bars.policy.max_error_increase.max(NEW)
        } else {
            bars.policy.max_error_increase + moved
        };
        let odds = self.evidence.odds(bar);
        if odds >= bars.odds {
            let bound = self.evidence.lower_bound(bars.odds, bar);
            let finding = match self.new {
                true => Finding::FailingNew { bound, bar },
                false => Finding::Failing { bound: bound - moved, bar: bar - moved },
            };
            return Judgement::Fault(self.verdict(bars, finding, self.judged()));
        }
        if odds >= bars.odds * DOUBT {
            let finding = Finding::Unsure { bar: bar - moved };
            return Judgement::Doubt(self.verdict(bars, finding, self.judged()));
        }
        Judgement::Fine
    }

    /// The verdict when the candidate is everyone's: nothing ever succeeded with it, and hardly anything failed before.
    /// What failed later only is held against earlier times elsewhere.
    pub fn judge_alone(
        &self,
        bars: &Bars<'_>,
        sight: Sight,
        lasting: Duration,
        answered: impl Fn() -> Answered,
    ) -> Judgement {
        let (candidate, before) = (self.seen.candidate, bars.before.unwrap_or_default());
        let failures = candidate.failures();
        let known =
            before.requests >= KNOWN && before.rate() <= OUTAGE && sight.stage_age() >= ALONE.min(lasting);
        if failures < WHOLLY || !known || answered().0 > 0 {
            return Judgement::Fine;
        }
        // As many as usual are quick failures whose slow successes are still to come.
        let usual = before.failures() as f64 / BASELINE.as_secs_f64() * sight.stage_age().as_secs_f64();
        if (failures as f64) < CLEARLY * usual {
            return Judgement::Fine;
        }
        Judgement::Fault(self.verdict(bars, Finding::Wholly { failures }, self.seen))
    }

    /// Eight failures without a success where stable succeeds; fewer are a doubt.
    fn wholly(&self, bars: &Bars<'_>, answered: &impl Fn() -> Answered) -> Option<Judgement> {
        let run = self.run.as_ref()?;
        let pair = self.seen.since(&run.since);
        let failures = pair.candidate.failures();
        if failures == 0 || failures < SUSPICIOUS && answered().0 > 0 {
            return None;
        }
        let verdict = || self.verdict(bars, Finding::Wholly { failures }, pair);
        let certain =
            failures >= WHOLLY && (self.new || self.stable_succeeds(run, &pair, failures, answered));
        if certain {
            return Some(Judgement::Fault(verdict()));
        }
        self.is_suspicious(&pair, answered().0 == 0).then(|| Judgement::Doubt(verdict()))
    }

    /// So few failures are hardly chance, as stable has failed meanwhile: since the rollout began, where the candidate
    /// never succeeded.
    fn is_suspicious(&self, run: &Pair, never: bool) -> bool {
        let Pair { candidate, stable } = if never { &self.seen } else { run };
        let failures = candidate.failures();
        let all = failures + stable.requests;
        let unknown = self.new || stable.requests == 0 && failures >= SUSPICIOUS;
        unknown || all_by_chance(failures, failures + stable.failures(), all) <= CHANCE
    }

    fn stable_succeeds(
        &self,
        run: &Run,
        pair: &Pair,
        failures: u64,
        answered: &impl Fn() -> Answered,
    ) -> bool {
        let succeeded = answered().1.saturating_sub(run.answered.1);
        let failed = pair.stable.failures();
        let clearly = failures as f64 >= CLEARLY * run.ratio * failed as f64;
        let all = failures + failed + succeeded;
        succeeded > 0 && clearly && all_by_chance(failures, failures + failed, all) <= CHANCE
    }

    /// Of the candidate's requests, the part that failed before as well, with clients that are now in its cohort:
    /// stable has lost it. All together, no more fails then than before. Nothing after an outage.
    fn moved(&self, before: Option<Counts>) -> f64 {
        let Some(before) = before.filter(|before| before.rate() <= OUTAGE && before.failures() > 0) else {
            return 0.0;
        };
        let Pair { candidate, stable } = self.judged();
        let usual = lower_rate(before.failures(), before.requests);
        let lost = usual - upper_rate(stable.failures(), stable.requests);
        let part = candidate.requests as f64 / (candidate.requests + stable.requests).max(1) as f64;
        if part < LARGE { 0.0 } else { lost.max(0.0) / part }
    }

    /// At this stage; since the rollout began, where that is little.
    fn judged(&self) -> Pair {
        let stage = self.seen.since(&self.stage);
        if stage.candidate.requests < KNOWN { self.seen } else { stage }
    }

    fn verdict(&self, bars: &Bars<'_>, finding: Finding, pair: Pair) -> Verdict {
        let verdict = Verdict::new(bars.route, finding, pair.kind(), pair.candidate);
        verdict.beside(pair.stable).after(bars.before)
    }
}
