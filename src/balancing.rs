//! Which backend takes a request, and which a second try when the first brought nothing.
//!
//! A place at a backend is taken together with the upstream's permit, before anything is sent: a request that
//! is only connecting counts as in flight. What each backend may hold is levelled from outside while it serves, by
//! ramps and drains. Nothing here waits for room, and nothing here knows classes or queues.

mod again;
pub mod budget;
pub mod ewma;
pub mod health;
pub mod outlier;
pub mod picker;
pub mod places;
pub mod presence;
pub mod rate;
pub mod settings;
pub mod shares;
pub mod verdict;

use crate::balancing::again::Tries;
use crate::balancing::budget::Budget;
use crate::balancing::ewma::PeakEwma;
use crate::balancing::rate::Rate;
use crate::balancing::settings::{BackendSettings, Settings};
use crate::balancing::shares::{Presence, Shares, Standing};
use crate::permit::{Counter, Part};
use crate::reject::{Reason, Reject};
use crate::request::Deadline;
use crate::telemetry::metrics::{BackendMetrics, UpstreamMetrics};
use crate::upstream::discovery::AddressSet;
use crate::upstream::exchange::{Exchange, Exchanges, Guard};
use crate::upstream::onward::Onward;
use crate::upstream::progress::Progress;
use crate::upstream::request_body::RequestBody;
use crate::upstream::settings::HostPolicy;
use crate::upstream::{Endpoint, Failure, attempt};
use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::body::Incoming;
use std::future::poll_fn;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Instant;
use tokio::task::unconstrained;
use tokio::time::{Sleep, sleep_until};

pub use places::{CoreCluster, NoPlace, Place, Seated};

/// One backend as a table sees it: an address. A name that resolves to ten of them is ten backends, each with caps,
/// averages and connections of its own; they have the name in common.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Name and address as configured; the weight is its own part of it.
    pub settings: BackendSettings,
    /// Where it is, as text: what is learned of it belongs to that, and not to its name.
    pub at: Arc<str>,
    /// In flight at most, as configured; a ramp may leave less of it.
    pub cap: u32,
    /// Streams at most: tunnels, and requests of routes with `streaming`.
    pub max_streams: u32,
    /// It is one of the addresses that a name resolved to.
    pub resolved: bool,
    /// When its address came to its name, if this process saw that and had not seen it lately.
    pub came: Option<Instant>,
    /// In flight; lives as long as the name, and its address where that has several.
    pub in_flight: Arc<Counter>,
    /// What it was sent lately; likewise.
    pub rate: Arc<Rate>,
    /// Where its outcomes count.
    pub metrics: Arc<BackendMetrics>,
    /// Streams; likewise.
    pub streams: Arc<Counter>,
    /// Time to the answer's head; lives as long as the identity.
    pub latency: Arc<PeakEwma>,
    /// Where it is and how it is spoken to; lives as long as the identity.
    pub endpoint: Arc<Endpoint>,
    /// Set where a candidate reaches it, beside the stable version.
    pub guest: Option<Guest>,
}

/// What a candidate may hold of a backend whose name the stable version has too, and whether it is the very same.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Of its requests.
    pub requests: Part,
    /// Of its streams.
    pub streams: Part,
    /// The stable version reaches the same address in the same way, and still asks it.
    pub is_lent: bool,
}

impl Guest {
    /// The part of a bound.
    fn part(&self, bound: Bound) -> &Part {
        match bound {
            Bound::Requests => &self.requests,
            Bound::Streams => &self.streams,
        }
    }
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
    /// How it stands without a ramp.
    pub fn warm(&self) -> Standing {
        let (cap, weight) = (self.cap, self.settings.weight.get());
        let presence = Presence::In;
        Standing {
            percent: 100.0,
            reference: f64::from(cap),
            settled: true,
            rate: None,
            cap,
            weight,
            presence,
            away: None,
        }
    }

    /// How many there are now within a bound.
    fn held(&self, bound: Bound) -> &Counter {
        match bound {
            Bound::Requests => &self.in_flight,
            Bound::Streams => &self.streams,
        }
    }

    /// It has an address, so it can be tried.
    pub fn is_present(&self) -> bool {
        self.endpoint.addresses.is_known()
    }
}

/// One backend as it is configured: what operators, metrics and levers mean by its name.
#[derive(Clone, Debug)]
pub struct Group {
    /// Name, address and weight.
    pub settings: BackendSettings,
    /// What its name resolves to, unless its address is a literal. Whoever holds it keeps it resolved.
    pub names: Option<Arc<AddressSet>>,
    /// The version of these addresses that the table was built of.
    pub version: u64,
    /// Its backends among those of the cluster: one for each address; one that is absent while there is none.
    pub members: Range<usize>,
}

