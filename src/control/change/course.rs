//! The course of a change, from the moment it is accepted to the moment it is good, or gone. One at a time.
//!
//! Pure: `now`, samples and what became of an act come in, the next act goes out. So no order of events makes a
//! version fully active without its stages, and a test can try all of them. Whoever carries the acts out may be slow,
//! hang or fail; the course waits for the word of that and takes an end at any time.

mod current;
mod ended;

pub use current::{Change, Current, Judged, Phase};
pub use ended::{Ended, Not, Outcome};

use super::rules::{Staging, Way};
use crate::control::rollout::verdict::Verdict;
use crate::control::rollout::{Rollout, Sample, Scope, Step};
use std::collections::VecDeque;
use std::time::Instant;

/// Ends that are remembered, for whoever follows a change.
const REMEMBERED: usize = 32;

/// A version that goes back unless it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unconfirmed {
    /// Which.
    pub number: u64,
    /// Until when.
    pub until: Instant,
    /// Its last bake is over: confirmed, it is good.
    pub settled: bool,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Dial what the version names, and say what came of it.
    Probe(u64),
    /// Serve this part of the clients by it, beside the stable one.
    Offer(u64, f64),
    /// Serve this part by it.
    Widen(u64, f64),
    /// Make it fully active, and say what came of it.
    Activate(u64),
    /// Serve nobody by it any more; the stable version stays.
    Withdraw(Ended),
    /// It serves everyone and must not: the version before takes its place.
    Restore(Ended),
    /// It never served anybody; only tell.
    Tell(Ended),
    /// It is the last good version from here on.
    Good(Ended),
}

/// One change at a time.
#[derive(Debug, Default)]
pub struct Course {
    current: Option<Current>,
    unconfirmed: Option<Unconfirmed>,
    ended: VecDeque<Ended>,
}

impl Course {
    /// Begins.
    ///
    /// # Errors
    /// The change that is under way.
    pub fn begin(&mut self, change: Change, way: Way) -> Result<Option<Act>, &Current> {
        // Not by `if let`: the borrow would last to the end.
        if self.current.is_some() {
            return self.current.as_ref().map_or(Ok(None), Err);
        }
        let number = change.number;
        let (phase, act) = match &way {
            Way::Staged(Staging { approval: true, .. }) => (Phase::Approval, None),
            Way::Staged(_) => (Phase::Probing, Some(Act::Probe(number))),
            Way::AtOnce | Way::BrokenGlass { .. } => (Phase::Activating(None), Some(Act::Activate(number))),
        };
        self.current = Some(Current { change, way, phase, waiting: None, approved_by: None });
        Ok(act)
    }

    /// Somebody approves it.
    ///
    /// # Errors
    /// When it is not theirs to approve, or nothing waits for that.
    pub fn approve(&mut self, number: u64, by: &str) -> Result<Act, Not> {
        let current = self.current.as_mut().ok_or(Not::Nothing)?;
        match &current.phase {
            _ if current.change.number != number => Err(Not::Another(current.change.number)),
            Phase::Approval if current.change.by.as_deref().is_some_and(|author| may_be(author, by)) => {
                Err(Not::Author)
            }
            Phase::Approval => {
                current.phase = Phase::Probing;
                current.approved_by = Some(by.to_owned());
                Ok(Act::Probe(number))
            }
            _ => Err(Not::NoApproval),
        }
    }

    /// What its probe came to: `gates`, if anything forbids it, or whether everything answered.
    pub fn probed(&mut self, number: u64, gates: &[String], clean: bool, now: Instant) -> Option<Act> {
        let current = self.current.as_mut().filter(|it| it.change.number == number)?;
        let (Phase::Probing, Way::Staged(staging)) = (&current.phase, &current.way) else { return None };
        if !gates.is_empty() {
            let why = format!("the probe forbids it: {}", gates.join("; "));
            return self.end(Outcome::Refused, why).map(Act::Tell);
        }
        // A policy of one stage: everyone at once, and judged for a bake all the same.
        let rollout = Rollout::begin(scope(&current.change, staging, clean), now);
        if rollout.is_full() {
            current.phase = Phase::Activating(Some(Box::new(rollout)));
            return Some(Act::Activate(number));
        }
        current.phase = Phase::Offering(clean);
        Some(Act::Offer(number, rollout.share()))
    }

    /// It serves its first stage from now on. False if somebody ended it meanwhile.
    pub fn offered(&mut self, number: u64, now: Instant) -> bool {
        let current = self.current.as_mut().filter(|it| it.change.number == number);
        let Some(current) = current else { return false };
        let (Phase::Offering(clean), Way::Staged(staging)) = (&current.phase, &current.way) else {
            return false;
        };
        current.phase =
            Phase::Rolling(Box::new(Rollout::begin(scope(&current.change, staging, *clean), now)));
        true
    }

