//! Which backend takes a request, and a second one when the first provably never got it.
//!
//! A place at a backend is taken together with the upstream's permit, before anything is sent: a request that
//! is only connecting counts as in flight. Nothing here waits, and nothing here knows classes or queues.

pub mod ewma;
pub mod picker;
pub mod rate;
pub mod settings;
pub mod shares;

use crate::balancing::ewma::PeakEwma;
use crate::balancing::picker::{Load, Picked};
use crate::balancing::rate::Rate;
use crate::balancing::settings::BackendSettings;
use crate::balancing::shares::{Ramped, Shares, Standing, whole};
use crate::permit::{Counted, Counter, Permit};
use crate::reject::{Reason, Reject};
use crate::request::Deadline;
use crate::runtime::clock::Clock;
use crate::telemetry::cells::CoreId;
use crate::telemetry::metrics::{BackendMetrics, RetryOutcome, UpstreamMetrics};
use crate::upstream::exchange::{Exchange, Exchanges, Guard};
use crate::upstream::pool::Pool;
use crate::upstream::progress::Progress;
use crate::upstream::request_body::RequestBody;
use crate::upstream::settings::HostPolicy;
use crate::upstream::{Endpoint, Failure, Freshness, attempt};
use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::body::Incoming;
use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::time::timeout_at;

/// One backend as a version of the configuration sees it.
#[derive(Debug)]
pub struct Backend {
    /// Name, address and weight.
    pub settings: BackendSettings,
    /// In flight at most, as configured; a ramp may leave less of it.
    pub cap: u32,
    /// Tunnels at most.
    pub max_streams: u32,
    /// In flight; lives as long as the name.
    pub in_flight: Arc<Counter>,
    /// What it was sent lately; lives as long as the name.
    pub rate: Arc<Rate>,
    /// Where its outcomes count.
    pub metrics: Arc<BackendMetrics>,
    /// Time to the answer's head; lives as long as the identity.
    pub latency: Arc<PeakEwma>,
    /// Where it is and how it is spoken to; lives as long as the identity.
    pub endpoint: Arc<Endpoint>,
}

impl Backend {
    /// How it stands without a ramp.
    pub fn warm(&self) -> Standing {
        let (cap, weight) = (self.cap, self.settings.weight.get());
        Standing { percent: 100.0, reference: f64::from(cap), settled: true, rate: None, cap, weight }
    }

    /// It has an address, so it can be tried.
    pub fn is_present(&self) -> bool {
        !self.endpoint.addresses.load().list.is_empty()
    }
}

/// The backends of one upstream.
#[derive(Debug)]
pub struct Cluster {
    /// The backends.
    pub backends: Vec<Backend>,
    /// What ramps leave to each of them.
    pub shares: Levelled,
    /// Second tries of what was not sent.
    pub max_retries: u32,
    /// What backends see as `Host`.
    pub host: HostPolicy,
    /// Where it counts.
    pub metrics: Arc<UpstreamMetrics>,
}

/// The shares of a cluster's backends, which operators change while it serves.
#[derive(Debug)]
pub struct Levelled {
    now: ArcSwap<Shares>,
    epoch: AtomicU64,
}

impl Levelled {
    /// Begins with `shares`, in the order of the backends.
    pub fn new(shares: Shares) -> Self {
        Levelled { now: ArcSwap::from_pointee(shares), epoch: AtomicU64::new(0) }
    }

    /// Takes effect with the next request on every core.
    pub fn set(&self, shares: Shares) {
        self.now.store(Arc::new(shares));
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// The shares now.
    pub fn load(&self) -> Arc<Shares> {
        self.now.load_full()
    }
}

/// Why no backend takes a request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPlace {
    /// `ramp`, `backend_limit` or `no_backend`.
    pub reason: Reason,
    /// A place may come free while one waits.
    pub may_wait: bool,
}

/// One core's view of a cluster: the same backends, and this core's connections to them.
#[derive(Debug)]
pub struct CoreCluster {
    shared: Arc<Cluster>,
    pools: Vec<Rc<Pool>>,
    rng: RefCell<fastrand::Rng>,
    /// The shares as this core last saw them, and the epoch of that look.
    shares: RefCell<Arc<Shares>>,
    epoch: Cell<u64>,
    clock: Rc<Clock>,
    core: CoreId,
}

/// A place at one backend: in flight there as long as it is held.
#[derive(Debug)]
pub struct Place {
    cluster: Rc<CoreCluster>,
    index: usize,
}

impl Counted for Place {
    fn counter(&self) -> &Counter {
        &self.backend().in_flight
    }
}

impl Place {
    /// The backend.
    pub fn backend(&self) -> &Backend {
        &self.cluster.shared.backends[self.index]
    }

