//! A change on its way to everyone: by stages, each as long as it bakes, and only while the guard finds nothing
//! (`design.md`, "Guard").
//!
//! Pure: `now` and tallies come in, decisions go out. Whoever conducts it looks several times a second, does what the
//! [`Step`] says, and hands in what both sides did since the rollout began. Time counts as baked only while somebody
//! looks: after a machine was suspended nothing has been seen, so nothing has baked.
//!
//! It knows nothing of versions, files or people, and keeps nothing across a restart: an interrupted rollout begins
//! again at its first stage.

pub mod before;
pub mod beside;
pub mod counts;
pub mod evidence;
pub mod guard;
pub mod latency;
pub mod progress;
pub mod verdict;

use crate::config::fields::Risk;
use crate::config::policy;
use crate::telemetry::tally::Tally;
use guard::{Guard, Sight};
use progress::Progress;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use verdict::Verdict;

pub use progress::View;

/// Between two looks, as much as this counts as time in which the candidate was watched.
const LONGEST_LOOK: Duration = Duration::from_secs(1);
/// With too little traffic a stage lasts up to so many bakes, and up to so long.
const PATIENCE: u32 = 10;
const LONGEST_PATIENCE: Duration = Duration::from_secs(30 * 60);

/// What a rollout is held to; of the *active* version's policy, and of the change.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Shares of the clients, 0 to 1, rising. All of them is what comes after the last, said or not.
    pub stages: Vec<f64>,
    /// How long each stage is judged at least; made twice the longest timeout where that is more.
    pub bake: Duration,
    /// The bars.
    pub guard: policy::Guard,
    /// The change's.
    pub risk: Risk,
    /// The probe of the candidate had no warning.
    pub probe_clean: bool,
    /// Among the routes and auths that changed: what fails by it is seen only after so long.
    pub longest_timeout: Duration,
    /// Those that are judged. One that turns up only in a sample is judged as one that both versions have.
    pub routes: Vec<RouteScope>,
}

/// A route of the candidate.
#[derive(Clone, Debug)]
pub struct RouteScope {
    /// As in the file.
    pub name: Arc<str>,
    /// The stable version does not have it: it is judged on absolute bars.
    pub new: bool,
}

/// What both sides did on a route since the rollout began; overdue requests in flight counted as
/// [`Failure::Overdue`](crate::telemetry::tally::Failure).
#[derive(Clone, Debug, Default)]
pub struct RouteSample {
    /// The version that is serving.
    pub stable: Tally,
    /// The one that wants to.
    pub candidate: Tally,
}

/// What is to be seen at a look.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// By route.
    pub routes: BTreeMap<Arc<str>, RouteSample>,
    /// The five minutes before the rollout, by route.
    pub baseline: BTreeMap<Arc<str>, Tally>,
    /// Requests of the candidate in flight for too long, now.
    pub overdue_now: u64,
}

/// What to do after a look.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing yet.
    Hold(Waiting),
    /// Serve this share of the clients, 0 to 1, with the candidate.
    Widen {
        /// Of the clients.
        share: f64,
    },
    /// Make the candidate the active version, for everyone. It is not good yet.
    Activate,
    /// It has been everyone's for a whole bake: it is good. The rollout is over.
    Good,
    /// Back to the stable version. The rollout is over.
    Revert(Verdict),
}

/// Why nothing happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Waiting {
    /// The stage has not been watched for long enough.
    Baking {
        /// So much longer.
        left: Duration,
    },
    /// Fewer requests than the policy wants to judge by.
    Requests {
        /// Of the candidate at this stage; none while none succeeded: where everything fails nothing is known of it.
        seen: u64,
        /// `min_requests`.
        needed: u64,
        /// Until it goes on without, or asks for a person.
        left: Duration,
    },
    /// Something looks wrong and is not yet beyond chance.
    Doubt(Verdict),
    /// Both sides are worse than before the rollout: it goes on when that is over.
    Worse(Verdict),
    /// Somebody is to `promote` or `abort`: time alone will not decide it.
    Person {
        /// What keeps it from deciding by itself.
        why: String,
    },
}

