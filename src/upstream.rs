//! The garden gate: exactly one try at one backend.
//!
//! [`attempt`] sends one request over a pooled or a new connection and returns the answer's head; the answer's
//! body then drives the rest of the exchange. An HTTP/1.1 connection is driven by the request that uses it:
//! no second task, no channel between cores. What was provably not sent comes back, and so does what may be sent
//! again without harm, so that balancing may send it elsewhere; nothing here tries twice.

pub mod answer;
pub mod call;
pub mod certificate;
pub mod connect;
pub mod connection;
pub mod discovery;
pub mod download;
pub mod exchange;
mod gathered;
pub mod head;
pub mod janitor;
mod kept;
pub mod onward;
pub mod outbox;
pub mod passage;
pub mod pem;
pub mod pool;
pub mod progress;
pub mod rate;
pub mod request_body;
pub mod settings;
mod stir;
pub mod tls;
pub mod trailers;
pub mod transport;
pub mod tunnel;
pub mod vitals;
pub mod zombie;

use crate::reject::{Reason, Reject};
use crate::runtime::descriptors::Descriptors;
use crate::telemetry::metrics::BackendMetrics;
use crate::upstream::connection::H2;
use crate::upstream::discovery::AddressSet;
use crate::upstream::exchange::{Exchange, Exchanges, Guard};
use crate::upstream::kept::Kept;
use crate::upstream::pool::{Pool, Ready};
use crate::upstream::progress::Progress;
use crate::upstream::request_body::RequestBody;
use crate::upstream::settings::{Address, HostPolicy, Protocol};
use crate::upstream::vitals::Vitals;
use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use rustls_pki_types::ServerName;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// What may change without a new connection.
#[derive(Clone, Debug)]
pub struct Waits {
    /// From the wish to connect to an established connection.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub keepalive_idle: Duration,
    /// Where dials count: under the name that the backend has now.
    pub metrics: Arc<BackendMetrics>,
}

/// Where one backend is and how it is spoken to; shared by all cores. It is its identity: another address,
/// protocol, trust or client certificate is another endpoint, with connections of its own.
#[derive(Debug)]
pub struct Endpoint {
    /// As configured.
    pub address: Address,
    /// The protocol spoken to it.
    pub protocol: Protocol,
    /// How long to wait for it; follows the active version, since no connection depends on it.
    pub waits: ArcSwap<Waits>,
    /// What its name resolves to now.
    pub addresses: Arc<AddressSet>,
    /// The next address in turn.
    pub turn: AtomicU32,
    /// Bound on connections being established.
    pub connects: ArcSwap<Semaphore>,
    /// How many that bound is.
    pub connects_allowed: AtomicU32,
    /// TLS, if it speaks that.
    pub tls: Option<BackendTls>,
    /// The process's budget of file descriptors.
    pub descriptors: Arc<Descriptors>,
    /// What cores notice of it.
    pub vitals: Arc<Vitals>,
}

impl Endpoint {
    /// Takes over what a new version says of it without being another endpoint.
    pub fn follow(&self, waits: Waits, connects: u32) {
        self.waits.store(Arc::new(waits));
        // A new bound begins anew: dials in progress end under the old one, and nothing can drift.
        if self.connects_allowed.swap(connects, Ordering::Relaxed) != connects {
            self.connects.store(Arc::new(Semaphore::new(connects as usize)));
        }
    }

    /// The address whose turn it is, if there is one.
    pub fn socket_address(&self, turn: usize) -> Option<SocketAddr> {
        let addresses = self.addresses.load();
        addresses.list.get(turn % addresses.list.len().max(1)).copied()
    }
}

/// TLS towards one backend.
#[derive(Clone, Debug)]
pub struct BackendTls {
    /// Trust, client certificate, protocols.
    pub config: Arc<rustls::ClientConfig>,
    /// The name that is verified and sent.
    pub server_name: ServerName<'static>,
}

/// Which connection may carry a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// One that was used before, if there is one.
    Any,
    /// A new one, because the last try was not sent: one that was idle may have proved dead.
    New,
}

/// How far a request came that brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Provably not the backend: nothing was sent, or it says that it did not look at it.
    Nothing,
    /// A kept connection that the backend had closed while nobody used it.
    Closed,
    /// The backend, perhaps; but the method is idempotent and there is no body (RFC 9110, 9.2.2).
    Perhaps,
}

/// A request that can be sent again.
pub struct Returned<G: Guard> {
    /// The request as it was.
    pub request: Box<Request<RequestBody>>,
    /// Its permits.
    pub guard: G,
    /// What went wrong.
    pub reject: Reject,
    /// How far it came.
    pub reached: Reached,
}

/// A try that brought no answer.
pub enum Failure<G: Guard> {
    /// It can be sent again, and the permits are still held.
    Returned(Box<Returned<G>>),
    /// It may have been received, or even acted on, or nobody waits for it any more.
    Sent(Reject),
}

/// A backend that closes a quiet connection says so one round trip after the request that crosses it; what ends later
/// than this was at work.
const CROSSES: Duration = Duration::from_millis(250);

