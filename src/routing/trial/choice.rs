//! How requests are given to the two sides of a trial, and how many were: by client, or each for itself where there
//! are too few clients to choose among (`design.md`, "Cohorts").

use crate::routing::trial::Side;
use crate::telemetry::cells::{CoreId, Counter, PerCore};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Lives as long as the trial, over all of its stages.
#[derive(Debug)]
pub struct Choice {
    per_request: AtomicBool,
    chosen: PerCore<[Counter; 2]>,
}

impl Choice {
    /// Nobody was chosen yet, on so many cores.
    pub fn new(cores: usize, per_request: bool) -> Self {
        Choice { per_request: AtomicBool::new(per_request), chosen: PerCore::new(cores) }
    }

    /// Each request is chosen for itself, at random: there are too few clients, or one of them is too large.
    pub fn is_per_request(&self) -> bool {
        self.per_request.load(Relaxed)
    }

    /// From the next request on.
    pub fn set_per_request(&self, per_request: bool) {
        self.per_request.store(per_request, Relaxed);
    }

    /// A request went to this side; only from its core.
    #[inline]
    pub fn chose(&self, side: Side, core: CoreId) {
        if let Some(cells) = self.chosen.of(core) {
            cells[side as usize].add(1);
        }
    }

    /// Requests that went to this side, ever.
    pub fn chosen(&self, side: Side) -> u64 {
        self.chosen.sum(|cells| cells[side as usize].get())
    }
}
