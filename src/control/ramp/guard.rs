//! The guarded way back of one backend after a restart: up by steps, each as long as it dwells, and only while what
//! it serves is served well (`design.md`, "Ramps"; `overload.md` 2(vii)).
//!
//! Lives through one second at a time, so its clock stands still by not being called, and it can be written down in
//! the middle. It goes up when the last seconds were well and there were enough of them, holds while that is open,
//! and goes back by half when a tenth fails. After the last step it stays on watch for one more dwell.
//!
//! After the third time back it tells a person, stays where it is, and tries the next step once a minute: nobody
//! may be at the keyboard, and a backend that has healed must not wait for one.

pub mod judge;

use judge::{Bars, Judge, Sight, Verdict};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Outcomes in a dwell that are enough to go by.
const ENOUGH: u64 = 50;
/// With fewer, a dwell lasts up to so many times as long.
const PATIENCE: u32 = 4;
/// A dwell that doubled is this long at most, and this long after the last time back that is taken lightly.
const LONGEST: Duration = Duration::from_secs(60);
/// Times back after which a person is told.
const ALERT: u32 = 3;
/// In percent: all of the reference, and still bound.
const ON_WATCH: f64 = 99.99;
/// In percent; where a backend is ramped at all it may hold one request.
const LEAST: f64 = 1.0;

/// The way that an upstream's configuration gives.
#[derive(Clone, Copy, Debug)]
pub struct Course<'a> {
    /// Percentages, rising to 100.
    pub steps: &'a [f64],
    /// How long each lasts at least.
    pub dwell: Duration,
    /// Hold and go back; else it is a matter of time alone.
    pub guarded: bool,
}

/// What was usual before: whoever failed or was slow then need not be better now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usual {
    /// Of all outcomes, the failed part: 0 to 1.
    pub failing: f64,
    /// Mean time to an answer's head, in nanoseconds.
    pub latency_ns: u64,
}

/// One backend on its way back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GuardedRamp {
    percent: f64,
    /// Of the configured dwell, how much longer or shorter: the same for all its steps.
    pace: f64,
    /// How long it has been at this step, while its clock ran.
    lasted: Duration,
    back_offs: u32,
    paused: bool,
    usual: Usual,
    #[serde(skip)]
    judge: Judge,
    /// Outcomes at this step: well and failed.
    #[serde(skip)]
    outcomes: (u64, u64),
    #[serde(skip)]
    held: Option<Hold>,
    /// Reasons that were told at this step, a bit each: they may alternate from second to second.
    #[serde(skip)]
    told: u8,
    /// The second that runs began before this step.
    #[serde(skip)]
    mixed: Mixed,
    /// It is at this step because it went back.
    #[serde(skip)]
    went_back: bool,
}

/// Whether what the next second tells is also of before this step. It is, unless somebody knows better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Mixed {
    #[default]
    Yes,
    No,
}

/// Why it does not go up now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hold {
    /// The step has not lasted long enough.
    Dwell,
    /// Fewer outcomes than are enough to go by.
    FewOutcomes(u64),
    /// Nothing succeeded at this step.
    NoSuccess,
    /// Too much fails.
    Failing(Verdict),
    /// Answers take too long.
    Slow(Verdict),
    /// It cannot be reached, or is kept out: its clock stands still.
    Away,
    /// An operator stopped its clock.
    Paused,
}

impl Hold {
    /// The word in events and the API.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Hold::Dwell => "dwell",
            Hold::FewOutcomes(_) => "few_outcomes",
            Hold::NoSuccess => "no_success",
            Hold::Failing(_) => "failing",
            Hold::Slow(_) => "slow",
            Hold::Away => "away",
            Hold::Paused => "paused",
        }
    }

    /// Its bit among what was told; what comes at every step, or by an operator's hand, is no news.
    const fn bit(&self) -> u8 {
        match self {
            Hold::Dwell | Hold::Paused => 0,
            Hold::FewOutcomes(_) => 1,
            Hold::NoSuccess => 2,
            Hold::Failing(_) => 4,
            Hold::Slow(_) => 8,
            Hold::Away => 16,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hold::Dwell => f.write_str("its dwell is not over"),
            Hold::FewOutcomes(seen) => write!(f, "only {seen} of {ENOUGH} outcomes yet"),
            Hold::NoSuccess => f.write_str("nothing has succeeded at this step yet"),
            Hold::Failing(verdict) => write!(f, "{}", verdict.failing()),
            Hold::Slow(verdict) => write!(f, "{}", verdict.slow()),
            Hold::Away => f.write_str("it cannot be reached or is kept out"),
            Hold::Paused => f.write_str("its clock was stopped by an operator"),
        }
    }
}

