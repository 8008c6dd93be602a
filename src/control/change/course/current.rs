//! A change that was accepted, and how far it is.

use crate::config::fields::Risk;
use crate::config::policy::Guard;
use crate::control::Cause;
use crate::control::change::rules::Way;
use crate::control::rollout::{Rollout, RouteScope, Waiting};
use std::time::Duration;

/// A change that was accepted.
#[derive(Clone, Debug)]
pub struct Change {
    /// The version's number.
    pub number: u64,
    /// Blake3 of its text, hex.
    pub hash: String,
    /// Where it comes from.
    pub cause: Cause,
    /// Who asked.
    pub by: Option<String>,
    /// Why, in their words.
    pub reason: Option<String>,
    /// How dangerous it is.
    pub risk: Risk,
    /// The incidents that it is for.
    pub incidents: Vec<u64>,
    /// It comes back unless somebody confirms it within this time of being fully active.
    pub confirm: Option<Duration>,
    /// What the guard has to know of it.
    pub judged: Judged,
}

/// What the guard judges a change by.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The bars.
    pub guard: Guard,
    /// The routes that differ.
    pub routes: Vec<RouteScope>,
    /// The longest timeout among what differs.
    pub longest_timeout: Duration,
}

/// How far it is.
#[derive(Debug)]
pub enum Phase {
    /// It waits for somebody other than its author.
    Approval,
    /// What it names is being dialled.
    Probing,
    /// It is put beside the stable version; whether its probe was clean.
    Offering(bool),
    /// Some clients are served by it.
    Rolling(Box<Rollout>),
    /// It is being made fully active.
    Activating(Option<Box<Rollout>>),
    /// Everyone is served by it, for one more bake.
    Settling(Box<Rollout>),
}

/// The change under way.
#[derive(Debug)]
pub struct Current {
    /// What.
    pub change: Change,
    /// How.
    pub way: Way,
    /// How far.
    pub phase: Phase,
    /// What it waits for, as of the last look.
    pub waiting: Option<Waiting>,
    /// Who approved it.
    pub approved_by: Option<String>,
}

impl Current {
    /// The word for how far it is.
    pub const fn state(&self) -> &'static str {
        match self.phase {
            Phase::Approval => "approval",
            Phase::Probing | Phase::Offering(_) => "probing",
            Phase::Rolling(_) => "rolling_out",
            Phase::Activating(_) => "activating",
            Phase::Settling(_) => "settling",
        }
    }

    /// The part of the clients that it serves, 0 to 1.
    pub fn share(&self) -> f64 {
        match &self.phase {
            Phase::Approval | Phase::Probing | Phase::Offering(_) | Phase::Activating(None) => 0.0,
            Phase::Rolling(rollout) | Phase::Activating(Some(rollout)) => rollout.share(),
            Phase::Settling(_) => 1.0,
        }
    }

    /// Its stages and its guard, once it has begun.
    pub fn rollout(&self) -> Option<&Rollout> {
        match &self.phase {
            Phase::Rolling(rollout) | Phase::Settling(rollout) | Phase::Activating(Some(rollout)) => {
                Some(rollout)
            }
            _ => None,
        }
    }
}
