//! What each route did in the last five minutes, whether or not anything is tried: against that a change is judged which
//! hurts both versions (`design.md`, "Guard").
//!
//! It reads what the cores count anyway, every ten seconds, and keeps what was new. So it is coarser than a tally: a
//! time is that of a whole exchange, taken for the upper end of its bucket, and a shed is one of the gateway's failures.

use crate::telemetry::cells::{BOUNDS, REQUEST_BOUNDS};
use crate::telemetry::metrics::{Metrics, RouteCounted, Source};
use crate::telemetry::tally::{Failure, Tally};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks at least.
const LOOK: Duration = Duration::from_secs(10);
/// Looks that are kept: five minutes.
const KEPT: usize = 30;
/// The class of status of a server's failure.
const FAILED: usize = 4;

/// The last five minutes.
#[derive(Debug)]
pub struct Baseline {
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    looked: Option<Instant>,
    before: HashMap<Arc<str>, RouteCounted>,
    /// What was new at each look, of routes that had something new.
    news: VecDeque<Vec<(Arc<str>, News)>>,
}

/// What came between two looks at one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct News {
    failed: [u32; 2],
    /// Answered by the gateway itself, below 500.
    own: u32,
    times: [u32; BOUNDS + 1],
}

impl Baseline {
    /// Knows nothing yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Baseline { metrics, state: Mutex::default() }
    }

    /// Looks, if it is time; to be called every second or so. A thread that is late looks less often.
    pub fn tick(&self, now: Instant) {
        let mut state = self.state();
        if state.looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOOK) {
            return;
        }
        state.looked = Some(now);
        state.look(self.metrics.routes().iter().map(|route| (route.name.clone(), route.counted())));
    }

    /// The five minutes before the last look, by route; routes that nobody asked for are left out.
    pub fn tallies(&self) -> BTreeMap<Arc<str>, Tally> {
        let state = self.state();
        let mut tallies: BTreeMap<Arc<str>, Tally> = BTreeMap::new();
        for (name, news) in state.news.iter().flatten() {
            news.add_to(tallies.entry(name.clone()).or_default());
        }
        tallies
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn look(&mut self, routes: impl Iterator<Item = (Arc<str>, RouteCounted)>) {
        let (mut now, mut news) = (HashMap::new(), Vec::new());
        for (name, counted) in routes {
            // What happened before the first look at a route is of nobody knows when.
            let new = self.before.get(&name).and_then(|before| News::between(before, &counted));
            news.extend(new.map(|new| (name.clone(), new)));
            now.insert(name, counted);
        }
        self.before = now;
        self.news.push_back(news);
        while self.news.len() > KEPT {
            self.news.pop_front();
        }
    }
}

impl News {
    /// Nothing if there is nothing new.
    fn between(before: &RouteCounted, now: &RouteCounted) -> Option<Self> {
        if before == now {
            return None;
        }
        let since = |now: u64, before: u64| u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX);
        let of = |class: usize, source: Source| {
            since(now.requests[class][source as usize], before.requests[class][source as usize])
        };
        Some(News {
            failed: Source::ALL.map(|source| of(FAILED, source)),
            own: (0..FAILED).map(|class| of(class, Source::Gateway)).fold(0, u32::saturating_add),
            times: std::array::from_fn(|bucket| since(now.times[bucket], before.times[bucket])),
        })
    }

    fn add_to(&self, tally: &mut Tally) {
        let kinds = [Failure::Gateway, Failure::Backend];
        for (kind, many) in kinds.into_iter().zip(self.failed) {
            tally.requests += u64::from(many);
            tally.failed[kind as usize] += u64::from(many);
        }
        tally.requests += u64::from(self.own);
        if self.is_mostly_unanswered() {
            return tally.requests += u64::from(self.answered());
        }
        // Failures and the gateway's own words are among the times, and nobody knows where. The latter are mostly fast
        // and the former mostly slow, so they are taken from both ends.
        let mut times = self.times;
        take(times.iter_mut(), self.own);
        take(times.iter_mut().rev(), self.failed.iter().fold(0, |sum: u32, many| sum.saturating_add(*many)));
        for (bucket, many) in times.into_iter().enumerate() {
            let upper = REQUEST_BOUNDS.get(bucket).or(REQUEST_BOUNDS.last()).copied().unwrap_or_default();
            tally.succeeded_about(Duration::from_nanos(upper), u64::from(many));
        }
    }
}

impl News {
    /// The gateway itself failed more than a tenth of them: refusals in no time and timeouts are then so many among the
    /// times that these say nothing of how long a backend takes.
    fn is_mostly_unanswered(&self) -> bool {
        let all: u64 = self.times.iter().map(|many| u64::from(*many)).sum();
        u64::from(self.failed[Source::Gateway as usize]) * 10 > all
    }

    /// What a backend answered well.
    fn answered(&self) -> u32 {
        let all = self.times.iter().fold(0, |sum: u32, many| sum.saturating_add(*many));
        self.failed.iter().fold(all, |rest, many| rest.saturating_sub(*many)).saturating_sub(self.own)
    }
}

/// Takes so many out of the buckets, the first ones first.
fn take<'a>(buckets: impl Iterator<Item = &'a mut u32>, mut many: u32) {
    for bucket in buckets {
        let taken = many.min(*bucket);
        *bucket -= taken;
        many -= taken;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::cells::CoreId;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_last_five_minutes_of_a_route_are_known_and_no_more() {
        let metrics = Arc::new(Metrics::new(1));
        let route = metrics.route("r");
        let baseline = Baseline::new(metrics.clone());
        let (core, start) = (CoreId(0), Instant::now());
        let asked = |status, source, ms: u64| route.finished(core, status, source, ms * MS);
        asked(500, Source::Backend, 1);
        baseline.tick(start);
        assert!(baseline.tallies().is_empty(), "what came before the first look is of nobody knows when");

        (0..97).for_each(|_| asked(200, Source::Backend, 20));
        asked(502, Source::Gateway, 9_000);
        asked(500, Source::Backend, 9_000);
        asked(401, Source::Gateway, 1);
        baseline.tick(start + LOOK / 2);
        assert!(baseline.tallies().is_empty(), "it is not time to look again");
        baseline.tick(start + LOOK);
        let tally = baseline.tallies().remove("r").expect("it was asked for");
        assert_eq!((tally.requests, tally.failures(), tally.samples()), (100, 2, 97));
        assert_eq!(
            (tally.failed[Failure::Gateway as usize], tally.failed[Failure::Backend as usize]),
            (1, 1)
        );
        let p90 = tally.quantile(0.9).expect("samples");
        assert!((25..28).contains(&p90.as_millis()), "{p90:?}");

        (0..200).for_each(|_| asked(503, Source::Gateway, 1));
        (0..100).for_each(|_| asked(200, Source::Backend, 20));
        baseline.tick(start + LOOK * 2);
        let shed = baseline.tallies().remove("r").expect("it was asked for");
        assert_eq!(
            (shed.requests, shed.failures(), shed.samples()),
            (400, 202, 97),
            "refusals are no fast answers"
        );

        (3..=KEPT as u32).for_each(|n| baseline.tick(start + LOOK * n));
        assert_eq!(baseline.tallies().len(), 1);
        (1..=2).for_each(|n| baseline.tick(start + LOOK * (KEPT as u32 + n)));
        assert!(baseline.tallies().is_empty(), "that is more than five minutes ago");
    }
}