    fn pool(&self) -> &Rc<Pool> {
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
        Rc::new(CoreCluster { shared, pools, rng: RefCell::default(), shares, epoch, clock, core })
    }

    /// What ramps leave now. One atomic load, unless an operator has just moved a lever.
    pub fn shares(&self) -> Ref<'_, Arc<Shares>> {
        let epoch = self.shared.shares.epoch.load(Ordering::Acquire);
        if epoch != self.epoch.get() {
            self.epoch.set(epoch);
            *self.shares.borrow_mut() = self.shared.shares.load();
        }
        self.shares.borrow()
    }

    /// Takes a place at the better of two backends, other than `not`.
    ///
    /// # Errors
    /// Why there is none. `ramp`, when there would be one without a ramp.
    pub fn reserve(self: &Rc<Self>, not: Option<usize>) -> Result<Permit<Place>, NoPlace> {
        let shares = self.shares();
        // Ramps count in real time; response times are compared by the tick's.
        let now = self.clock.nanos(if shares.are_bound() { Instant::now() } else { self.clock.coarse() });
        let mut ramp_is_full = false;
        loop {
            let load = |index: usize| self.look(&shares, index, now, ramp_is_full);
            let picked = picker::pick(&mut self.rng.borrow_mut(), self.shared.backends.len(), load, not);
            let Picked::Backend(index) = picked else { return Err(self.no_place(picked, &shares)) };
            let share = &shares.of[index];
            // Another core may have taken the last place since the look; then the look is repeated.
            let Some(place) = Permit::try_new(Place { cluster: self.clone(), index }, share.cap) else {
                continue;
            };
            let Some(ramped) = share.ramped else { return Ok(place) };
            ramp_is_full = self.ramped_in_flight(&shares) > self.ramped_bound(&shares);
            if !ramp_is_full && self.may_begin(index, ramped, now) {
                return Ok(place);
            }
        }
    }

    fn look(&self, shares: &Shares, index: usize, now: u64, ramp_is_full: bool) -> Load {
        let backend = &self.shared.backends[index];
        let share = &shares.of[index];
        let held = share.ramped.is_some_and(|ramped| {
            let slow = ramped.interval_ns.is_some_and(|interval| !backend.rate.has_room(now, interval));
            ramp_is_full || slow
        });
        Load {
            inflight: if held { u32::MAX } else { backend.in_flight.get() },
            cap: share.cap,
            weight: share.weight,
            ewma_ns: backend.latency.get(now),
            eligible: share.cap > 0 && backend.is_present(),
        }
    }

    /// In flight at all ramped backends, this request included. Whoever has taken a place counts itself first and
    /// looks afterwards, in one order for all cores: so of those that race for the last place at most one stays,
    /// and the sum is never above its bound, whatever was set, cleared or swapped meanwhile. (Two may both step
    /// back; near its bound a ramp sheds anyway.)
    fn ramped_in_flight(&self, shares: &Shares) -> u32 {
        let each = self.shared.backends.iter().zip(&shares.of).filter(|(_, share)| share.ramped.is_some());
        each.map(|(backend, _)| backend.in_flight.get()).fold(0, u32::saturating_add)
    }

    /// What they may hold together: those that can be reached, for the dead leave their share to nobody.
    fn ramped_bound(&self, shares: &Shares) -> u32 {
        let each = self.shared.backends.iter().zip(&shares.of).filter(|(backend, _)| backend.is_present());
        whole(each.filter_map(|(_, share)| share.ramped).map(|ramped| ramped.quota_micro))
    }

    fn may_begin(&self, index: usize, ramped: Ramped, now: u64) -> bool {
        ramped.interval_ns.is_none_or(|interval| self.shared.backends[index].rate.take(now, interval))
    }

    /// What stopped the request: a ramp only if a backend has room that the ramp denies. It may wait while a
    /// backend that is not ramped can come free; a ramp itself sheds at once.
    fn no_place(&self, picked: Picked, shares: &Shares) -> NoPlace {
        let present = || self.shared.backends.iter().zip(&shares.of).filter(|(it, _)| it.is_present());
        if picked == Picked::NoneEligible {
            let drained = present().any(|(_, share)| share.cap == 0);
            return NoPlace {
                reason: if drained { Reason::Ramp } else { Reason::NoBackend },
                may_wait: false,
            };
        }
        let mut open = present().filter(|(_, share)| share.cap > 0);
        let denied = shares.are_bound() && open.any(|(backend, _)| backend.in_flight.get() < backend.cap);
        let reason = if denied { Reason::Ramp } else { Reason::BackendLimit };
        NoPlace { reason, may_wait: !denied || self.has_warm(shares) }
    }

    /// A backend that is neither ramped nor drained, and can be reached.
    fn has_warm(&self, shares: &Shares) -> bool {
        let mut each = self.shared.backends.iter().zip(&shares.of);
        each.any(|(backend, share)| share.cap > 0 && share.ramped.is_none() && backend.is_present())
    }

    /// Waiting may help while the ramp binds the upstream.
    pub fn may_wait_for_ramp(&self) -> bool {
        self.has_warm(&self.shares())
    }
}

