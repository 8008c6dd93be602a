//! The status page: what everyone may know, on an address and a thread of its own.
//!
//! It promises to stay up while the edge is saturated and while the configuration changes: no core serves it, the page
//! is made once a second whoever asks, a new address is bound before the old one is left, and one that cannot be bound
//! costs neither a start nor a change. Its readers are strangers, so everything is bounded: connections in total and of
//! a source, requests of a source, heads, idle and slow readers, age. It knows no token, no admin path and no name of the
//! inside; what may be shown is decided in [`control::incidents::public`](crate::control::incidents::public).

mod answer;
mod html;
mod sources;

use super::connections::Patient;
use crate::control::Control;
use crate::control::view::StatusPageView;
use crate::filters::forwarded::TrustedProxies;
use answer::{Bodies, answer};
use arc_swap::ArcSwap;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use socket2::SockRef;
use sources::{Seat, Sources};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{MissedTickBehavior, sleep};

/// Connections at a time: a newcomer ends the oldest, which is idle, slow, or had its answer long ago.
const MAX_CONNECTIONS: u32 = 64;
/// From an accept or the end of an answer to the end of the next request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A write that makes no progress for this long ends the connection.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// After this a connection ends, whatever it is at.
const MAX_AGE: Duration = Duration::from_secs(60);
/// What the system may hold of an answer that its reader does not take, in bytes.
const SEND_BUFFER: usize = 64 * 1024;
/// How often the page is made, and the configuration looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// Between accepts that fail.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long whoever asks too often waits for the answer that says so.
const REFUSED_FOR: Duration = Duration::from_secs(1);
/// How often an address that could not be bound is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Why a reader was refused, or let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// Its source has enough connections.
    Source,
    /// It was the oldest when too many were open.
    Oldest,
    /// Its source asked too often.
    Rate,
}

impl Refused {
    const ALL: [Refused; 3] = [Refused::Source, Refused::Oldest, Refused::Rate];

    const fn as_str(self) -> &'static str {
        match self {
            Refused::Source => "source",
            Refused::Oldest => "oldest",
            Refused::Rate => "rate",
        }
    }
}

/// How the page does; shared with whoever shows that.
#[derive(Debug, Default)]
pub struct Standing {
    place: Mutex<Place>,
    connections: AtomicU32,
    answers: AtomicU64,
    refused: [AtomicU64; Refused::ALL.len()],
}

#[derive(Clone, Debug, Default)]
struct Place {
    is_wanted: bool,
    address: Option<SocketAddr>,
    trouble: Option<String>,
}

impl Standing {
    /// As operators see it; nothing where the active version has no page.
    pub fn view(&self) -> Option<StatusPageView> {
        let Place { is_wanted, address, trouble } = self.place();
        let refused = |why: Refused| (why.as_str().to_owned(), self.refused[why as usize].load(Relaxed));
        is_wanted.then(|| StatusPageView {
            address: address.map(|address| address.to_string()),
            trouble,
            connections: self.connections.load(Relaxed),
            max_connections: MAX_CONNECTIONS,
            answers: self.answers.load(Relaxed),
            refused: Refused::ALL.into_iter().map(refused).collect(),
        })
    }

    fn place(&self) -> Place {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    fn count(&self, why: Refused) {
        self.refused[why as usize].fetch_add(1, Relaxed);
    }
}

/// Follows the active version's `[status_page]` for as long as it is polled. For a thread of its own.
pub async fn keep(control: Arc<Control>, standing: Arc<Standing>) {
    let bodies = Arc::new(ArcSwap::from_pointee(Bodies::default()));
    let proxies = Arc::new(ArcSwap::from_pointee(TrustedProxies::default()));
    let mut porter = Porter { desk: Desk { bodies, proxies, standing }, door: None, failed: None };
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        match control.status_page() {
            Some(page) => {
                let overview = control.incidents().overview(&page, Instant::now(), Timestamp::now());
                porter.desk.bodies.store(Arc::new(Bodies::of(&overview)));
                porter.desk.proxies.store(Arc::new(control.trusted_proxies()));
                porter.stand_at(page.address).await;
            }
            None => porter.leave(),
        }
    }
}

/// What readers are answered from, and where that is counted.
#[derive(Clone)]
struct Desk {
    bodies: Arc<ArcSwap<Bodies>>,
    /// What they say of their clients is believed.
    proxies: Arc<ArcSwap<TrustedProxies>>,
    standing: Arc<Standing>,
}

/// Whoever moves the page from address to address.
struct Porter {
    desk: Desk,
    door: Option<Door>,
    /// The address that could not be bound, and when that was tried.
    failed: Option<(SocketAddr, Instant)>,
}

impl Porter {
    fn leave(&mut self) {
        (self.door, self.failed) = (None, None);
        self.desk.standing.set(Place::default());
    }

