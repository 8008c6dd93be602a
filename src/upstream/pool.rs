//! A core's connections to one backend: idle HTTP/1.1 ones, last in first out, and shared HTTP/2 ones. No
//! other core ever sees them.
//!
//! A parked connection stays registered with the core's janitor, so that the backend's FIN is noticed when
//! it comes and not when the connection is needed (`hyper-notes.md` 16).

use crate::reject::{Reason, Reject};
use crate::telemetry::cells::CoreId;
use crate::upstream::connect::{self, Dialled};
use crate::upstream::connection::{Connection, H1, H2, Streams};
use crate::upstream::janitor::Janitor;
use crate::upstream::request_body::RequestBody;
use crate::upstream::vitals::Dial;
use crate::upstream::{Endpoint, Freshness};
use hyper::client::conn::http2;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

/// Streams on one HTTP/2 connection before another is opened.
const STREAMS: u32 = 100;

/// A core's connections to one backend.
#[derive(Debug)]
pub struct Pool {
    endpoint: Arc<Endpoint>,
    janitor: Rc<Janitor>,
    core: CoreId,
    #[expect(clippy::vec_box, reason = "a connection stays where it is: moving it in and out costs more")]
    idle: RefCell<Vec<Box<H1>>>,
    shared: RefCell<Vec<Shared>>,
    /// Rung when a connection comes back or a dial ends, for those who wait for either.
    returned: Notify,
    /// No version of the configuration names this backend any more: keep nothing.
    retired: Cell<bool>,
}

#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    streams: Rc<Cell<u32>>,
    /// Streams that the backend takes.
    most: Rc<Cell<u32>>,
    idle_since: Cell<Instant>,
}

/// A connection ready to take a request.
#[derive(Debug)]
pub(super) enum Ready {
    H1(Box<H1>),
    H2(H2),
}

impl Pool {
    /// An empty pool for a backend.
    pub fn new(endpoint: Arc<Endpoint>, janitor: Rc<Janitor>, core: CoreId) -> Rc<Self> {
        Rc::new(Pool {
            endpoint,
            janitor,
            core,
            idle: RefCell::default(),
            shared: RefCell::default(),
            returned: Notify::new(),
            retired: Cell::new(false),
        })
    }

    /// The backend it leads to.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// A connection that is there already, if that will do.
    pub(super) fn at_once(&self, freshness: Freshness) -> Option<Ready> {
        match freshness {
            Freshness::Any => self.take(),
            Freshness::New => {
                // If one was dead, so are probably the others.
                self.idle.borrow_mut().clear();
                None
            }
        }
    }

    /// A connection: one that comes back, or a new one as soon as the backend's bound on connects in progress
    /// allows, whichever comes first. The wait counts towards the connect timeout.
    pub(super) async fn connection(self: &Rc<Self>) -> Result<Ready, Reject> {
        let timeout = self.endpoint.waits.load().connect_timeout;
        // Boxed: most requests find a connection, and should not carry the room that making one takes.
        match tokio::time::timeout(timeout, Box::pin(self.wait_or_dial())).await {
            Ok(result) => result,
            Err(_) => Err(Reject::new(Reason::ConnectFailed, "connecting to the backend took too long")),
        }
    }

    async fn wait_or_dial(self: &Rc<Self>) -> Result<Ready, Reject> {
        loop {
            // `biased`: a connection that came back is better than a new one.
            let slot = tokio::select! {
                biased;
                () = self.returned.notified() => None,
                slot = self.endpoint.connects.load_full().acquire_owned() => slot.ok(),
            };
            if let Some(ready) = self.take() {
                return Ok(ready);
            }
            let Some(_slot) = slot else { continue };
            let dialled = connect::dial(&self.endpoint, self.janitor.outbox()).await;
            self.endpoint.waits.load().metrics.dialled(self.core, dialled.is_ok());
            let how = dialled.as_ref().map_or_else(|failed| failed.how, |_| Some(Dial::Connected));
            how.into_iter().for_each(|how| self.endpoint.vitals.dialled(how));
            return dialled.map(|dialled| self.adopt(dialled)).map_err(|failed| failed.reject);
        }
    }

    fn adopt(self: &Rc<Self>, dialled: Dialled) -> Ready {
        match dialled {
            Dialled::H1(connection) => Ready::H1(connection),
            Dialled::H2(sender, most) => {
                let shared =
                    Shared { sender, streams: Rc::default(), most, idle_since: Cell::new(Instant::now()) };
                let ready = Ready::H2(shared.enter());
                self.shared.borrow_mut().push(shared);
                // Everyone who waits for a dial can share this one.
                self.returned.notify_waiters();
                ready
            }
        }
    }

    fn take(&self) -> Option<Ready> {
        while let Some(mut connection) = self.idle.borrow_mut().pop() {
            if connection.still_parked(self.janitor.waker()) {
                connection.unpark();
                return Some(Ready::H1(connection));
            }
        }
        let mut shared = self.shared.borrow_mut();
        shared.retain(|connection| !connection.sender.is_closed());
        shared
            .iter()
            .find(|c| c.streams.get() < c.most.get().min(STREAMS) && c.sender.is_ready())
            .map(|c| Ready::H2(c.enter()))
    }

    /// An exchange is over; the connection is kept if it can carry another.
    pub(super) fn put_back(&self, mut connection: Box<H1>, request_sent: bool) {
        if request_sent && !self.retired.get() && connection.park(self.janitor.waker()) {
            connection.idle_since = self.janitor.now();
            self.idle.borrow_mut().push(connection);
            self.returned.notify_one();
        }
    }

    /// Forgets connections that have ended, and those that were idle for too long.
    pub(super) fn tidy(&self, now: Instant) {
        let keep = self.endpoint.waits.load().keepalive_idle;
        let waker = self.janitor.waker();
        self.idle.borrow_mut().retain_mut(|connection| {
            now.saturating_duration_since(connection.idle_since) < keep && connection.still_parked(waker)
        });
        self.shared.borrow_mut().retain(|connection| {
            let busy = connection.streams.get() > 0;
            if busy {
                connection.idle_since.set(now);
            }
            !connection.sender.is_closed()
                && now.saturating_duration_since(connection.idle_since.get()) < keep
        });
    }

    /// No version names this backend any more; what is in use finishes and is not kept.
    pub fn retire(&self) {
        self.retired.set(true);
        self.idle.borrow_mut().clear();
        self.shared.borrow_mut().clear();
    }
}

impl Shared {
    fn enter(&self) -> H2 {
        H2 { sender: self.sender.clone(), streams: Streams::enter(&self.streams) }
    }
}

impl Ready {
    pub(super) fn into_connection(self, pool: &Rc<Pool>) -> Connection {
        match self {
            Ready::H1(connection) => Connection::H1(connection, pool.clone()),
            Ready::H2(shared) => Connection::H2(shared.streams),
        }
    }
}