/// Sends the request to the backend where it is seated; to another one if it was provably not sent, as often
/// as the upstream allows. Records every outcome.
///
/// # Errors
/// The last try's failure.
pub async fn send<G: Seated>(
    exchanges: &Rc<Exchanges<G>>,
    progress: &Rc<Progress>,
    mut request: Request<RequestBody>,
    mut guard: G,
    deadline: Deadline,
) -> Result<Sent<G>, Reject> {
    let mut retries = 0;
    let mut freshness = Freshness::Any;
    loop {
        let cluster = guard.place().cluster.clone();
        let (index, pool) = (guard.place().index, guard.place().pool().clone());
        let latency = cluster.shared.backends[index].latency.clone();
        let metrics = cluster.shared.backends[index].metrics.clone();
        let began = Instant::now();
        let attempt =
            attempt(&pool, exchanges, progress.clone(), request, &cluster.shared.host, freshness, guard);
        // Dropping the attempt ends its exchange: the backend's slot stays taken by a zombie for a while.
        let result =
            timeout_at(deadline.at.into(), attempt).await.unwrap_or_else(|_| Err(Failure::Sent(late())));
        let failure = match result {
            Ok((response, exchange)) => {
                let ended = Instant::now();
                let rtt = u64::try_from((ended - began).as_nanos()).unwrap_or(u64::MAX);
                latency.record(cluster.clock.nanos(ended), rtt);
                metrics.answered(cluster.core, !response.status().is_server_error());
                if retries > 0 {
                    cluster.shared.metrics.retry(cluster.core, RetryOutcome::Succeeded);
                }
                return Ok(Sent { response, exchange, cluster, index, began, ended, retries });
            }
            Err(failure) => failure,
        };
        let (rejected, unsent) = match failure {
            Failure::Sent(reject) => (reject, None),
            Failure::Unsent(unsent) => (unsent.reject, Some((unsent.request, unsent.guard))),
        };
        if blames_backend(rejected.reason, deadline) {
            latency.failure(cluster.clock.nanos(Instant::now()));
            metrics.answered(cluster.core, false);
        }
        if retries > 0 {
            cluster.shared.metrics.retry(cluster.core, RetryOutcome::Failed);
        }
        let Some((again, mut seat)) = unsent else { return Err(rejected) };
        let more = retries < cluster.shared.max_retries;
        let other = if more { cluster.another(index, rejected.reason) } else { None };
        let Some(place) = other else {
            if retries == 0 {
                cluster.shared.metrics.retry(cluster.core, RetryOutcome::Refused);
            }
            return Err(rejected);
        };
        retries += 1;
        seat.move_to(place);
        // Only where one idle connection was dead, the others are suspect too.
        freshness = if seat.place().index == index { Freshness::New } else { Freshness::Any };
        (request, guard) = (again, seat);
    }
}

impl CoreCluster {
    /// Another backend. The same one again only if it is alone and a connection to it had died while idle: one
    /// that cannot be connected to is not asked twice.
    fn another(self: &Rc<Self>, not: usize, why: Reason) -> Option<Permit<Place>> {
        let again = self.shared.backends.len() == 1 && why == Reason::Reset;
        self.reserve((!again).then_some(not)).ok()
    }
}

/// An answer that began to arrive.
pub struct Sent<G: Guard> {
    /// Its head and the rest of it.
    pub response: Response<Incoming>,
    /// What goes on.
    pub exchange: Exchange<G>,
    cluster: Rc<CoreCluster>,
    index: usize,
    /// When it was sent.
    pub began: Instant,
    /// When its head arrived.
    pub ended: Instant,
    /// How many tries came before.
    pub retries: u32,
}

impl<G: Guard> Sent<G> {
    /// The backend that answered.
    pub fn backend(&self) -> &Backend {
        &self.cluster.shared.backends[self.index]
    }
}

fn late() -> Reject {
    Reject::new(Reason::Timeout, "the backend did not answer in time")
}

/// The gateway's own refusals and the client's failures never count against a backend (promise 3).
fn blames_backend(reason: Reason, deadline: Deadline) -> bool {
    match reason {
        Reason::ConnectFailed | Reason::Reset | Reason::BadResponse => true,
        Reason::Timeout => !deadline.by_client,
        _ => false,
    }
}