/// Why a rollout is not promoted.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// What fails by a timeout could not have been seen yet.
    Baking {
        /// So much longer.
        left: Duration,
    },
    /// The guard finds fault.
    Failing(Box<Verdict>),
    /// It was reverted or is good.
    Over,
}

/// A change on its way.
#[derive(Debug)]
pub struct Rollout {
    scope: Scope,
    /// Shares below 1; after the last everyone.
    stages: Vec<f64>,
    /// Which of them, or how many there are when it is everyone's.
    stage: usize,
    /// Watched at this stage.
    watched: Duration,
    /// Watched in all.
    age: Duration,
    last_look: Instant,
    began: Instant,
    guard: Guard,
    /// Candidate's requests and failures at this stage, and those in flight for too long.
    progress: Progress,
    waiting: Option<Waiting>,
    /// Good or reverted.
    end: Option<Step>,
}

impl Rollout {
    /// Begins at the first stage: serve [`Rollout::share`] of the clients with the candidate. Without a stage below
    /// 1 that is all of them, and the candidate is to be active.
    pub fn begin(mut scope: Scope, now: Instant) -> Self {
        scope.bake = scope.bake.max(scope.longest_timeout.saturating_mul(2));
        let mut stages = scope.stages.clone();
        stages.retain(|share| *share > 0.0 && *share < 1.0);
        stages.sort_by(f64::total_cmp);
        stages.dedup();
        Rollout {
            guard: Guard::new(&scope),
            scope,
            stages,
            stage: 0,
            watched: Duration::ZERO,
            age: Duration::ZERO,
            last_look: now,
            began: now,
            progress: Progress::default(),
            waiting: None,
            end: None,
        }
    }

    /// Takes in what is to be seen and decides. After the end it answers what the end was.
    pub fn look(&mut self, now: Instant, sample: &Sample) -> Step {
        if let Some(end) = &self.end {
            return end.clone();
        }
        let passed = now.saturating_duration_since(self.last_look).min(LONGEST_LOOK);
        self.last_look = now.max(self.last_look);
        self.watched = self.watched.saturating_add(passed);
        self.age = self.age.saturating_add(passed);
        self.progress.take(sample);
        let sight =
            Sight { at: self.age, stage_at: self.age - self.watched, share: self.share(), lag: self.lag() };
        if let Some(verdict) = self.guard.look(&self.scope, sight, sample) {
            return self.finish(Step::Revert(verdict));
        }
        match self.reason() {
            Some(why) => {
                self.waiting = Some(why.clone());
                Step::Hold(why)
            }
            None => self.advance(),
        }
    }

    /// Goes on to the next stage on somebody's word: without waiting for traffic or doubts that patience did not
    /// settle, but never past a guard that finds fault, nor before the bake is over, because until then what a change
    /// breaks by a timeout cannot be seen. When it is everyone's already, this makes it good.
    pub fn promote(&mut self, _now: Instant) -> Result<Step, Refusal> {
        if self.end.is_some() {
            return Err(Refusal::Over);
        }
        let left = self.scope.bake.saturating_sub(self.watched);
        if left > Duration::ZERO {
            return Err(Refusal::Baking { left });
        }
        match &self.waiting {
            Some(Waiting::Doubt(verdict) | Waiting::Worse(verdict)) => {
                Err(Refusal::Failing(Box::new(verdict.clone())))
            }
            _ => Ok(self.advance()),
        }
    }

    /// The stage, from 0; as many as there are below 1 when the candidate is everyone's.
    pub fn stage(&self) -> usize {
        self.stage
    }

    /// The part of the clients that the candidate serves, 0 to 1.
    pub fn share(&self) -> f64 {
        self.stages.get(self.stage).copied().unwrap_or(1.0)
    }

