//! What requests came to, counted for the judgement of a rollout: how many, how they failed, how long they took.
//!
//! A tally only grows. Whoever judges keeps an earlier one and looks at the difference ([`Tally::since`]), so that
//! counting knows nothing of stages or looks.

use crate::telemetry::cells::Counter;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// How a request failed, for the guard of a rollout (`design.md`, "Guard").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The gateway made a 5xx that is no shed: `connect_failed`, `timeout`, `missing_secret`, a panic.
    Gateway,
    /// The backend answered 5xx.
    Backend,
    /// There was no room.
    Shed,
    /// An auth could not decide, or passed by `stale` or `allow`.
    Auth,
    /// It is in flight for longer than max(objective, 4 × the stable version's p99).
    Overdue,
}

impl Failure {
    /// All of them, in their order.
    pub const ALL: [Failure; 5] =
        [Failure::Gateway, Failure::Backend, Failure::Shed, Failure::Auth, Failure::Overdue];

    /// The word in events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Failure::Gateway => "gateway",
            Failure::Backend => "backend",
            Failure::Shed => "shed",
            Failure::Auth => "auth",
            Failure::Overdue => "overdue",
        }
    }
}

/// Buckets of latency for each doubling.
const EACH: usize = 8;
/// Doublings from [`LEAST`].
const DOUBLINGS: usize = 22;
/// Buckets of latency.
const BUCKETS: usize = EACH * DOUBLINGS;
/// What is faster is as fast, in microseconds; the last bucket begins at about six minutes.
const LEAST: f64 = 100.0;

/// Requests of one side of a rollout on one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Those that are over, or overdue.
    pub requests: u64,
    /// Those of them that failed, each counted once, by [`Failure`].
    pub failed: [u64; Failure::ALL.len()],
    /// Times to the head of the answer, of requests that a backend answered below 500.
    latency: Box<[u64; BUCKETS]>,
}

impl Default for Tally {
    fn default() -> Self {
        Tally { requests: 0, failed: [0; Failure::ALL.len()], latency: Box::new([0; BUCKETS]) }
    }
}

impl Tally {
    /// A request that a backend answered well after `latency`.
    pub fn succeeded(&mut self, latency: Duration) {
        self.requests += 1;
        self.latency[bucket(latency)] += 1;
    }

    /// A request that needed no backend, or whose failure was its own fault.
    pub fn passed(&mut self) {
        self.requests += 1;
    }

    /// A request that failed.
    pub fn failed(&mut self, failure: Failure) {
        self.requests += 1;
        self.failed[failure as usize] += 1;
    }

    /// So many requests that a backend answered well after about `latency`; for what was counted more coarsely.
    pub fn succeeded_about(&mut self, latency: Duration, many: u64) {
        self.requests += many;
        self.latency[bucket(latency)] += many;
    }

    /// Failures of all kinds.
    pub fn failures(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// Times that were counted.
    pub fn samples(&self) -> u64 {
        self.latency.iter().sum()
    }

    /// The time within which this part, 0 to 1, of the answered requests were: the upper end of its bucket, at most
    /// 9 % too much. Nothing without samples.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let all = self.samples();
        let rank = ((all as f64 * part.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut below = 0;
        let found = self.latency.iter().position(|count| {
            below += count;
            below >= rank
        });
        found.filter(|_| all > 0).map(upper_end)
    }

    /// Takes another core's in.
    pub fn add(&mut self, other: &Tally) {
        self.requests += other.requests;
        self.failed.iter_mut().zip(other.failed).for_each(|(own, more)| *own += more);
        self.latency.iter_mut().zip(other.latency.iter()).for_each(|(own, more)| *own += more);
    }

    /// What came after `before`, an earlier state of the same tally.
    pub fn since(&self, before: &Tally) -> Tally {
        let mut rest = self.clone();
        rest.requests = rest.requests.saturating_sub(before.requests);
        let failed = rest.failed.iter_mut().zip(before.failed);
        failed.for_each(|(own, less)| *own = own.saturating_sub(less));
        let latency = rest.latency.iter_mut().zip(before.latency.iter());
        latency.for_each(|(own, less)| *own = own.saturating_sub(*less));
        rest
    }
}

/// A tally that one core writes and anybody reads: a plain load and store for each count, as in
/// [`crate::telemetry::cells`].
#[derive(Debug)]
pub struct TallyCells {
    requests: Counter,
    failed: [Counter; Failure::ALL.len()],
    latency: [AtomicU32; BUCKETS],
}

impl Default for TallyCells {
    fn default() -> Self {
        let latency = std::array::from_fn(|_| AtomicU32::new(0));
        TallyCells { requests: Counter::default(), failed: Default::default(), latency }
    }
}

impl TallyCells {
    /// See [`Tally::succeeded`]; only from the core that owns the cells, so for each of these.
    pub fn succeeded(&self, latency: Duration) {
        self.requests.add(1);
        let cell = &self.latency[bucket(latency)];
        cell.store(cell.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// See [`Tally::passed`].
    pub fn passed(&self) {
        self.requests.add(1);
    }

    /// See [`Tally::failed`].
    pub fn failed(&self, failure: Failure) {
        self.requests.add(1);
        self.failed[failure as usize].add(1);
    }

    /// What was counted so far. A request that is being counted may be half there; none is counted twice.
    pub fn read(&self) -> Tally {
        let mut tally = Tally { requests: self.requests.get(), ..Tally::default() };
        tally.failed.iter_mut().zip(&self.failed).for_each(|(sum, cell)| *sum = cell.get());
        let latency = tally.latency.iter_mut().zip(&self.latency);
        latency.for_each(|(sum, cell)| *sum = u64::from(cell.load(Relaxed)));
        tally
    }
}

fn bucket(latency: Duration) -> usize {
    let above = latency.as_micros() as f64 / LEAST;
    // Saturates at both ends.
    ((above.max(1.0).log2() * EACH as f64) as usize).min(BUCKETS - 1)
}

fn upper_end(bucket: usize) -> Duration {
    Duration::from_micros((LEAST * ((bucket + 1) as f64 / EACH as f64).exp2()) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_at_most_nine_percent_too_much() {
        let mut tally = Tally::default();
        assert_eq!(tally.quantile(0.9), None);
        (1..=1000).for_each(|ms| tally.succeeded(Duration::from_millis(ms)));
        for part in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let (true_ms, told) = (1000.0 * part, tally.quantile(part).expect("samples"));
            let ratio = told.as_secs_f64() * 1000.0 / true_ms;
            assert!((0.999..1.095).contains(&ratio), "{part}: {told:?}");
        }
    }

    #[test]
    fn tallies_add_up_and_their_differences_are_what_came_between() {
        let (mut one, mut other) = (Tally::default(), Tally::default());
        one.succeeded(Duration::ZERO);
        one.failed(Failure::Auth);
        other.succeeded(Duration::MAX);
        other.passed();
        let before = one.clone();
        one.add(&other);
        assert_eq!((one.requests, one.failures(), one.samples()), (4, 1, 2));
        assert_eq!(one.since(&before), other);
        assert_eq!(one.failed[Failure::Auth as usize], 1);
    }
}