    /// Sees to it that the page is at `wanted`, if that can be.
    async fn stand_at(&mut self, wanted: SocketAddr) {
        let trouble = match &self.door {
            Some(door) if door.wanted == wanted => None,
            _ if self.failed.is_some_and(|(at, when)| at == wanted && when.elapsed() < AGAIN) => return,
            _ => self.move_to(wanted).await.err(),
        };
        let is_news = self.failed.is_none_or(|(at, _)| at != wanted);
        self.failed = trouble.is_some().then(|| (wanted, Instant::now()));
        let trouble = trouble.map(|error| format!("the status page cannot listen on {wanted}: {error}"));
        if let Some(trouble) = trouble.as_ref().filter(|_| is_news) {
            tracing::warn!("{trouble}; trying again");
        }
        let address = self.door.as_ref().map(|door| door.bound);
        self.desk.standing.set(Place { is_wanted: true, address, trouble });
    }

    /// Binds the new address before the old one is left, but where the old one is in its way: the same port of one
    /// address and of all.
    async fn move_to(&mut self, wanted: SocketAddr) -> io::Result<()> {
        let error = match Door::open(wanted, wanted, &self.desk).await {
            Ok(door) => {
                self.door = Some(door);
                return Ok(());
            }
            Err(error) => error,
        };
        let in_the_way = |door: &mut Door| door.bound.port() == wanted.port();
        let is_ours = error.kind() == io::ErrorKind::AddrInUse;
        let Some(before) = self.door.take_if(|door| is_ours && in_the_way(door)) else { return Err(error) };
        let (old, at) = (before.wanted, before.bound);
        before.close().await;
        match Door::open(wanted, wanted, &self.desk).await {
            Ok(door) => self.door = Some(door),
            Err(error) => {
                self.door = Door::open(old, at, &self.desk).await.ok();
                return Err(error);
            }
        }
        Ok(())
    }
}

/// An address that is bound, with whoever reads there. Dropping it ends both.
struct Door {
    /// As the file has it.
    wanted: SocketAddr,
    bound: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Door {
    async fn open(wanted: SocketAddr, at: SocketAddr, desk: &Desk) -> io::Result<Door> {
        let listener = TcpListener::bind(at).await?;
        let bound = listener.local_addr()?;
        tracing::info!(address = %bound, "the status page is open");
        Ok(Door { wanted, bound, accepting: tokio::task::spawn_local(accept(listener, desk.clone())) })
    }

    /// Ends it; when this returns the address is free.
    async fn close(mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, desk: Desk) {
    let (sources, mut open) = (Sources::default(), Open::default());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if super::connections::is_of_the_peer(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "the status page could not accept; pausing");
                // If descriptors have run out, this frees one.
                open.end_oldest();
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(seat) = sources.seat(peer.ip(), &desk.proxies.load()) else {
            desk.standing.count(Refused::Source);
            continue;
        };
        if open.is_full() {
            open.end_oldest();
            desk.standing.count(Refused::Oldest);
        }
        let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
        let _ = stream.set_nodelay(true);
        let reader = read((stream, peer.ip()), seat, desk.clone());
        open.0.push_back(tokio::task::spawn_local(reader).abort_handle());
    }
}

/// Those who read, the oldest first. Dropping it ends them.
#[derive(Default)]
struct Open(VecDeque<AbortHandle>);

impl Open {
    fn is_full(&mut self) -> bool {
        self.0.retain(|reader| !reader.is_finished());
        self.0.len() >= MAX_CONNECTIONS as usize
    }

    fn end_oldest(&mut self) {
        if let Some(oldest) = self.0.pop_front() {
            oldest.abort();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// One reader from the first head to the last byte.
async fn read((stream, peer): (TcpStream, IpAddr), seat: Seat, desk: Desk) {
    let Desk { bodies, proxies, standing } = desk;
    let _counted = Reading::begin(&standing);
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let client = proxies.load().client_ip(peer, request.headers());
        let too_many = !seat.may_ask(client, Instant::now());
        // On their own seat, or whoever asks faster than they may would keep the thread busy with refusals; not on one
        // where others wait behind them.
        let waits = too_many && !seat.is_shared();
        if too_many {
            standing.count(Refused::Rate);
        }
        standing.answers.fetch_add(1, Relaxed);
        let response = answer(&request, &bodies.load(), too_many);
        async move {
            if waits {
                tokio::time::sleep(REFUSED_FOR).await;
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(Patient::new(stream, STALL_TIMEOUT)), service);
    // How a reader leaves is of no interest.
    let _ = tokio::time::timeout(MAX_AGE, pin!(connection)).await;
}

/// Counts a reader until dropped.
struct Reading<'a>(&'a Standing);

impl<'a> Reading<'a> {
    fn begin(standing: &'a Standing) -> Self {
        standing.connections.fetch_add(1, Relaxed);
        Reading(standing)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}
