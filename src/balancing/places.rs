//! Places at backends: which backend takes a request or a stream now, and the right to be there.
//!
//! A place is taken before anything is sent. Ramps bind here: what each ramped backend may hold, what they may
//! hold together, and how many a second may begin (`balancing::shares`). Nothing here waits; whether waiting
//! would help is part of a refusal.

use crate::balancing::picker::{self, Load, Picked};
use crate::balancing::settings::Settings;
use crate::balancing::shares::{Ramped, Share, Shares, whole};
use crate::balancing::verdict::Verdict;
use crate::balancing::{Backend, Bound, Cluster, blames_backend};
use crate::permit::{Counted, Counter, Permit};
use crate::reject::Reason;
use crate::request::Deadline;
use crate::runtime::clock::Clock;
use crate::telemetry::cells::CoreId;
use crate::upstream::exchange::Guard;
use crate::upstream::pool::Pool;
use crate::upstream::progress::Progress;
use crate::upstream::vitals::Blame;
use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Why no backend takes a request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPlace {
    /// `ramp`, `backend_limit` or `no_backend`.
    pub reason: Reason,
    /// A place may come free while one waits.
    pub may_wait: bool,
}

/// Why one backend does not take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Denied {
    /// Its own share is taken, or its rate.
    Full,
    /// What all ramped backends may hold together is taken.
    RampIsFull,
}

/// One core's view of a cluster: the same backends, and this core's connections to them.
#[derive(Debug)]
pub struct CoreCluster {
    pub(super) shared: Arc<Cluster>,
    pools: Vec<Rc<Pool>>,
    rng: RefCell<fastrand::Rng>,
    /// The shares as this core last saw them, and the epoch of that look.
    shares: RefCell<Arc<Shares>>,
    epoch: Cell<u64>,
    /// About the median time to the head of a good answer on this core, in nanoseconds; 0 before the first.
    pub(super) typical: Cell<u64>,
    pub(super) clock: Rc<Clock>,
    pub(super) core: CoreId,
}

/// A place at one backend: in flight there, or a stream, as long as it is held.
#[derive(Debug)]
pub struct Place {
    pub(super) cluster: Rc<CoreCluster>,
    pub(super) index: usize,
    pub(super) bound: Bound,
    /// Of a candidate's part of the backend.
    _part: Option<Permit<Arc<Counter>>>,
}

impl Counted for Place {
    fn counter(&self) -> &Counter {
        self.backend().held(self.bound)
    }
}

impl Place {
    /// Where it was taken.
    pub fn cluster(&self) -> &Rc<CoreCluster> {
        &self.cluster
    }

    /// At the same backend.
    pub fn is_beside(&self, other: &Place) -> bool {
        Rc::ptr_eq(&self.cluster, &other.cluster) && self.index == other.index
    }

    /// A further place at the same backend, if there is one within `bound`.
    pub fn beside(place: &Place, bound: Bound) -> Option<Permit<Place>> {
        let shares = place.cluster.shares();
        let now = place.cluster.now(&shares);
        place.cluster.try_place(bound, place.index, &shares, now).ok()
    }

    /// The backend.
    pub fn backend(&self) -> &Backend {
        &self.cluster.shared.backends[self.index]
    }

    pub(super) fn pool(&self) -> &Rc<Pool> {
        &self.cluster.pools[self.index]
    }
}

/// What an admitted request holds, as far as balancing needs to know it.
pub trait Seated: Guard {
    /// The place at a backend.
    fn place(&self) -> &Place;
    /// Goes to another backend; the old place is free at once.
    fn move_to(&mut self, place: Permit<Place>);
}

impl CoreCluster {
    /// One core's view; `pools` in the order of the backends.
    pub fn new(shared: Arc<Cluster>, pools: Vec<Rc<Pool>>, clock: Rc<Clock>, core: CoreId) -> Rc<Self> {
        let epoch = Cell::new(shared.shares.epoch.load(Ordering::Acquire));
        let shares = RefCell::new(shared.shares.load());
        let typical = Cell::new(0);
        Rc::new(CoreCluster { shared, pools, rng: RefCell::default(), shares, epoch, typical, clock, core })
    }