    /// The candidate is everyone's.
    pub fn is_full(&self) -> bool {
        self.stage >= self.stages.len()
    }

    /// For operators.
    pub fn view(&self, now: Instant) -> View {
        progress::view(self, now)
    }

    /// Slow successes come no later than their timeout.
    fn lag(&self) -> Duration {
        self.scope.longest_timeout.max(LONGEST_LOOK).min(self.scope.bake / 2)
    }

    /// What keeps it from going on.
    fn reason(&self) -> Option<Waiting> {
        let bake = self.scope.bake;
        if self.watched < bake {
            return Some(Waiting::Baking { left: bake - self.watched });
        }
        if let Some(verdict) = self.guard.worse() {
            return Some(Waiting::Worse(verdict.clone()));
        }
        let patience = bake.saturating_mul(PATIENCE).min(LONGEST_PATIENCE).max(bake);
        let left = patience.saturating_sub(self.watched);
        if let Some(verdict) = self.guard.doubt() {
            let why = || format!("for {} s it could not be told whether {verdict}", self.watched.as_secs());
            return Some(match left {
                Duration::ZERO => Waiting::Person { why: why() },
                _ => Waiting::Doubt(verdict.clone()),
            });
        }
        let (stage, needed) = (self.progress.at_stage(), self.scope.guard.min_requests);
        let seen = if stage.successes() > 0 { stage.requests } else { 0 };
        if self.is_full() || seen >= needed {
            return None;
        }
        if left > Duration::ZERO {
            return Some(Waiting::Requests { seen, needed, left });
        }
        self.objection(seen, needed).map(|why| Waiting::Person { why })
    }

    /// Why it does not go on by itself although hardly anybody asks anything of it.
    fn objection(&self, seen: u64, needed: u64) -> Option<String> {
        let failed = self.progress.at_stage().failures();
        let but = if self.scope.risk == Risk::High {
            "the change is of high risk".to_owned()
        } else if failed > 0 {
            format!("{failed} of them failed")
        } else if self.progress.overdue > 0 {
            format!("{} are overdue", self.progress.overdue)
        } else if !self.scope.probe_clean {
            "the probe was not clean".to_owned()
        } else {
            return None;
        };
        Some(format!("only {seen} of {needed} requests in {} s, and {but}", self.watched.as_secs()))
    }

    fn advance(&mut self) -> Step {
        if self.is_full() {
            return self.finish(Step::Good);
        }
        self.stage += 1;
        self.watched = Duration::ZERO;
        self.waiting = None;
        self.progress.begin_stage();
        self.guard.begin_stage();
        if self.is_full() { Step::Activate } else { Step::Widen { share: self.share() } }
    }

    fn finish(&mut self, end: Step) -> Step {
        self.waiting = None;
        self.end = Some(end.clone());
        end
    }
}

impl Waiting {
    /// The word in events and the API.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Waiting::Baking { .. } => "baking",
            Waiting::Requests { .. } => "requests",
            Waiting::Doubt(_) => "doubt",
            Waiting::Worse(_) => "worse",
            Waiting::Person { .. } => "person",
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waiting::Baking { left } => write!(f, "baking {} s more", whole_seconds(*left)),
            Waiting::Requests { seen, needed, left } => {
                write!(f, "{seen} of {needed} requests; waits {} s more for them", whole_seconds(*left))
            }
            Waiting::Doubt(verdict) => write!(f, "not yet beyond chance: {verdict}"),
            Waiting::Worse(verdict) => write!(f, "waits until this is over: {verdict}"),
            Waiting::Person { why } => {
                write!(f, "{why}: `tidegate promote` goes on, `tidegate abort` goes back")
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Baking { left } => {
                write!(f, "this stage bakes {} s more: until then timeouts cannot show", whole_seconds(*left))
            }
            Refusal::Failing(verdict) => write!(f, "the guard finds fault: {verdict}"),
            Refusal::Over => f.write_str("it is over"),
        }
    }
}

/// Rounded up, so that nobody reads "0 s more".
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
