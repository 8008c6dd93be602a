//! Requests and failures of one side, without their times: what is compared at every look.

use crate::telemetry::tally::{Failure, Tally};

/// Of requests that are over or overdue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub requests: u64,
    /// Those that failed, by [`Failure`].
    pub failed: [u64; Failure::ALL.len()],
}

impl Counts {
    /// What a tally has counted.
    pub fn of(tally: &Tally) -> Self {
        Counts { requests: tally.requests, failed: tally.failed }
    }

    /// Failures of all kinds.
    pub fn failures(&self) -> u64 {
        self.failed.iter().fold(0, |sum, more| sum.saturating_add(*more))
    }

    /// What did not fail.
    pub fn successes(&self) -> u64 {
        self.requests.saturating_sub(self.failures())
    }

    /// The failed part, 0 to 1; 0 of nothing.
    pub fn rate(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.failures() as f64 / self.requests as f64 }
    }

    /// What came after `before`. A count that fell (overdue requests that ended well after all) is no change.
    pub fn since(&self, before: &Counts) -> Counts {
        let mut rest = *self;
        rest.requests = rest.requests.saturating_sub(before.requests);
        rest.failed.iter_mut().zip(&before.failed).for_each(|(own, less)| *own = own.saturating_sub(*less));
        rest
    }

    /// Takes another's in.
    pub fn add(&mut self, other: &Counts) {
        self.requests = self.requests.saturating_add(other.requests);
        self.failed.iter_mut().zip(&other.failed).for_each(|(own, more)| *own = own.saturating_add(*more));
    }
}

/// Both sides over the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// The new version.
    pub candidate: Counts,
    /// The old one.
    pub stable: Counts,
}

impl Pair {
    /// Takes another's in.
    pub fn add(&mut self, other: &Pair) {
        self.candidate.add(&other.candidate);
        self.stable.add(&other.stable);
    }

    /// What came after `before`.
    pub fn since(&self, before: &Pair) -> Pair {
        Pair { candidate: self.candidate.since(&before.candidate), stable: self.stable.since(&before.stable) }
    }

    /// The kind of failure that the candidate has most beyond stable; nothing where it has none at all.
    pub fn kind(&self) -> Option<Failure> {
        let rate = |counts: &Counts, kind: Failure| {
            counts.failed[kind as usize] as f64 / counts.requests.max(1) as f64
        };
        let excess = |kind: &Failure| rate(&self.candidate, *kind) - rate(&self.stable, *kind);
        let seen = Failure::ALL.into_iter().filter(|kind| self.candidate.failed[*kind as usize] > 0);
        seen.max_by(|one, other| excess(one).total_cmp(&excess(other)))
    }
}
