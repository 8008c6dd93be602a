//! One exchange with a backend, from the first byte sent to the last byte received, and what it holds
//! meanwhile: the connection, and a guard (the permits).
//!
//! The guard is released the moment the exchange with the backend is over, however slow the client reads the
//! rest (`design.md`, "Admission"). The exchange can be ended from outside: a core's tick takes connection
//! and guard away from it, also while nobody polls its body (`hyper-notes.md` 10).

use crate::reject::Reason;
use crate::upstream::connection::Connection;
use crate::upstream::progress::{Progress, Stage};
use crate::upstream::tunnel::{Bounds, Tunnel};
use crate::upstream::zombie;
use slab::Slab;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A slot kept for an exchange that nobody waits for any more; dropping it frees the slot.
pub trait Lingering: 'static {
    /// Returns when the slot is wanted back before its time: then the connection must end too, or the backend
    /// would hold more than its cap.
    fn wanted_back(&self) -> impl Future<Output = ()>;
}

/// What an exchange holds of admission.
pub trait Guard: 'static {
    /// What is held of it while the backend may still be working for nobody.
    type Zombie: Lingering;

    /// The client, gone for so long, or the deadline is over; keeps the backend's slot, for at most the time
    /// returned. `aborted` when it was the client who ended it.
    fn into_zombie(self, gone_for: Duration, aborted: bool) -> (Self::Zombie, Duration);
}

/// All exchanges of a core, so that its tick can look after them.
#[derive(Debug)]
pub struct Exchanges<G: Guard>(RefCell<Slab<Rc<Shared<G>>>>);

#[derive(Debug)]
struct Shared<G: Guard> {
    progress: Rc<Progress>,
    held: RefCell<Option<Held<G>>>,
}

#[derive(Debug)]
struct Held<G> {
    /// Gone when the engine is through with it and the permits are still of use for another try.
    connection: Option<Connection>,
    guard: G,
}

/// One exchange; dropping it before its end leaves a zombie.
#[derive(Debug)]
pub struct Exchange<G: Guard> {
    shared: Rc<Shared<G>>,
    registry: Rc<Exchanges<G>>,
    key: usize,
}

impl<G: Guard> Default for Exchanges<G> {
    fn default() -> Self {
        Exchanges(RefCell::default())
    }
}

impl<G: Guard> Exchanges<G> {
    /// Ends what is overdue.
    pub fn sweep(&self, now: Instant) {
        let overdue: Vec<_> = self
            .0
            .borrow()
            .iter()
            .filter_map(|(_, shared)| Some((shared.clone(), shared.progress.overdue(now)?)))
            .filter(|(shared, _)| shared.progress.cause().is_none())
            .collect();
        for (shared, reason) in &overdue {
            shared.end(*reason);
        }
    }
}

impl<G: Guard> Shared<G> {
    fn end(&self, reason: Reason) {
        let held = self.held.borrow_mut().take();
        if let Some(held) = held {
            held.abandon(&self.progress, reason);
        }
        self.progress.end(reason);
    }
}

impl<G: Guard> Held<G> {
    /// The answer is not wanted any more, but the backend may be working on it.
    fn abandon(self, progress: &Progress, reason: Reason) {
        let aborted = progress.cause().unwrap_or(reason) == Reason::ClientGone;
        match self.connection {
            Some(Connection::H1(connection, pool)) => {
                let (zombie, limit) = self.guard.into_zombie(progress.gone_for(), aborted);
                zombie::linger(*connection, pool, zombie, limit);
            }
            // Dropping the answer's body resets the stream, which tells the backend to stop.
            Some(Connection::H2(_)) | None => drop(self.guard),
        }
    }
}

impl<G: Guard> Exchange<G> {
    /// Begins with the connection that carries it.
    pub(super) fn begin(
        registry: &Rc<Exchanges<G>>,
        progress: Rc<Progress>,
        connection: Connection,
        guard: G,
    ) -> Self {
        progress.reach(Stage::Open);
        let shared = Rc::new(Shared {
            progress,
            held: RefCell::new(Some(Held { connection: Some(connection), guard })),
        });
        let key = registry.0.borrow_mut().insert(shared.clone());
        Exchange { shared, registry: registry.clone(), key }
    }

    /// How it is getting on.
    pub fn progress(&self) -> &Rc<Progress> {
        &self.shared.progress
    }

    /// Lets the backend's connection read and write. Ready when the engine is through with it.
    pub(super) fn poll_connection(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.shared.held.borrow_mut().as_mut().map(|held| &mut held.connection) {
            Some(Some(Connection::H1(connection, _))) => connection.poll(cx),
            Some(Some(Connection::H2(_))) => Poll::Pending,
            Some(None) | None => Poll::Ready(()),
        }
    }

    /// The answer is complete: the guard is released and the connection can serve the next request.
    pub(super) fn complete(&self) {
        self.shared.progress.reach(Stage::Over);
        let held = self.shared.held.borrow_mut().take();
        if let Some(Held { connection: Some(Connection::H1(connection, pool)), guard }) = held {
            pool.put_back(connection, self.shared.progress.upload_done());
            drop(guard);
        }
    }

    /// The engine is through with the connection; the permits are kept.
    pub(super) fn drop_connection(&self) {
        let connection = self.shared.held.borrow_mut().as_mut().and_then(|held| held.connection.take());
        drop(connection);
    }

    /// Takes back connection and guard, without any after-life; for failures that are the connection's end,
    /// requests that were not sent, and tunnels.
    pub(super) fn take(&self) -> Option<(Option<Connection>, G)> {
        self.shared.progress.reach(Stage::Connecting);
        self.shared.held.borrow_mut().take().map(|held| (held.connection, held.guard))
    }

    /// The backend has switched protocols: its bytes without HTTP, and what the request held. `None` on
    /// HTTP/2, which has no such thing.
    pub fn into_tunnel(self, bounds: Bounds) -> Option<(Tunnel, G)> {
        let (connection, guard) = self.take()?;
        match connection? {
            Connection::H1(connection, _) => {
                let (transport, early, descriptor) = connection.into_transport();
                Some((Tunnel { transport, early, descriptor, bounds }, guard))
            }
            Connection::H2(_) => None,
        }
    }

    /// Ends it from outside.
    pub fn end(&self, reason: Reason) {
        self.shared.end(reason);
    }
}

impl<G: Guard> Drop for Exchange<G> {
    fn drop(&mut self) {
        self.registry.0.borrow_mut().remove(self.key);
        let held = self.shared.held.borrow_mut().take();
        if let Some(held) = held {
            self.shared.progress.end(Reason::ClientGone);
            held.abandon(&self.shared.progress, Reason::ClientGone);
        }
    }
}