/// Why it went back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Setback {
    /// Too much failed.
    Failing(Verdict),
    /// It restarted again.
    Restarted,
    /// It failed so much that it was ejected; while it is out its clock stands still, and nothing else would be held
    /// against it.
    Ejected,
}

impl fmt::Display for Setback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setback::Failing(verdict) => write!(f, "{}", verdict.failing()),
            Setback::Restarted => f.write_str("it restarted again"),
            Setback::Ejected => f.write_str("it was ejected"),
        }
    }
}

/// What happened to a ramp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Turn {
    /// It went up; percent.
    Step {
        /// From.
        from: f64,
        /// To; at 100 nothing binds any more, and it stays on watch.
        to: f64,
    },
    /// It does not go up, for a reason that is new.
    Held(Hold),
    /// It went back; percent.
    BackOff {
        /// From.
        from: f64,
        /// To.
        to: f64,
        /// Why.
        why: Setback,
        /// How many times it went back, this time included.
        times: u32,
        /// That is often enough for a person to look.
        alert: bool,
    },
    /// It carries everything and did so for a whole dwell.
    Done,
}

impl GuardedRamp {
    /// Begins at the first step. `pace` makes its steps longer or shorter than configured: 1 where it is alone.
    pub fn begin(course: &Course<'_>, pace: f64, usual: Usual) -> Self {
        Self::after(course, 0.0, pace, usual)
    }

    /// Begins at the first step above `percent`: where an operator's ramp ends.
    pub fn after(course: &Course<'_>, percent: f64, pace: f64, usual: Usual) -> Self {
        GuardedRamp {
            percent: next(course, percent),
            pace,
            lasted: Duration::ZERO,
            back_offs: 0,
            paused: false,
            usual,
            judge: Judge::default(),
            outcomes: (0, 0),
            held: None,
            told: 0,
            mixed: Mixed::Yes,
            went_back: false,
        }
    }

    /// Takes what was read from a file as far as it makes sense.
    pub fn read(mut self) -> Option<Self> {
        let sound = [self.percent, self.pace, self.usual.failing].iter().all(|value| value.is_finite());
        self.percent = self.percent.clamp(LEAST, 100.0);
        (self.pace, self.usual.failing) = (self.pace.clamp(0.1, 10.0), self.usual.failing.clamp(0.0, 1.0));
        self.lasted = self.lasted.min(LONGEST);
        sound.then_some(self)
    }

    /// Lives through one second, or a little more; what happened, if anything did.
    pub fn live(&mut self, course: &Course<'_>, elapsed: Duration, sight: &Sight) -> Option<Turn> {
        if self.paused {
            return self.hold(Hold::Paused);
        }
        if !sight.present {
            self.judge = Judge::default();
            return self.hold(Hold::Away);
        }
        self.lasted = self.lasted.saturating_add(elapsed);
        if self.mixed == Mixed::Yes {
            self.mixed = Mixed::No;
            return None;
        }
        self.judge.live(sight);
        self.outcomes.0 += sight.own.well;
        self.outcomes.1 += sight.own.failed;
        let verdict = self.judge.verdict(&Bars::of(sight, &self.usual));
        if course.guarded && verdict.is_bad() && !self.is_sore(course) {
            return Some(self.back_off(course, Setback::Failing(verdict)));
        }
        match self.reason(course, &verdict) {
            Some(why) => self.hold(why),
            None => Some(self.step(course)),
        }
    }

    /// What keeps it from going up now.
    fn reason(&self, course: &Course<'_>, verdict: &Verdict) -> Option<Hold> {
        let dwell = self.dwell(course);
        if self.lasted < dwell {
            return Some(Hold::Dwell);
        }
        if !course.guarded {
            return None;
        }
        let (well, failed) = self.outcomes;
        let on_watch = self.percent >= 100.0;
        if verdict.fails() {
            return Some(Hold::Failing(*verdict));
        }
        // Without a success nothing is known; on watch nothing is bound, so quiet is as good.
        if well == 0 && !on_watch {
            return Some(Hold::NoSuccess);
        }
        if verdict.is_slow() {
            return Some(Hold::Slow(*verdict));
        }
        let seen = well.saturating_add(failed);
        // Its next step is tried once a minute then, however little it is asked.
        let patience = if self.alerts() { 1 } else { PATIENCE };
        let patient = self.lasted < dwell.saturating_mul(patience);
        (seen < ENOUGH && patient && !on_watch).then_some(Hold::FewOutcomes(seen))
    }