    /// What the guard says now, and whether a confirmation is overdue. At most one act a look.
    pub fn look(&mut self, now: Instant, sample: &Sample) -> Option<Act> {
        if self.unconfirmed.is_some_and(|it| it.until <= now) {
            return self.overdue();
        }
        let current = self.current.as_mut()?;
        let number = current.change.number;
        let rollout = match &mut current.phase {
            Phase::Rolling(rollout) | Phase::Settling(rollout) => rollout,
            _ => return None,
        };
        match rollout.look(now, sample) {
            Step::Hold(waiting) => {
                current.waiting = Some(waiting);
                None
            }
            Step::Widen { share } => Some(Act::Widen(number, share)),
            Step::Activate => self.activate(),
            Step::Good => self.settled(),
            Step::Revert(verdict) => self.judged(&verdict),
        }
    }

    /// Everything but the last bake is behind it.
    fn activate(&mut self) -> Option<Act> {
        let current = self.current.as_mut()?;
        current.phase = match std::mem::replace(&mut current.phase, Phase::Activating(None)) {
            Phase::Rolling(rollout) => Phase::Activating(Some(rollout)),
            other => other,
        };
        matches!(current.phase, Phase::Activating(_)).then_some(Act::Activate(current.change.number))
    }

    /// The guard forbids it.
    fn judged(&mut self, verdict: &Verdict) -> Option<Act> {
        let settling = matches!(self.current.as_ref()?.phase, Phase::Settling(_));
        let ended = self.end(Outcome::Reverted, verdict.to_string())?;
        Some(if settling { Act::Restore(ended) } else { Act::Withdraw(ended) })
    }

    /// It was made fully active, or could not be.
    pub fn activated(&mut self, number: u64, result: Result<(), String>, now: Instant) -> Option<Act> {
        let current = self.current.as_mut().filter(|it| it.change.number == number)?;
        let Phase::Activating(rollout) = &mut current.phase else { return None };
        if let Err(why) = result {
            let served = rollout.is_some();
            let ended = self.end(Outcome::Refused, format!("it cannot be made active: {why}"))?;
            return Some(if served { Act::Withdraw(ended) } else { Act::Tell(ended) });
        }
        // The version before is nobody's to confirm any more: this one stands in its place.
        let confirm = current.change.confirm;
        self.unconfirmed = confirm.map(|within| Unconfirmed { number, until: now + within, settled: false });
        let rollout = rollout.take().or_else(|| forced(&current.change, &current.way, now));
        let Some(rollout) = rollout else { return self.settled() };
        current.phase = Phase::Settling(rollout);
        None
    }

    /// Its last bake is over.
    fn settled(&mut self) -> Option<Act> {
        let number = self.current.as_ref()?.change.number;
        match &mut self.unconfirmed {
            Some(unconfirmed) if unconfirmed.number == number => {
                unconfirmed.settled = true;
                let why = "it serves everyone and waits for its confirmation".to_owned();
                self.end(Outcome::Unconfirmed, why).map(Act::Tell)
            }
            _ => self.end(Outcome::Good, "it served everyone for a bake".to_owned()).map(Act::Good),
        }
    }

    /// Nobody confirmed it in time. A change that meanwhile goes by stages beside it gives way when it goes back.
    fn overdue(&mut self) -> Option<Act> {
        let number = self.unconfirmed.take()?.number;
        let why = "nobody confirmed it in time".to_owned();
        let ended = match self.current.as_ref().is_some_and(|it| it.change.number == number) {
            true => self.end(Outcome::Lapsed, why)?,
            false => self.remember(number, Outcome::Lapsed, why),
        };
        Some(Act::Restore(ended))
    }

    /// Skips waiting for traffic, never a failing guard.
    ///
    /// # Errors
    /// When nothing goes by stages, or it may not go on.
    pub fn promote(&mut self, now: Instant) -> Result<Option<Act>, Not> {
        let current = self.current.as_mut().ok_or(Not::Nothing)?;
        let number = current.change.number;
        let rollout = match &mut current.phase {
            Phase::Rolling(rollout) | Phase::Settling(rollout) => rollout,
            Phase::Approval => return Err(Not::Held("it waits for somebody's approval".to_owned())),
            Phase::Probing | Phase::Offering(_) | Phase::Activating(_) => {
                return Err(Not::Held("it is between two steps".to_owned()));
            }
        };
        let step = rollout.promote(now).map_err(|refusal| Not::Held(refusal.to_string()))?;
        Ok(match step {
            Step::Hold(waiting) => {
                current.waiting = Some(waiting);
                None
            }
            Step::Widen { share } => Some(Act::Widen(number, share)),
            Step::Activate => self.activate(),
            Step::Good => self.settled(),
            Step::Revert(verdict) => self.judged(&verdict),
        })
    }