/// Sends `request` once, at `now`. The caller has the deadline: dropping the future ends the exchange as a zombie.
///
/// # Errors
/// See [`Failure`].
pub async fn attempt<G: Guard>(
    pool: &Rc<Pool>,
    exchanges: &Rc<Exchanges<G>>,
    progress: Rc<Progress>,
    (mut request, now): (Box<Request<RequestBody>>, Instant),
    host: &HostPolicy,
    freshness: Freshness,
    guard: G,
) -> Result<(Response<Incoming>, Exchange<G>), Failure<G>> {
    let mut ready = match pool.at_once(freshness) {
        Some(ready) => ready,
        // Boxed: all requests would carry the room that a few need.
        None => match Box::pin(pool.connection()).await {
            Ok(ready) => ready,
            Err(reject) => {
                let reached = Reached::Nothing;
                return Err(Failure::Returned(Box::new(Returned { request, guard, reject, reached })));
            }
        },
    };
    let way = Way {
        http1: matches!(ready, Ready::H1(_)),
        reused: matches!(&ready, Ready::H1(connection) if connection.reused),
        idempotent: request.method().is_idempotent(),
    };
    // Over HTTP/2 a backend may say of any request that it did not look at it.
    let again = (way.idempotent || !way.http1) && request.body().is_empty();
    let kept = again.then(|| Kept::of(&request, exchanges.buffers()));
    let answer = match &mut ready {
        Ready::H1(connection) => {
            head::for_h1(&mut request, pool.endpoint(), host);
            Answer::H1(connection.sender.try_send_request(*request))
        }
        Ready::H2(H2 { sender, .. }) => {
            head::for_h2(&mut request, pool.endpoint(), host);
            Answer::H2(sender.try_send_request(*request))
        }
    };
    let exchange = Exchange::begin(exchanges, progress, ready.into_connection(pool), guard);
    let result = match answer {
        Answer::H1(answer) => drive(&exchange, pin!(answer), true).await,
        Answer::H2(answer) => drive(&exchange, pin!(answer), false).await,
    };
    match result {
        Ok(response) => Ok((response, exchange)),
        Err(Broken::Ended(reason)) => Err(Failure::Sent(Reject::new(reason, "the exchange was ended"))),
        Err(Broken::Engine(error)) => {
            let failure = failure(&exchange, *error, kept, (way, now));
            if failure.is_lost() {
                pool.endpoint().vitals.lost(!failure.was_closed());
            }
            Err(failure)
        }
    }
}

enum Answer<A, B> {
    H1(A),
    H2(B),
}

enum Broken {
    /// The core's tick, or the request's body, ended it.
    Ended(Reason),
    /// The engine did.
    Engine(Box<TrySendError<Request<RequestBody>>>),
}

/// Drives the connection until the answer's head is there. With `inline` only that brings the answer, so nobody
/// need be woken for it: the request would wake itself.
async fn drive<G, F>(
    exchange: &Exchange<G>,
    mut answer: Pin<&mut F>,
    inline: bool,
) -> Result<Response<Incoming>, Broken>
where
    G: Guard,
    F: Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>>,
{
    poll_fn(|cx: &mut Context<'_>| {
        let over = exchange.poll_connection(cx).is_ready();
        // A reason written down by the body or the tick says more than the engine's error that follows it.
        if let Some(reason) = exchange.progress().cause() {
            return Poll::Ready(Err(Broken::Ended(reason)));
        }
        let waker = if inline { Waker::noop() } else { cx.waker() };
        if let Poll::Ready(result) = answer.as_mut().poll(&mut Context::from_waker(waker)) {
            return Poll::Ready(result.map_err(|error| Broken::Engine(Box::new(error))));
        }
        if over {
            // The engine gives an unsent request back only when its connection is dropped.
            exchange.drop_connection();
            return answer.as_mut().poll(cx).map_err(|error| Broken::Engine(Box::new(error)));
        }
        exchange.progress().remember(cx);
        Poll::Pending
    })
    .await
}

/// How a request was sent.
#[derive(Clone, Copy)]
struct Way {
    http1: bool,
    /// Over a connection of HTTP/1.1 that had been idle.
    reused: bool,
    idempotent: bool,
}

impl Way {
    /// How far a request came whose connection ended with `error`, `after` it was sent; nothing if it must not be
    /// sent again.
    fn reached(self, error: &hyper::Error, after: Duration) -> Option<Reached> {
        let source = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
        // It refused the stream before it looked at it (RFC 9113, 8.7).
        if source.is_some_and(|error| error.reason() == Some(h2::Reason::REFUSED_STREAM)) {
            return Some(Reached::Nothing);
        }
        // A connection that answered with garbage was alive.
        let closed = self.http1 && self.reused && !error.is_parse() && after < CROSSES;
        self.idempotent.then_some(if closed { Reached::Closed } else { Reached::Perhaps })
    }
}

impl<G: Guard> Failure<G> {
    /// The connection ended under it.
    fn is_lost(&self) -> bool {
        let reject = match self {
            Failure::Returned(returned) => &returned.reject,
            Failure::Sent(reject) => reject,
        };
        reject.reason == Reason::Reset
    }

    /// It ended before anybody was asked.
    fn was_closed(&self) -> bool {
        matches!(self, Failure::Returned(returned) if returned.reached == Reached::Closed)
    }
}

fn failure<G: Guard>(
    exchange: &Exchange<G>,
    mut error: TrySendError<Request<RequestBody>>,
    kept: Option<Kept>,
    (way, sent): (Way, Instant),
) -> Failure<G> {
    let guard = exchange.take().map(|(_, guard)| guard);
    let message = error.take_message();
    let error = error.into_error();
    let reject = if error.is_parse() {
        Reject::new(Reason::BadResponse, "the backend's answer is not HTTP")
    } else {
        Reject::new(Reason::Reset, "the backend closed the connection before it answered")
    };
    let again = match message {
        // The engine had not begun with it when the connection ended.
        Some(request) => Some((request, Reached::Closed)),
        None => {
            let reached = way.reached(&error, sent.elapsed());
            kept.and_then(|kept| Some((reached?, kept.restore()?)))
                .map(|(reached, request)| (request, reached))
        }
    };
    match (again, guard) {
        (Some((request, reached)), Some(guard)) => {
            Failure::Returned(Box::new(Returned { request: Box::new(request), guard, reject, reached }))
        }
        _ => Failure::Sent(reject),
    }
}