    /// What ramps leave now. One atomic load, unless an operator has just moved a lever.
    #[inline]
    pub fn shares(&self) -> Ref<'_, Arc<Shares>> {
        let epoch = self.shared.shares.epoch.load(Ordering::Acquire);
        if epoch != self.epoch.get() {
            self.epoch.set(epoch);
            *self.shares.borrow_mut() = self.shared.shares.load();
        }
        self.shares.borrow()
    }

    /// How its backends are treated.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Streams that all backends together may hold.
    pub fn most_streams(&self) -> u32 {
        self.shared.backends.iter().fold(0, |sum: u32, backend| sum.saturating_add(backend.max_streams))
    }

    /// Takes a place within `bound` at the better of two backends, other than `not`.
    ///
    /// # Errors
    /// Why there is none. `ramp`, when there would be one without a ramp.
    pub fn reserve(self: &Rc<Self>, bound: Bound, not: Option<usize>) -> Result<Permit<Place>, NoPlace> {
        self.reserve_within(&self.shares(), bound, not)
    }

    /// The same, for whoever has looked at the shares already.
    ///
    /// # Errors
    /// The same.
    pub fn reserve_within(
        self: &Rc<Self>,
        shares: &Shares,
        bound: Bound,
        not: Option<usize>,
    ) -> Result<Permit<Place>, NoPlace> {
        let now = self.now(shares);
        let mut ramp_is_full = false;
        loop {
            let load = |index: usize| self.look(bound, shares, index, now, ramp_is_full);
            let picked = picker::pick(&mut self.rng.borrow_mut(), self.shared.backends.len(), load, not);
            let Picked::Backend(index) = picked else { return Err(self.no_place(bound, picked, shares)) };
            match self.try_place(bound, index, shares, now) {
                Ok(place) => return Ok(place),
                // Another core has taken the last place since the look; then the look is repeated.
                Err(denied) => ramp_is_full |= denied == Denied::RampIsFull,
            }
        }
    }

    /// Takes a place at one backend, if its bounds allow it now.
    #[inline]
    fn try_place(
        self: &Rc<Self>,
        bound: Bound,
        index: usize,
        shares: &Shares,
        now: u64,
    ) -> Result<Permit<Place>, Denied> {
        let most = self.most(bound, index, shares);
        let _part = match &self.shared.backends[index].guest {
            Some(guest) => Some(guest.part(bound).enter().ok_or(Denied::Full)?),
            None => None,
        };
        let place = Place { cluster: self.clone(), index, bound, _part };
        let place = Permit::try_new(place, most).ok_or(Denied::Full)?;
        let Some(ramped) = shares.of[index].ramped.filter(|_| bound == Bound::Requests) else {
            return Ok(place);
        };
        if self.ramped_in_flight(shares) > self.ramped_bound(shares) {
            return Err(Denied::RampIsFull);
        }
        if self.may_begin(index, ramped, now) { Ok(place) } else { Err(Denied::Full) }
    }

    /// Ramps count in real time; response times are compared by the tick's.
    fn now(&self, shares: &Shares) -> u64 {
        if shares.are_bound() { self.clock.nanos(Instant::now()) } else { self.clock.coarse_nanos() }
    }

    /// What a backend may hold now within a bound: of requests what ramps leave, of streams what is configured.
    fn most(&self, bound: Bound, index: usize, shares: &Shares) -> u32 {
        match bound {
            Bound::Requests => shares.of[index].cap,
            Bound::Streams if shares.of[index].probe => 1,
            Bound::Streams => self.shared.backends[index].max_streams,
        }
    }

    /// A backend as the picker sees it; twice and more for each request, so what only ramps need stays out of it.
    #[inline]
    fn look(&self, bound: Bound, shares: &Shares, index: usize, now: u64, ramp_is_full: bool) -> Load {
        let backend = &self.shared.backends[index];
        let share = &shares.of[index];
        let held = share.ramped.is_some()
            && bound == Bound::Requests
            && (ramp_is_full || is_ahead(backend, share, now));
        let held = held || backend.guest.as_ref().is_some_and(|guest| guest.part(bound).is_full());
        Load {
            inflight: if held { u32::MAX } else { backend.held(bound).get() },
            cap: self.most(bound, index, shares),
            weight: share.weight,
            ewma_ns: backend.latency.get(now),
            // A drained backend takes no streams either.
            eligible: share.cap > 0 && backend.is_present(),
        }
    }

    /// The backends, each with its share.
    fn each<'a>(&'a self, shares: &'a Shares) -> impl Iterator<Item = (&'a Backend, &'a Share)> {
        self.shared.backends.iter().zip(&shares.of)
    }

    /// In flight at all ramped backends, this request included. Whoever has taken a place counts itself first and
    /// looks afterwards, in one order for all cores: so of those that race for the last place at most one stays,
    /// and the sum is never above its bound, whatever was set, cleared or swapped meanwhile. (Two may both step
    /// back; near its bound a ramp sheds anyway.)
    fn ramped_in_flight(&self, shares: &Shares) -> u32 {
        let ramped = self.each(shares).filter(|(_, share)| share.ramped.is_some());
        ramped.map(|(backend, _)| backend.in_flight.get()).fold(0, u32::saturating_add)
    }

    /// What they may hold together: those that can be reached, for the dead leave their share to nobody.
    fn ramped_bound(&self, shares: &Shares) -> u32 {
        let present = self.each(shares).filter(|(backend, _)| backend.is_present());
        whole(present.filter_map(|(_, share)| share.ramped).map(|ramped| ramped.quota_micro))
    }

    fn may_begin(&self, index: usize, ramped: Ramped, now: u64) -> bool {
        ramped.interval_ns.is_none_or(|interval| self.shared.backends[index].rate.take(now, interval))
    }

    /// What stopped the request: a ramp only if a backend has room that the ramp denies. It may wait while a
    /// backend that is not ramped can come free; a ramp itself sheds at once.
    fn no_place(&self, bound: Bound, picked: Picked, shares: &Shares) -> NoPlace {
        let present = || self.each(shares).filter(|(backend, _)| backend.is_present());
        if picked == Picked::NoneEligible {
            let drained = shares.are_bound() && present().any(|(_, share)| share.cap == 0 && !share.out);
            return NoPlace {
                reason: if drained { Reason::Ramp } else { Reason::NoBackend },
                may_wait: false,
            };
        }
        let open = || present().filter(|(_, share)| share.cap > 0);
        if open().all(|(_, share)| share.probe) {
            // Each has its one request; who comes next finds out whether that helped (`overload.md` 2(ii)).
            return NoPlace { reason: Reason::NoBackend, may_wait: false };
        }
        if bound == Bound::Streams {
            return NoPlace { reason: Reason::BackendLimit, may_wait: false };
        }
        let denied = shares.are_bound() && open().any(|(backend, _)| backend.in_flight.get() < backend.cap);
        let reason = if denied { Reason::Ramp } else { Reason::BackendLimit };
        NoPlace { reason, may_wait: !denied || self.has_warm(shares) }
    }

    /// There is a backend that is well, neither ramped nor drained, and can be reached: waiting may help.
    pub fn has_warm(&self, shares: &Shares) -> bool {
        let warm = |share: &Share| share.cap > 0 && !share.probe && share.ramped.is_none();
        self.each(shares).any(|(backend, share)| warm(share) && backend.is_present())
    }

    /// A backend answered a request that was sent at `began`.
    pub(super) fn answered<B>(
        &self,
        (index, bound): (usize, Bound),
        response: &http::Response<B>,
        (began, ended): (Instant, Instant),
    ) {
        let verdict = Verdict::of(response);
        // How long a stream's head takes says little about how busy a backend is, and streams are no part of what
        // ramps count.
        if bound == Bound::Requests {
            let rtt = u64::try_from((ended - began).as_nanos()).unwrap_or(u64::MAX);
            let Backend { latency, metrics, endpoint, .. } = &self.shared.backends[index];
            let well = !response.status().is_server_error();
            metrics.answered(self.core, well);
            if well || !self.is_lent(index) {
                verdict.record(latency, self.clock.nanos(ended), rtt);
                endpoint.vitals.ended(self.core, well.then_some(rtt));
            }
            if well {
                self.shared.budget.succeeded(self.core);
                self.typical.set(toward_median(self.typical.get(), rtt));
            }
        }
        self.heard(index, response, verdict);
    }

    /// A try brought no answer.
    pub(super) fn failed(
        &self,
        (index, bound): (usize, Bound),
        reason: Reason,
        (began, deadline): (Instant, Deadline),
        progress: &Progress,
    ) {
        if blames_backend(reason, deadline, progress) {
            let Backend { latency, metrics, endpoint, .. } = &self.shared.backends[index];
            metrics.answered(self.core, false);
            if self.is_lent(index) {
                return;
            }
            let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let now = self.clock.nanos(Instant::now());
            match reason {
                // It has taken its time already: a fleet that has slowed down would lose a backend for ten seconds to
                // each one that was a little slower than its peers.
                Reason::Timeout => latency.record(now, took),
                Reason::ConnectFailed => latency.absent(now),
                _ => latency.failure(now, took),
            }
            endpoint.vitals.failed(self.core, Blame::Reason(reason));
            if bound == Bound::Requests {
                endpoint.vitals.ended(self.core, None);
            }
        }
    }

    /// The stable version uses this backend too: what fails for a candidate there may be the candidate's own doing, and
    /// must not take the backend from the other. Its own requests will tell.
    fn is_lent(&self, index: usize) -> bool {
        self.shared.backends[index].guest.as_ref().is_some_and(|guest| guest.is_lent)
    }

    /// The upstream's limit has refused somebody here, or made somebody wait.
    pub fn limited(&self) {
        self.shared.budget.limited(self.clock.coarse_nanos());
    }

    /// What an answer's head says of the backend itself.
    fn heard<B>(&self, index: usize, response: &http::Response<B>, verdict: Verdict) {
        let vitals = &self.shared.backends[index].endpoint.vitals;
        if let Some(id) = response.headers().get(&self.shared.settings.ramp.boot_header) {
            vitals.booted(id.as_bytes());
        }
        match verdict {
            Verdict::Well => vitals.succeeded(self.core),
            Verdict::Failed(_) if self.is_lent(index) => {}
            Verdict::Failed(blame) => vitals.failed(self.core, blame),
            Verdict::Busy | Verdict::Nothing => {}
        }
    }
}

/// One step from `median` towards the median of what it is shown, a sixteenth at most: half of the steps go up and
/// half go down where half of the values are above. The first value is the first guess.
fn toward_median(median: u64, value: u64) -> u64 {
    let step = (median / 16).max(1);
    match value.cmp(&median) {
        _ if median == 0 => value,
        std::cmp::Ordering::Greater => median.saturating_add(step),
        std::cmp::Ordering::Less => median - step,
        std::cmp::Ordering::Equal => median,
    }
}

/// A ramped backend was sent what its rate allows.
#[cold]
fn is_ahead(backend: &Backend, share: &Share, now: u64) -> bool {
    let interval = share.ramped.and_then(|ramped| ramped.interval_ns);
    interval.is_some_and(|interval| !backend.rate.has_room(now, interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_typical_time_finds_the_median_and_not_the_mean() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut typical = 0;
        for _ in 0..2_000 {
            let slow = rng.u32(..10) < 3;
            typical = toward_median(typical, if slow { 5_000_000_000 } else { rng.u64(900_000..1_100_000) });
        }
        assert!((900_000..1_500_000).contains(&typical), "{typical}");
    }
}
