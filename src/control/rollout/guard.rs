//! The guard of a rollout: what is found, what is in doubt, what is worse on both sides.

use crate::control::rollout::verdict::Verdict;
use crate::control::rollout::{Sample, Scope};
use std::time::Duration;

/// When and where a look happens; times are those in which the rollout was watched.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// Since the rollout began.
    pub at: Duration,
    /// When this stage began.
    pub stage_at: Duration,
    /// The part of the clients that the candidate serves; 1 when there is no stable version beside it.
    pub share: f64,
}

/// What it remembers.
#[derive(Debug)]
pub struct Guard {
    doubt: Option<Verdict>,
    worse: Option<Verdict>,
}

impl Guard {
    /// For a rollout.
    pub fn new(_scope: &Scope) -> Self {
        Guard { doubt: None, worse: None }
    }

    /// Takes in what is to be seen; what reverts the rollout, if anything does.
    pub fn look(&mut self, _scope: &Scope, _sight: Sight, _sample: &Sample) -> Option<Verdict> {
        None
    }

    /// What looks wrong and is not beyond chance.
    pub fn doubt(&self) -> Option<&Verdict> {
        self.doubt.as_ref()
    }

    /// What is worse than before on both sides.
    pub fn worse(&self) -> Option<&Verdict> {
        self.worse.as_ref()
    }

    /// What comes now is of the next stage.
    pub fn begin_stage(&mut self) {
        self.doubt = None;
    }
}
