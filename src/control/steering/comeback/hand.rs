//! What operators do with ramps that nobody set: where no lever of theirs is, a verb moves what brings a backend back
//! by itself, and a next step of theirs enters the guarded ones.

use super::{Beside, Comebacks, Running, course};
use crate::control::ramp::guard::{GuardedRamp, Usual};
use crate::control::ramp::lever::{Step, Stuck, Target};
use crate::control::steering::State;
use crate::control::steering::watchman::{Place, place};
use crate::routing::table::Upstream;
use std::time::Instant;

/// The word for a ramp that an operator's ends in.
const OPERATOR: &str = "operator";
/// What stands for an operator's reason where the ramp was nobody's.
const AUTOMATIC: &str = "it was the automatic one";

impl Comebacks {
    /// An operator's ramp went up a step; where there are guarded steps on that way, it takes them. True if so.
    pub fn take_over(&mut self, beside: Beside<'_>, step: &Step) -> bool {
        let named = |it: &&Upstream| it.name == *step.target.upstream();
        let Some(upstream) = beside.table.upstreams.iter().find(named) else { return false };
        let course = course(upstream);
        let ramp = GuardedRamp::after(&course, step.from, 1.0, Usual::default());
        if !course.guarded || ramp.percent() >= step.to {
            return false;
        }
        for backend in &upstream.cluster.backends {
            let key = place(upstream, backend);
            let meant = step.target.backend().is_none_or(|name| *name == backend.settings.name);
            if meant && !self.running.contains_key(&key) {
                let ramp = GuardedRamp::after(&course, step.from, 1.0, self.usual(&key));
                self.begin(beside, (upstream, backend), OPERATOR, ramp);
            }
        }
        true
    }

    /// What runs at an upstream, or at one backend of it, by name.
    pub fn at(&self, target: &Target) -> impl Iterator<Item = (&Place, &Running)> {
        self.running.iter().filter(move |(place, running)| is_meant(target, place, running))
    }

    /// Stops the clocks of what runs there, or lets them go on. False when none changed.
    pub fn pause(&mut self, target: &Target, pause: bool) -> bool {
        let meant = self.running.iter_mut().filter(|(place, running)| is_meant(target, place, running));
        let moved = meant.map(|(_, it)| if pause { it.ramp.pause() } else { it.ramp.resume() });
        moved.fold(false, |any, moved| any | moved)
    }

    /// Ends what runs there. False when nothing did.
    pub fn clear(&mut self, target: &Target) -> bool {
        let before = self.running.len();
        self.running.retain(|place, running| !is_meant(target, place, running));
        self.tidy(target.upstream());
        self.running.len() < before
    }
}

fn is_meant(target: &Target, (upstream, _): &Place, running: &Running) -> bool {
    target.upstream() == upstream && target.backend().is_none_or(|name| **name == *running.name)
}

impl State {
    /// Takes a ramp away: the operator's, or where there is none what brings backends back by itself. Its reason.
    pub(in crate::control::steering) fn clear(&mut self, target: &Target) -> Option<String> {
        match self.levers.clear(target) {
            Some(cleared) => Some(cleared.signature.reason),
            None => self.comebacks.clear(target).then(|| AUTOMATIC.to_owned()),
        }
    }

    pub(in crate::control::steering) fn pause(&mut self, target: &Target) -> Result<(), Stuck> {
        match self.levers.pause(target, Instant::now()) {
            Err(Stuck::None) if self.comebacks.at(target).next().is_some() => {
                self.comebacks.pause(target, true).then_some(()).ok_or(Stuck::Paused)
            }
            moved => moved,
        }
    }

    pub(in crate::control::steering) fn resume(&mut self, target: &Target) -> Result<(), Stuck> {
        match self.levers.resume(target, Instant::now()) {
            Err(Stuck::None) if self.comebacks.at(target).next().is_some() => {
                self.comebacks.pause(target, false).then_some(()).ok_or(Stuck::Running)
            }
            moved => moved,
        }
    }
}
