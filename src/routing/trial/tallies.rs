//! What became of both sides' requests, by route: written by the cores, each into cells of its own, and summed by
//! whoever judges (`design.md`, "Guard").
//!
//! A route costs nothing before its first request. What is in flight for too long counts as failed while it still is,
//! once. Nothing here judges.

use crate::routing::trial::Side;
use crate::telemetry::cells::CoreId;
use crate::telemetry::tally::{Failure, Tally, TallyCells};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The tallies of one trial.
#[derive(Debug)]
pub struct Tallies {
    /// Each route's place.
    places: HashMap<Arc<str>, usize>,
    /// How long a request of each route may be in flight, in nanoseconds; `u64::MAX` while nobody knows.
    patience: Box<[AtomicU64]>,
    cores: Box<[CoreTallies]>,
}

/// One core's.
#[derive(Debug)]
struct CoreTallies {
    /// Both sides of each route.
    cells: Box<[[OnceLock<Box<TallyCells>>; 2]]>,
    /// In flight for too long, as the core saw it last.
    overdue: [AtomicU32; 2],
}

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A backend answered it well, the head of the answer after this long.
    Well(Duration),
    /// It needed no backend, or its failure was its own fault.
    Passed,
    /// It failed.
    Failed(Failure),
}

/// The tallies of one side, for a table's routes in their order.
#[derive(Clone, Debug)]
pub struct Scores {
    tallies: Arc<Tallies>,
    side: Side,
    places: Box<[usize]>,
}

impl Tallies {
    /// For the routes of these names, on so many cores.
    pub fn new<'a>(routes: impl Iterator<Item = &'a Arc<str>>, cores: usize) -> Self {
        let mut places = HashMap::new();
        for name in routes {
            let next = places.len();
            places.entry(name.clone()).or_insert(next);
        }
        let many = places.len();
        let core = |_| CoreTallies {
            cells: (0..many).map(|_| Default::default()).collect(),
            overdue: Default::default(),
        };
        Tallies {
            patience: (0..many).map(|_| AtomicU64::new(u64::MAX)).collect(),
            cores: (0..cores).map(core).collect(),
            places,
        }
    }

    /// What was counted so far, by route: of the stable side, and of the candidate.
    pub fn sum(&self) -> BTreeMap<Arc<str>, (Tally, Tally)> {
        let sum = |(name, place): (&Arc<str>, &usize)| {
            (name.clone(), (self.tally(*place, Side::Stable), self.tally(*place, Side::Candidate)))
        };
        self.places.iter().map(sum).collect()
    }

    /// Requests of a side that are in flight for too long now.
    pub fn overdue(&self, side: Side) -> u64 {
        self.cores.iter().map(|core| u64::from(core.overdue[side as usize].load(Relaxed))).sum()
    }

    /// Requests of the candidate that are in flight for too long now.
    pub fn overdue_now(&self) -> u64 {
        self.overdue(Side::Candidate)
    }

    /// How long a request of a route may be in flight: the larger of what is aimed at and four times the stable side's
    /// p99; without a sample of that, what the route itself waits.
    pub fn follow(&self, route: &Arc<str>, objective: Duration, timeout: Duration) {
        let Some(place) = self.places.get(route) else { return };
        let usual = self.tally(*place, Side::Stable).quantile(0.99).map(|p99| p99.saturating_mul(4));
        let patience = objective.max(usual.unwrap_or(timeout));
        self.patience[*place].store(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    fn tally(&self, place: usize, side: Side) -> Tally {
        let mut sum = Tally::default();
        for core in &self.cores {
            let cells = core.cells.get(place).and_then(|sides| sides[side as usize].get());
            cells.into_iter().for_each(|cells| sum.add(&cells.read()));
        }
        sum
    }
}

impl Scores {
    /// Of one side; `routes` in the order of its table.
    pub fn new<'a>(tallies: &Arc<Tallies>, side: Side, routes: impl Iterator<Item = &'a Arc<str>>) -> Self {
        let place = |name| tallies.places.get(name).copied().unwrap_or(usize::MAX);
        Scores { places: routes.map(place).collect(), tallies: tallies.clone(), side }
    }

    /// Which side.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Counts one request of the route at this place; only from its core.
    pub fn count(&self, core: CoreId, route: usize, fate: Fate) {
        let Some(all) = self.tallies.cores.get(core.0 as usize) else { return };
        let Some(sides) = self.places.get(route).and_then(|place| all.cells.get(*place)) else { return };
        let cells = sides[self.side as usize].get_or_init(Box::default);
        match fate {
            Fate::Well(latency) => cells.succeeded(latency),
            Fate::Passed => cells.passed(),
            Fate::Failed(failure) => cells.failed(failure),
        }
    }

    /// A request of this route is in flight for too long.
    pub fn is_overdue(&self, route: usize, age: Duration) -> bool {
        let patience = self.places.get(route).and_then(|place| self.tallies.patience.get(*place));
        patience.is_some_and(|patience| age.as_nanos() > u128::from(patience.load(Relaxed)))
    }
}

/// Tells how many are in flight for too long on a core: of the stable side, and of the candidate.
pub fn tell_overdue(tallies: &Tallies, core: CoreId, overdue: [u32; 2]) {
    let Some(all) = tallies.cores.get(core.0 as usize) else { return };
    all.overdue.iter().zip(overdue).for_each(|(cell, many)| cell.store(many, Relaxed));
}
