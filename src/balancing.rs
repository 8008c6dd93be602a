//! Which backend takes a request, and a second one when the first provably never got it.
//!
//! A place at a backend is taken together with the upstream's permit, before anything is sent: a request that
//! is only connecting counts as in flight. Nothing here waits, and nothing here knows classes or queues.

pub mod ewma;
pub mod picker;
pub mod settings;

use crate::balancing::ewma::PeakEwma;
use crate::balancing::picker::{Load, Picked};
use crate::balancing::settings::BackendSettings;
use crate::permit::{Counted, Counter, Permit};
use crate::reject::{Reason, Reject};
use crate::request::Deadline;
use crate::runtime::clock::Clock;
use crate::telemetry::cells::CoreId;
use crate::telemetry::metrics::{RetryOutcome, UpstreamMetrics};
use crate::upstream::exchange::{Exchange, Exchanges, Guard};
use crate::upstream::pool::Pool;
use crate::upstream::progress::Progress;
use crate::upstream::request_body::RequestBody;
use crate::upstream::settings::HostPolicy;
use crate::upstream::{Endpoint, Failure, Freshness, attempt};
use http::{Request, Response};
use hyper::body::Incoming;
use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::timeout_at;

/// One backend as a version of the configuration sees it.
#[derive(Debug)]
pub struct Backend {
    /// Name, address and weight.
    pub settings: BackendSettings,
    /// In flight at most.
    pub cap: u32,
    /// Streams at most: tunnels, and requests of routes with `streaming`.
    pub max_streams: u32,
    /// In flight; lives as long as the name.
    pub in_flight: Arc<Counter>,
    /// Streams; likewise.
    pub streams: Arc<Counter>,
    /// Time to the answer's head; lives as long as the identity.
    pub latency: Arc<PeakEwma>,
    /// Where it is and how it is spoken to; lives as long as the identity.
    pub endpoint: Arc<Endpoint>,
}

/// Which of a backend's two bounds a place counts towards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Requests: inside the gate.
    Requests,
    /// Tunnels and long answers: outside it, so that thousands of quiet ones do not take the room of requests.
    Streams,
}

impl Backend {
    /// How many there are now, and may be, within a bound.
    fn held(&self, bound: Bound) -> (&Counter, u32) {
        match bound {
            Bound::Requests => (&self.in_flight, self.cap),
            Bound::Streams => (&self.streams, self.max_streams),
        }
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
    /// Second tries of what was not sent.
    pub max_retries: u32,
    /// What backends see as `Host`.
    pub host: HostPolicy,
    /// Where it counts.
    pub metrics: Arc<UpstreamMetrics>,
}

/// One core's view of a cluster: the same backends, and this core's connections to them.
#[derive(Debug)]
pub struct CoreCluster {
    shared: Arc<Cluster>,
    pools: Vec<Rc<Pool>>,
    rng: RefCell<fastrand::Rng>,
    clock: Rc<Clock>,
    core: CoreId,
}

/// A place at one backend: in flight there, or a stream, as long as it is held.
#[derive(Debug)]
pub struct Place {
    cluster: Rc<CoreCluster>,
    index: usize,
    bound: Bound,
}

impl Counted for Place {
    fn counter(&self) -> &Counter {
        self.backend().held(self.bound).0
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
        let most = place.backend().held(bound).1;
        Permit::try_new(Place { cluster: place.cluster.clone(), index: place.index, bound }, most)
    }

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
        Rc::new(CoreCluster { shared, pools, rng: RefCell::default(), clock, core })
    }

    /// Streams that all backends together may hold.
    pub fn most_streams(&self) -> u32 {
        self.shared.backends.iter().fold(0, |sum: u32, backend| sum.saturating_add(backend.max_streams))
    }

    /// Takes a place within `bound` at the better of two backends, other than `not`.
    ///
    /// # Errors
    /// `backend_limit` when every backend is at its cap, so that waiting may help; `no_backend` when there is
    /// none to try.
    pub fn reserve(self: &Rc<Self>, bound: Bound, not: Option<usize>) -> Result<Permit<Place>, Reason> {
        let now = self.clock.nanos(self.clock.coarse());
        let load = |index: usize| {
            let backend = &self.shared.backends[index];
            let (held, cap) = backend.held(bound);
            Load {
                inflight: held.get(),
                cap,
                weight: backend.settings.weight.get(),
                ewma_ns: backend.latency.get(now),
                eligible: backend.is_present(),
            }
        };
        loop {
            let picked = picker::pick(&mut self.rng.borrow_mut(), self.shared.backends.len(), load, not);
            match picked {
                Picked::AllFull => return Err(Reason::BackendLimit),
                Picked::NoneEligible => return Err(Reason::NoBackend),
                Picked::Backend(index) => {
                    let cap = self.shared.backends[index].held(bound).1;
                    // Another core may have taken the last place since the look; then the look is repeated.
                    if let Some(place) = Permit::try_new(Place { cluster: self.clone(), index, bound }, cap) {
                        return Ok(place);
                    }
                }
            }
        }
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
        let Place { index, bound, .. } = *guard.place();
        let pool = guard.place().pool().clone();
        let latency = cluster.shared.backends[index].latency.clone();
        let began = Instant::now();
        let result = {
            let tried =
                attempt(&pool, exchanges, progress.clone(), request, &cluster.shared.host, freshness, guard);
            in_time(pin!(tried), progress, deadline).await
        };
        let failure = match result {
            Ok((response, exchange)) => {
                let ended = Instant::now();
                let rtt = u64::try_from((ended - began).as_nanos()).unwrap_or(u64::MAX);
                // How long a stream's head takes says little about how busy a backend is.
                if bound == Bound::Requests {
                    latency.record(cluster.clock.nanos(ended), rtt);
                }
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
        }
        if retries > 0 {
            cluster.shared.metrics.retry(cluster.core, RetryOutcome::Failed);
        }
        let Some((again, mut seat)) = unsent else { return Err(rejected) };
        let more = retries < cluster.shared.max_retries;
        let other = if more { cluster.another(bound, index, rejected.reason) } else { None };
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
    fn another(self: &Rc<Self>, bound: Bound, not: usize, why: Reason) -> Option<Permit<Place>> {
        let again = self.shared.backends.len() == 1 && why == Reason::Reset;
        self.reserve(bound, (!again).then_some(not)).ok()
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

/// One try, until the deadline. Dropping it then ends its exchange: the backend's slot stays taken by a zombie
/// for a while, which must know that it is the deadline's and not the client's.
async fn in_time<G: Guard, T>(
    mut tried: Pin<&mut impl Future<Output = Result<T, Failure<G>>>>,
    progress: &Progress,
    deadline: Deadline,
) -> Result<T, Failure<G>> {
    match timeout_at(deadline.at.into(), tried.as_mut()).await {
        Ok(result) => result,
        Err(_) => {
            progress.end(Reason::Timeout);
            Err(Failure::Sent(late()))
        }
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