    fn step(&mut self, course: &Course<'_>) -> Turn {
        if self.percent >= 100.0 {
            return Turn::Done;
        }
        let from = self.percent;
        self.percent = next(course, from);
        self.begin_step();
        Turn::Step { from, to: self.percent }
    }

    /// Goes back by half; after a restart to the first step at most.
    pub fn back_off(&mut self, course: &Course<'_>, why: Setback) -> Turn {
        let from = self.percent;
        let half = from * 0.5;
        let to = match why {
            Setback::Failing(_) | Setback::Ejected => half,
            Setback::Restarted => half.min(next(course, 0.0)),
        };
        self.percent = to.max(LEAST);
        self.back_offs = self.back_offs.saturating_add(1);
        self.begin_step();
        self.went_back = true;
        Turn::BackOff { from, to: self.percent, why, times: self.back_offs, alert: self.back_offs >= ALERT }
    }

    fn begin_step(&mut self) {
        (self.lasted, self.outcomes, self.held, self.told) = (Duration::ZERO, (0, 0), None, 0);
        (self.judge, self.mixed, self.went_back) = (Judge::default(), Mixed::Yes, false);
    }

    /// It went back a moment ago: what fails now may have begun before.
    fn is_sore(&self, course: &Course<'_>) -> bool {
        self.went_back && self.lasted < self.dwell(course) / 2
    }

    fn hold(&mut self, why: Hold) -> Option<Turn> {
        self.held = Some(why);
        let bit = why.bit();
        let is_news = self.told & bit == 0 && bit != 0;
        self.told |= bit;
        is_news.then_some(Turn::Held(why))
    }

    /// Stops its clock. False when it stands still.
    pub fn pause(&mut self) -> bool {
        let ran = !std::mem::replace(&mut self.paused, true);
        self.held = Some(Hold::Paused);
        ran
    }

    /// Lets its clock go on. False when it runs.
    pub fn resume(&mut self) -> bool {
        self.held = None;
        // What happened meanwhile is not of this step's time.
        (self.judge, self.mixed) = (Judge::default(), Mixed::Yes);
        std::mem::replace(&mut self.paused, false)
    }

    /// Makes its steps longer or shorter than configured.
    pub fn keep_pace(&mut self, pace: f64) {
        self.pace = pace;
    }

    /// What it may carry, in percent of its reference; 100 while it is on watch.
    pub fn percent(&self) -> f64 {
        self.percent
    }

    /// What binds it, in percent of its reference: on watch all of it, and no more. Without that bound the last step
    /// would not be one of a third but, where clients repeat what was refused, to all that its caps allow.
    pub fn bound(&self) -> f64 {
        self.percent.min(ON_WATCH)
    }

    /// An operator stopped its clock.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Times that it went back.
    pub fn back_offs(&self) -> u32 {
        self.back_offs
    }

    /// It went back so often that a person should look.
    pub fn alerts(&self) -> bool {
        self.back_offs >= ALERT
    }

    /// Why it does not go up, as of the last second.
    pub fn held(&self) -> Option<Hold> {
        self.held
    }

    /// It has lasted four dwells at this step and nobody asked anything of it.
    pub fn is_idle(&self, course: &Course<'_>) -> bool {
        self.outcomes == (0, 0) && self.lasted >= self.dwell(course).saturating_mul(PATIENCE)
    }

    /// The next step's percentage, and how long until then at least.
    pub fn next(&self, course: &Course<'_>) -> (f64, Duration) {
        (next(course, self.percent), self.dwell(course).saturating_sub(self.lasted))
    }

    /// How long this step lasts at least.
    fn dwell(&self, course: &Course<'_>) -> Duration {
        let longest = course.dwell.max(LONGEST);
        let doubled = course.dwell.saturating_mul(1_u32.checked_shl(self.back_offs).unwrap_or(u32::MAX));
        let dwell = if self.alerts() { longest } else { doubled.min(longest) };
        dwell.mul_f64(self.pace)
    }
}

/// The first step above a percentage.
fn next(course: &Course<'_>, percent: f64) -> f64 {
    course.steps.iter().copied().find(|step| *step > percent + 1e-9).unwrap_or(100.0)
}

#[cfg(test)]
mod tests;
