//! The levers: a percentage for an upstream or a backend, perhaps with a next step, and drained backends.
//!
//! They belong to names and outlive versions of the configuration (`design.md`, "Identity across a swap"). The
//! effective share of a backend is the least of its own lever, its upstream's, and zero while it is drained. A
//! lever that names nothing in the active version waits for the name to come back; it is never forgotten silently.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a lever is attached to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Every backend of an upstream.
    Upstream(Arc<str>),
    /// One backend of an upstream.
    Backend(Arc<str>, Arc<str>),
}

impl Target {
    /// The upstream's name.
    pub fn upstream(&self) -> &Arc<str> {
        match self {
            Target::Upstream(upstream) | Target::Backend(upstream, _) => upstream,
        }
    }

    /// The backend's name, if it is one.
    pub fn backend(&self) -> Option<&Arc<str>> {
        match self {
            Target::Upstream(_) => None,
            Target::Backend(_, backend) => Some(backend),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Upstream(upstream) => f.write_str(upstream),
            Target::Backend(upstream, backend) => write!(f, "{upstream}/{backend}"),
        }
    }
}

/// Who did something, why, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Who, as the admin side knows them.
    pub by: String,
    /// Why, in their words; may be empty.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub since_ms: i64,
}

/// The next step of a lever.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Then {
    /// The percentage that it goes to.
    pub percent: f64,
    /// How long after it was set.
    pub after: Duration,
    /// When that is.
    pub due: Due,
}

/// When a step comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// At this instant.
    At(Instant),
    /// This long after somebody resumes it.
    Paused(Duration),
}

impl Due {
    /// What is left at `now`.
    pub fn left(self, now: Instant) -> Duration {
        match self {
            Due::At(at) => at.saturating_duration_since(now),
            Due::Paused(left) => left,
        }
    }
}

/// One ramp.
#[derive(Clone, Debug, PartialEq)]
pub struct Lever {
    /// 0 to 100.
    pub percent: f64,
    /// Its next step.
    pub then: Option<Then>,
    /// In flight that the percentage is of, if the operator said so: of the whole upstream for an upstream's lever,
    /// of the backend for a backend's.
    pub reference: Option<f64>,
    /// Who set it.
    pub signature: Signature,
}

/// A step that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Whose.
    pub target: Target,
    /// From this percentage.
    pub from: f64,
    /// To this one; at 100 the lever is gone.
    pub to: f64,
}

/// Why a lever cannot be moved so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// There is no lever at this target.
    None,
    /// It has no next step.
    NoStep,
    /// It is paused already.
    Paused,
    /// It is not paused.
    Running,
}

/// All levers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Levers {
    ramps: BTreeMap<Target, Lever>,
    drained: BTreeMap<(Arc<str>, Arc<str>), Signature>,
}

impl Levers {
    /// Sets a ramp in place of the one that was there. 100 % without a next step is no ramp.
    pub fn set(&mut self, target: Target, lever: Lever) {
        if lever.percent >= 100.0 && lever.then.is_none() {
            self.ramps.remove(&target);
        } else {
            self.ramps.insert(target, lever);
        }
    }

    /// Takes a ramp away.
    pub fn clear(&mut self, target: &Target) -> Option<Lever> {
        self.ramps.remove(target)
    }

    /// Stops the clock of a next step.
    ///
    /// # Errors
    /// When there is none that runs.
    pub fn pause(&mut self, target: &Target, now: Instant) -> Result<(), Stuck> {
        let then = self.step_of(target)?;
        match then.due {
            Due::Paused(_) => Err(Stuck::Paused),
            Due::At(_) => {
                then.due = Due::Paused(then.due.left(now));
                Ok(())
            }
        }
    }

    /// Lets the clock of a next step go on with what was left.
    ///
    /// # Errors
    /// When there is none that stands still.
    pub fn resume(&mut self, target: &Target, now: Instant) -> Result<(), Stuck> {
        let then = self.step_of(target)?;
        match then.due {
            Due::At(_) => Err(Stuck::Running),
            Due::Paused(left) => {
                then.due = Due::At(now + left);
                Ok(())
            }
        }
    }

    fn step_of(&mut self, target: &Target) -> Result<&mut Then, Stuck> {
        self.ramps.get_mut(target).ok_or(Stuck::None)?.then.as_mut().ok_or(Stuck::NoStep)
    }

    /// Takes a backend out, or changes who did and why.
    pub fn drain(&mut self, upstream: Arc<str>, backend: Arc<str>, signature: Signature) {
        self.drained.insert((upstream, backend), signature);
    }

    /// Brings a backend back; false when it was not drained.
    pub fn ready(&mut self, upstream: &Arc<str>, backend: &Arc<str>) -> bool {
        self.drained.remove(&(upstream.clone(), backend.clone())).is_some()
    }

    /// Takes every step that is due.
    pub fn advance(&mut self, now: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        for (target, lever) in &mut self.ramps {
            let Some(Then { percent, due: Due::At(at), .. }) = lever.then else { continue };
            if at <= now {
                steps.push(Step { target: target.clone(), from: lever.percent, to: percent });
                (lever.percent, lever.then) = (percent, None);
            }
        }
        self.ramps.retain(|_, lever| lever.percent < 100.0 || lever.then.is_some());
        steps
    }

    /// The effective percentage of a backend.
    pub fn effective(&self, upstream: &Arc<str>, backend: &Arc<str>) -> f64 {
        if self.drained_by(upstream, backend).is_some() {
            return 0.0;
        }
        let own = self.get(&Target::Backend(upstream.clone(), backend.clone()));
        let whole = self.get(&Target::Upstream(upstream.clone()));
        own.into_iter().chain(whole).map(|lever| lever.percent).fold(100.0, f64::min)
    }

