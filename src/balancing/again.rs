//! Whether a request that brought nothing is sent once more, where, and when (`overload.md` 2(v)).
//!
//! What was provably not sent goes to another backend at once. What may have been received goes there only if doing it
//! twice does no harm, and after a moment drawn between 25 and 250 ms, or all that failed together would come
//! together. Either must be afforded (`balancing::budget`), in time, and wanted: while the upstream's limit refuses
//! others, or anything of it is ramped, a second try would take the place of a first one. (Under a ramp what was not
//! sent does go on, to a place that ramps leave: it asked nobody for anything, and in a deploy that takes one backend
//! after the other somebody is always ramped while the next one ends.) A connection that had died while nobody used it
//! is replaced by a new one to the same backend, once and for nothing: nobody was asked yet. Refusals, a backend's own
//! included, and timeouts never come here: they are answers.

use crate::balancing::{Bound, CoreCluster, Place, Seated};
use crate::permit::{Counter, Permit};
use crate::reject::Reject;
use crate::request::Deadline;
use crate::telemetry::metrics::RetryOutcome;
use crate::upstream::request_body::RequestBody;
use crate::upstream::{Freshness, Reached, Returned};
use http::Request;
use http::header::UPGRADE;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between which a second try of what may have been received waits, in milliseconds.
const PAUSE: std::ops::RangeInclusive<u64> = 25..=250;

/// The tries of one request.
#[derive(Debug)]
pub(super) struct Tries {
    /// Of its sender's, before this one.
    before: u32,
    retries: u32,
    replaced: bool,
    freshness: Freshness,
    /// Its place among the retries in flight, to the answer's head.
    place: Option<Permit<Arc<Counter>>>,
}

impl Tries {
    /// None yet here, and `before` by proxies before us.
    pub(super) fn new(before: u32) -> Self {
        Tries { before, retries: 0, replaced: false, freshness: Freshness::Any, place: None }
    }

    /// Second tries so far.
    pub(super) fn retries(&self) -> u32 {
        self.retries
    }

    /// Which connection the next try may take.
    pub(super) fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// A try was answered.
    pub(super) fn answered(&mut self, cluster: &CoreCluster) {
        self.ended(cluster, RetryOutcome::Succeeded);
    }

    /// A try was not.
    pub(super) fn failed(&mut self, cluster: &CoreCluster) {
        self.ended(cluster, RetryOutcome::Failed);
    }

    /// A new connection takes the place of one that had died while nobody used it.
    pub(super) fn may_replace(&self, reached: Reached) -> bool {
        reached == Reached::Closed && !self.replaced
    }

    fn ended(&mut self, cluster: &CoreCluster, outcome: RetryOutcome) {
        if self.place.take().is_some() {
            cluster.shared.metrics.retry(cluster.core, outcome);
        }
    }

    /// The request and its permits, seated where and when it may be sent again.
    ///
    /// # Errors
    /// What the try before ended with, if it may not.
    pub(super) async fn again<G: Seated>(
        &mut self,
        returned: Returned<G>,
        deadline: Deadline,
    ) -> Result<(Box<Request<RequestBody>>, G), Reject> {
        let Returned { request, mut guard, reject, reached } = returned;
        let cluster = guard.place().cluster.clone();
        if self.may_replace(reached) {
            self.replaced = true;
            // If one was dead, the others are suspect too.
            self.freshness = Freshness::New;
            cluster.shared.metrics.retry(cluster.core, RetryOutcome::Replaced);
            return Ok((request, guard));
        }
        if self.retries >= cluster.shared.settings.retry.max_retries
            || !self.is_safe(&request, reached, &guard)
        {
            return Err(reject);
        }
        match self.seat(&cluster, guard.place(), reached, deadline).await {
            Ok(place) => guard.move_to(place),
            Err(why) => {
                cluster.shared.metrics.retry(cluster.core, why);
                return Err(reject);
            }
        }
        self.retries += 1;
        self.freshness = Freshness::Any;
        Ok((request, guard))
    }

    /// Sending it twice does no harm. Of what may have been received neither streams nor upgrades are tried again,
    /// nor what its sender tries again already: each of us would multiply the others.
    fn is_safe<G: Seated>(&self, request: &Request<RequestBody>, reached: Reached, guard: &G) -> bool {
        reached == Reached::Nothing
            || (guard.place().bound == Bound::Requests
                && self.before == 0
                && !request.headers().contains_key(UPGRADE))
    }

    /// A place at another backend, and all that a second try needs beside it.
    async fn seat(
        &mut self,
        cluster: &Rc<CoreCluster>,
        from: &Place,
        reached: Reached,
        deadline: Deadline,
    ) -> Result<Permit<Place>, RetryOutcome> {
        let budget = &cluster.shared.budget;
        let share = cluster.shared.settings.retry.budget;
        let pause = match reached {
            Reached::Nothing => Duration::ZERO,
            Reached::Closed | Reached::Perhaps => Duration::from_millis(fastrand::u64(PAUSE)),
        };
        may_retry(cluster, reached, pause, deadline)?;
        let retrying = budget.enter(cluster.shared.in_flight(), share).ok_or(RetryOutcome::NoBudget)?;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
            // What made it fail may be known by now, and may be a restart.
            may_retry(cluster, reached, Duration::ZERO, deadline)?;
        }
        let place = cluster.reserve(from.bound, Some(from.index)).map_err(|_| RetryOutcome::NoBackend)?;
        // Last, so that a token is only taken for a try that is made.
        let second = cluster.clock.nanos(Instant::now()) / 1_000_000_000;
        if !budget.take(second, share) {
            return Err(RetryOutcome::NoBudget);
        }
        self.place = Some(retrying);
        Ok(place)
    }
}

/// A second try after `pause` takes nobody's place and has the time that an answer typically takes.
fn may_retry(
    cluster: &CoreCluster,
    reached: Reached,
    pause: Duration,
    deadline: Deadline,
) -> Result<(), RetryOutcome> {
    if cluster.shared.backends.len() < 2 {
        return Err(RetryOutcome::NoBackend);
    }
    let is_ramped = || cluster.shares().of.iter().any(|share| share.ramped.is_some());
    if reached != Reached::Nothing && is_ramped() {
        return Err(RetryOutcome::Ramp);
    }
    if cluster.shared.budget.is_limited(cluster.clock.coarse_nanos()) {
        return Err(RetryOutcome::Limited);
    }
    let needed = pause + Duration::from_nanos(cluster.typical.get());
    if deadline.at.saturating_duration_since(Instant::now()) < needed {
        return Err(RetryOutcome::Deadline);
    }
    Ok(())
}