/// The backends of one upstream.
#[derive(Debug)]
pub struct Cluster {
    /// The backends, those of a name together.
    pub backends: Vec<Backend>,
    /// The same as they are configured, in the order of the file.
    pub groups: Vec<Group>,
    /// What ramps leave to each of them.
    pub shares: Levelled,
    /// How backends of it are treated that fail, are sick, or come back; and second tries.
    pub settings: Arc<Settings>,
    /// What second tries it can afford; lives as long as the name.
    pub budget: Arc<Budget>,
    /// What backends see as `Host`.
    pub host: HostPolicy,
    /// Where it counts.
    pub metrics: Arc<UpstreamMetrics>,
}

impl Cluster {
    /// In flight at all backends, zombies included.
    fn in_flight(&self) -> u32 {
        self.backends.iter().map(|backend| backend.in_flight.get()).fold(0, u32::saturating_add)
    }

    /// Its backends are what their names resolve to now.
    pub fn is_current(&self) -> bool {
        let current =
            |group: &Group| group.names.as_ref().is_none_or(|names| names.load().version == group.version);
        self.groups.iter().all(current)
    }
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

/// Sends the request to the backend where it is seated, until `deadline`; again where that is safe and can be
/// afforded (`balancing::again`). Every try is told what is left, by `onward`. Records every outcome.
///
/// # Errors
/// The last try's failure; 504 when the deadline is over before the first.
pub async fn send<G: Seated>(
    exchanges: &Rc<Exchanges<G>>,
    progress: &Rc<Progress>,
    mut request: Box<Request<RequestBody>>,
    mut guard: G,
    (deadline, onward): (Deadline, Onward),
) -> Result<Sent<G>, Reject> {
    let mut tries = Tries::new(onward.attempt);
    loop {
        let cluster = guard.place().cluster.clone();
        let index = guard.place().index;
        let bound = guard.place().bound;
        let pool = guard.place().pool().clone();
        let began = Instant::now();
        if began >= deadline.at {
            return Err(Reject::new(
                Reason::Timeout,
                "the request's deadline was over before it could be sent",
            ));
        }
        onward.tell(request.headers_mut(), began, tries.retries());
        let result = {
            let (host, freshness) = (&cluster.shared.host, tries.freshness());
            let tried = attempt(&pool, exchanges, progress.clone(), (request, began), host, freshness, guard);
            // Whoever brings a short deadline leaves as much behind as whoever goes; a proxy speaks for many.
            let ends = if deadline.by_client && onward.answer_by.is_none() {
                Reason::ClientGone
            } else {
                Reason::Timeout
            };
            in_time(pin!(tried), progress, (deadline.at, ends)).await
        };
        let failure = match result {
            Ok((response, exchange)) => {
                let ended = Instant::now();
                cluster.answered((index, bound), &response, (began, ended));
                tries.answered(&cluster);
                return Ok(Sent {
                    response,
                    exchange,
                    cluster,
                    index,
                    began,
                    ended,
                    retries: tries.retries(),
                });
            }
            Err(failure) => failure,
        };
        let returned = match failure {
            Failure::Sent(reject) => {
                cluster.failed((index, bound), reject.reason, (began, deadline), progress);
                tries.failed(&cluster);
                return Err(reject);
            }
            Failure::Returned(returned) => returned,
        };
        // Whoever closed a quiet connection is not to blame for that.
        if !tries.may_replace(returned.reached) {
            cluster.failed((index, bound), returned.reject.reason, (began, deadline), progress);
            tries.failed(&cluster);
        }
        // Boxed: all requests would carry the room that a few need.
        (request, guard) = Box::pin(tries.again(*returned, deadline)).await?;
        if let Some(reason) = progress.cause() {
            // Whoever left while it waited asks for nothing any more.
            return Err(Reject::new(reason, "the exchange was ended"));
        }
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
/// for a while, which must know by whose doing: `ends` is written down for it.
async fn in_time<G: Guard, T>(
    mut tried: Pin<&mut impl Future<Output = Result<T, Failure<G>>>>,
    progress: &Progress,
    (until, ends): (Instant, Reason),
) -> Result<T, Failure<G>> {
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if let Poll::Ready(result) = tried.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        if timer.is_none() && progress.needs_timer(until, cx) {
            timer = Some(Box::pin(sleep_until(until.into())));
        }
        // A backend that floods us, with interim answers for example, uses up all that a task may do in its turn, and
        // timers are part of that: this one must be heard all the same.
        let is_over = |timer: &mut Pin<Box<Sleep>>| pin!(unconstrained(timer.as_mut())).poll(cx).is_ready();
        let late = timer.as_mut().is_some_and(is_over);
        if !late {
            return Poll::Pending;
        }
        progress.end(ends);
        Poll::Ready(Err(Failure::Sent(Reject::new(Reason::Timeout, "the backend did not answer in time"))))
    })
    .await
}

/// The gateway's own refusals and the client's failures never count against a backend (promise 3).
fn blames_backend(reason: Reason, deadline: Deadline, progress: &Progress) -> bool {
    match reason {
        Reason::ConnectFailed | Reason::Reset | Reason::BadResponse => true,
        // Nor does the route's deadline while the client keeps its body back: it could have any backend left out.
        Reason::Timeout => !deadline.by_client && !progress.waits_for_body(),
        _ => false,
    }
}