    /// When something of an upstream eases next; a step down is none.
    pub fn eases_at(&self, upstream: &str) -> Option<Instant> {
        let own = self.ramps.iter().filter(|(target, _)| &**target.upstream() == upstream);
        own.filter_map(|(_, lever)| match lever.then? {
            Then { percent, due: Due::At(at), .. } if percent > lever.percent => Some(at),
            _ => None,
        })
        .min()
    }

    /// A ramp.
    pub fn get(&self, target: &Target) -> Option<&Lever> {
        self.ramps.get(target)
    }

    /// There is a lever at this target, of either kind.
    pub fn has(&self, target: &Target) -> bool {
        let drained = |backend: &Arc<str>| self.drained_by(target.upstream(), backend).is_some();
        self.get(target).is_some() || target.backend().is_some_and(drained)
    }

    /// Who drained a backend.
    pub fn drained_by(&self, upstream: &Arc<str>, backend: &Arc<str>) -> Option<&Signature> {
        self.drained.get(&(upstream.clone(), backend.clone()))
    }

    /// All ramps.
    pub fn ramps(&self) -> impl Iterator<Item = (&Target, &Lever)> {
        self.ramps.iter()
    }

    /// All drained backends.
    pub fn drained(&self) -> impl Iterator<Item = (&(Arc<str>, Arc<str>), &Signature)> {
        self.drained.iter()
    }

    /// How many levers there are; they are bounded by whoever adds them.
    pub fn len(&self) -> usize {
        self.ramps.len() + self.drained.len()
    }

    /// Nothing is ramped or drained.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature() -> Signature {
        Signature { by: "ops".into(), reason: "restart".into(), since_ms: 0 }
    }

    fn lever(percent: f64, then: Option<(f64, u64)>, now: Instant) -> Lever {
        let then = then.map(|(percent, seconds)| {
            let after = Duration::from_secs(seconds);
            Then { percent, after, due: Due::At(now + after) }
        });
        Lever { percent, then, reference: None, signature: signature() }
    }

    fn orders() -> Target {
        Target::Upstream("orders".into())
    }

    #[test]
    fn the_least_of_all_levers_holds() {
        let (mut levers, now) = (Levers::default(), Instant::now());
        let (u, a, b) = ("orders".into(), "a".into(), "b".into());
        levers.set(orders(), lever(50.0, None, now));
        levers.set(Target::Backend("orders".into(), "a".into()), lever(25.0, None, now));
        assert_eq!((levers.effective(&u, &a), levers.effective(&u, &b)), (25.0, 50.0));
        levers.drain("orders".into(), "b".into(), signature());
        assert_eq!(levers.effective(&u, &b), 0.0);
        assert!(levers.ready(&u, &b) && !levers.ready(&u, &b));
        levers.set(orders(), lever(10.0, None, now));
        assert_eq!((levers.effective(&u, &a), levers.effective(&u, &b)), (10.0, 10.0));
        assert_eq!(levers.effective(&"users".into(), &a), 100.0);
    }

    #[test]
    fn a_step_comes_when_it_is_due_and_a_ramp_at_100_is_over() {
        let (mut levers, now) = (Levers::default(), Instant::now());
        levers.set(orders(), lever(25.0, Some((100.0, 600)), now));
        assert_eq!(levers.advance(now + Duration::from_secs(599)), []);
        let step = Step { target: orders(), from: 25.0, to: 100.0 };
        assert_eq!(levers.advance(now + Duration::from_secs(600)), [step]);
        assert!(levers.is_empty());
    }

    #[test]
    fn a_pause_stops_the_clock_and_resuming_goes_on_with_what_was_left() {
        let (mut levers, now) = (Levers::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(levers.pause(&orders(), now), Err(Stuck::None));
        levers.set(orders(), lever(25.0, None, now));
        assert_eq!(levers.pause(&orders(), now), Err(Stuck::NoStep));
        levers.set(orders(), lever(25.0, Some((50.0, 60)), now));
        levers.pause(&orders(), at(20)).expect("it runs");
        assert_eq!(levers.pause(&orders(), at(20)), Err(Stuck::Paused));
        assert_eq!((levers.advance(at(1_000)), levers.eases_at("orders")), (vec![], None));
        levers.resume(&orders(), at(1_000)).expect("it stands still");
        assert_eq!(levers.resume(&orders(), at(1_000)), Err(Stuck::Running));
        assert_eq!(levers.eases_at("orders"), Some(at(1_040)));
        assert_eq!(levers.advance(at(1_040)).len(), 1);
        assert_eq!(levers.get(&orders()).map(|lever| lever.percent), Some(50.0));
    }

    #[test]
    fn a_step_down_eases_nothing() {
        let (mut levers, now) = (Levers::default(), Instant::now());
        levers.set(Target::Backend("orders".into(), "a".into()), lever(50.0, Some((0.0, 2)), now));
        assert_eq!(levers.eases_at("orders"), None);
        levers.set(orders(), lever(25.0, Some((100.0, 60)), now));
        assert_eq!(levers.eases_at("orders"), Some(now + Duration::from_secs(60)));
    }

    #[test]
    fn setting_100_is_clearing() {
        let (mut levers, now) = (Levers::default(), Instant::now());
        levers.set(orders(), lever(25.0, None, now));
        levers.set(orders(), lever(100.0, None, now));
        assert!(levers.is_empty());
    }
}