    /// Somebody ends it.
    ///
    /// # Errors
    /// When nothing is under way.
    pub fn abort(&mut self, outcome: Outcome, why: String) -> Result<Act, Not> {
        let current = self.current.as_ref().ok_or(Not::Nothing)?;
        let act = match &current.phase {
            Phase::Approval | Phase::Probing | Phase::Activating(None) => Act::Tell,
            Phase::Offering(_) | Phase::Rolling(_) | Phase::Activating(Some(_)) => Act::Withdraw,
            Phase::Settling(_) => Act::Restore,
        };
        let ended = self.end(outcome, why).ok_or(Not::Nothing)?;
        self.unconfirmed = self.unconfirmed.filter(|it| it.number != ended.number);
        Ok(act(ended))
    }

    /// Somebody confirms the version that waits for it.
    ///
    /// # Errors
    /// When none does.
    pub fn confirm(&mut self) -> Result<Option<Act>, Not> {
        let Unconfirmed { number, settled, .. } = self.unconfirmed.take().ok_or(Not::NothingToConfirm)?;
        if !settled {
            return Ok(None);
        }
        Ok(Some(Act::Good(self.remember(number, Outcome::Good, "somebody confirmed it".to_owned()))))
    }

    /// A rollback takes place: whatever was under way is over, and nothing waits for a confirmation.
    pub fn rolled_back(&mut self, outcome: Outcome, why: String) -> Option<Ended> {
        self.unconfirmed = None;
        self.end(outcome, why)
    }

    /// Whether this version is to be made active and its word is waited for.
    pub fn is_activating(&self, number: u64) -> bool {
        self.phase_of(number).is_some_and(|phase| matches!(phase, Phase::Activating(_)))
    }

    /// Whether this version is to be put beside the stable one, and nobody ended it meanwhile.
    pub fn is_offering(&self, number: u64) -> bool {
        self.phase_of(number).is_some_and(|phase| matches!(phase, Phase::Offering(_)))
    }

    fn phase_of(&self, number: u64) -> Option<&Phase> {
        self.current.as_ref().filter(|it| it.change.number == number).map(|it| &it.phase)
    }

    /// The change under way.
    pub fn current(&self) -> Option<&Current> {
        self.current.as_ref()
    }

    /// The version that waits for its confirmation.
    pub fn unconfirmed(&self) -> Option<&Unconfirmed> {
        self.unconfirmed.as_ref()
    }

    /// How a change ended, if that was lately; the last one without a number.
    pub fn ended(&self, number: Option<u64>) -> Option<&Ended> {
        self.ended.iter().rev().find(|ended| number.is_none_or(|number| ended.number == number))
    }

    fn end(&mut self, outcome: Outcome, why: String) -> Option<Ended> {
        let Current { change, .. } = self.current.take()?;
        let Change { number, hash, incidents, .. } = change;
        Some(self.keep(Ended { number, hash, outcome, why, incidents }))
    }

    /// The same for a version whose change had ended before.
    fn remember(&mut self, number: u64, outcome: Outcome, why: String) -> Ended {
        let before = self.ended(Some(number)).map(|ended| (ended.hash.clone(), ended.incidents.clone()));
        let (hash, incidents) = before.unwrap_or_default();
        self.keep(Ended { number, hash, outcome, why, incidents })
    }

    fn keep(&mut self, ended: Ended) -> Ended {
        if self.ended.len() == REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back(ended.clone());
        ended
    }
}

/// Whether `by` is the author, as far as that can be known. Loopback and the socket are doors and not people: whoever
/// has one usually has the other. Two users of the socket are two, and a token is somebody's own.
fn may_be(author: &str, by: &str) -> bool {
    let is_user = |name: &str| name.starts_with("socket (user ");
    let is_door = |name: &str| name == "loopback" || name == "socket" || is_user(name);
    author == by || (is_door(author) && is_door(by) && !(is_user(author) && is_user(by)))
}

/// Who breaks the glass goes around the stages, not around the guard: against the minutes before, for a bake.
fn forced(change: &Change, way: &Way, now: Instant) -> Option<Box<Rollout>> {
    let Way::BrokenGlass { bake } = way else { return None };
    let staging = Staging { stages: vec![1.0], bake: *bake, approval: false };
    Some(Box::new(Rollout::begin(scope(change, &staging, true), now)))
}

fn scope(change: &Change, staging: &Staging, probe_clean: bool) -> Scope {
    let Judged { guard, routes, longest_timeout } = change.judged.clone();
    Scope {
        stages: staging.stages.clone(),
        bake: staging.bake,
        guard,
        risk: change.risk,
        probe_clean,
        longest_timeout,
        routes,
    }
}

#[cfg(test)]
mod tests;
