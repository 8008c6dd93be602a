//! Active checks of every backend that what serves wants checked, a candidate too: one task each, on the thread of
//! calls to the outside, for as long as a table has the backend.
//!
//! Checks of one backend are its interval apart, a tenth more or less, and begin anywhere within the first one, so
//! that a thousand backends are not asked at once. Over the whole process only so many are under way; those beyond
//! wait their turn and are counted. A backend that never answers holds its own check's place until its deadline, and
//! nothing else. Names without an address are not checked.

use crate::balancing::Backend;
use crate::balancing::health::Subject;
use crate::routing::table::{Live, Upstream};
use crate::routing::trial::Tables;
use crate::telemetry::metrics::{BackendMetrics, CheckOutcome, Metrics};
use crate::upstream::checkup::Outcome;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until};

/// Checks under way at once.
const MOST: usize = 256;
/// Between two looks for another table.
const LOOK: Duration = Duration::from_millis(100);

/// Follows the active table for as long as it is polled.
pub async fn keep_checked(live: Arc<Live>, metrics: Arc<Metrics>) {
    let mut rounds = Rounds { tasks: HashMap::new(), slots: Rc::new(Semaphore::new(MOST)), metrics };
    let (mut ticks, mut epoch) = (interval(LOOK), 0);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        // The number first: a table that comes between is looked at the next time.
        let now = live.epoch();
        if std::mem::replace(&mut epoch, now) != now {
            rounds.follow(&live.tables());
        }
    }
}

/// The tasks, by where their backend's endpoint lies; each holds that alive, so no two share a place.
struct Rounds {
    tasks: HashMap<usize, Task>,
    slots: Rc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// One backend's checks; they end when it is dropped.
struct Task {
    case: Case,
    handle: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Whom to check, and where that counts.
#[derive(Clone)]
struct Case {
    subject: Subject,
    metrics: Arc<BackendMetrics>,
}

impl Case {
    fn of(upstream: &Upstream, backend: &Backend) -> Option<Case> {
        let subject = Subject {
            endpoint: backend.endpoint.clone(),
            health: upstream.cluster.settings.health.clone()?,
            host: upstream.cluster.host.clone(),
        };
        Some(Case { subject, metrics: backend.metrics.clone() })
    }

    fn place(&self) -> usize {
        Arc::as_ptr(&self.subject.endpoint) as usize
    }

    /// Nothing of it changed: what is asked belongs to the endpoint's identity.
    fn is_still(&self, other: &Case) -> bool {
        self.subject.host == other.subject.host && Arc::ptr_eq(&self.metrics, &other.metrics)
    }
}

impl Rounds {
    /// Whoever is in the tables is checked from now on, and nobody else. What a candidate reaches as the stable version
    /// does is checked as that wants it.
    fn follow(&mut self, tables: &Tables) {
        let mut before = std::mem::take(&mut self.tasks);
        for upstream in tables.all().flat_map(|table| &table.upstreams) {
            for case in upstream.cluster.backends.iter().filter_map(|backend| Case::of(upstream, backend)) {
                let place = case.place();
                if self.tasks.contains_key(&place) {
                    // Two names for one address: it is checked once.
                    continue;
                }
                let kept = before.remove(&place).filter(|task| task.case.is_still(&case));
                let task = kept.unwrap_or_else(|| self.begin(case));
                self.tasks.insert(place, task);
            }
        }
    }

    fn begin(&self, case: Case) -> Task {
        case.metrics.expect_checks();
        let attend = attend(case.clone(), self.slots.clone(), self.metrics.clone());
        Task { case, handle: tokio::task::spawn_local(attend).abort_handle() }
    }
}

/// Checks one backend again and again.
async fn attend(case: Case, slots: Rc<Semaphore>, metrics: Arc<Metrics>) {
    let interval = case.subject.health.interval;
    sleep(interval.mul_f64(fastrand::f64())).await;
    loop {
        let began = Instant::now();
        check(&case, &slots, &metrics).await;
        // A check that took longer than its interval is not followed at once by the next.
        let next = began + interval.mul_f64(0.9 + 0.2 * fastrand::f64());
        sleep_until(next.max(Instant::now() + interval / 10).into()).await;
    }
}

async fn check(case: &Case, slots: &Semaphore, metrics: &Metrics) {
    let Subject { endpoint, .. } = &case.subject;
    // Its addresses take turns, as they do for requests, but without taking theirs.
    let Some(address) = endpoint.socket_address(fastrand::usize(..)) else { return };
    let slot = match slots.try_acquire() {
        Ok(slot) => Ok(slot),
        Err(_) => {
            metrics.process().checks_delayed.add(1);
            slots.acquire().await
        }
    };
    let outcome = case.subject.examine(address).await;
    drop(slot);
    case.metrics.checked(match &outcome {
        Some(Outcome::Well) => CheckOutcome::Ok,
        Some(Outcome::Failed(_) | Outcome::Silent(_)) => CheckOutcome::Failed,
        Some(Outcome::Slow(_)) => CheckOutcome::Slow,
        None => CheckOutcome::Skipped,
    });
    if let Some(outcome) = outcome {
        endpoint.vitals.checkup.record(&outcome, Instant::now(), case.subject.proof());
    }
}
