//! One exchange with a backend, from the first byte sent to the last byte received, and what it holds
//! meanwhile: the connection, and a guard (the permits).
//!
//! The guard is released the moment the exchange with the backend is over, however slow the client reads the
//! rest (`design.md`, "Admission"): while the client does not take it, the core's tick reads ahead. The exchange
//! can be ended from outside: a core's tick takes connection and guard away from it, also while nobody polls its
//! body (`hyper-notes.md` 10).

use crate::memory::CoreMemory;
use crate::reject::Reason;
use crate::runtime::clock::TICK;
use crate::upstream::connection::Connection;
use crate::upstream::download::{Broken, Download, End, Manner, Stored};
use crate::upstream::kept::Buffers;
use crate::upstream::passage::{LARGE, Passage, Pipes};
use crate::upstream::progress::{Progress, Stage};
use crate::upstream::tunnel::{Bounds, Tunnel};
use crate::upstream::{trailers, zombie};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use slab::Slab;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

/// A client that has not asked for more for this long is behind.
const BEHIND: Duration = TICK;
/// Bytes that one tick of a core reads ahead at most, or it would be late for everybody else.
const A_TICK: u64 = 4 << 20;

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
pub struct Exchanges<G: Guard> {
    all: RefCell<Slab<Rc<Shared<G>>>>,
    memory: Rc<CoreMemory>,
    buffers: Rc<Buffers>,
    pipes: Rc<Pipes>,
}

#[derive(Debug)]
struct Shared<G: Guard> {
    progress: Rc<Progress>,
    held: RefCell<Option<Held<G>>>,
    download: RefCell<Download>,
    /// What the connection had sent before.
    sent_before: u64,
}

#[derive(Debug)]
struct Held<G> {
    /// Gone when the engine is through with it and the permits are still of use for another try.
    connection: Option<Connection>,
    guard: G,
}

/// What comes next of an answer.
pub(super) enum Pulled {
    /// A frame; true if it is the last and the answer is complete.
    Frame(Frame<Bytes>, bool),
    /// The end.
    End(End),
}

/// One exchange; dropping it before its end leaves a zombie.
#[derive(Debug)]
pub struct Exchange<G: Guard> {
    shared: Rc<Shared<G>>,
    registry: Rc<Exchanges<G>>,
    key: usize,
}

impl<G: Guard> Exchanges<G> {
    /// None yet; what is read ahead is taken from `memory`.
    pub fn new(memory: Rc<CoreMemory>) -> Rc<Self> {
        Rc::new(Exchanges { all: RefCell::default(), memory, buffers: Rc::default(), pipes: Rc::default() })
    }

    /// Where what is sent is kept until it is answered.
    pub(super) fn buffers(&self) -> &Rc<Buffers> {
        &self.buffers
    }

    /// Ends what is overdue, reminds of deadlines, and reads ahead of clients that do not take their answers.
    pub fn sweep(&self, now: Instant) {
        self.all.borrow().iter().for_each(|(_, shared)| shared.progress.remind(now));
        let overdue: Vec<_> = self.due(|shared| shared.overdue(now));
        for (shared, reason) in &overdue {
            shared.end(*reason);
        }
        let behind = self.due(|shared| shared.client_is_behind(now).then_some(()));
        let mut allowance = A_TICK;
        for (shared, ()) in &behind {
            shared.read_ahead(&self.memory, &mut allowance);
        }
    }

    /// Those of the living that `wanted` returns something for.
    fn due<T>(&self, wanted: impl Fn(&Shared<G>) -> Option<T>) -> Vec<(Rc<Shared<G>>, T)> {
        let all = self.all.borrow();
        let living = all.iter().map(|(_, shared)| shared).filter(|shared| shared.progress.cause().is_none());
        living.filter_map(|shared| Some((shared.clone(), wanted(shared)?))).collect()
    }
}

impl<G: Guard> Shared<G> {
    fn overdue(&self, now: Instant) -> Option<Reason> {
        match self.held.borrow().as_ref().and_then(|held| held.connection.as_ref()) {
            Some(Connection::H1(connection, _)) => {
                self.progress.taken(connection.written().saturating_sub(self.sent_before));
            }
            // A stream's window says what the backend takes of it.
            Some(Connection::H2(_)) => self.progress.taken(self.progress.handed()),
            None => {}
        }
        self.progress.overdue(now)
    }

    /// The client does not take what there is, and the backend has more.
    fn client_is_behind(&self, now: Instant) -> bool {
        let download = self.download.borrow();
        self.progress.client_is_behind(now, BEHIND) && !download.backend_is_done() && download.has_room()
    }

    /// Reads what is there, as far as there is room. Nobody is woken by what comes later: the next tick looks
    /// again, or the client's connection asks for more.
    fn read_ahead(&self, memory: &Rc<CoreMemory>, allowance: &mut u64) {
        // A pipe holds less than may be read ahead.
        self.download.borrow().close_passage();
        let read = poll_fn(|cx| {
            while *allowance > 0 && memory.has_to_spare() && self.download.borrow().has_room() {
                let Poll::Ready(pulled) = self.pull(cx) else { break };
                if let Pulled::Frame(frame, _) = &pulled {
                    *allowance = allowance.saturating_sub(frame.data_ref().map_or(1, Bytes::len) as u64);
                }
                self.keep(pulled, memory);
            }
            Poll::Ready(())
        });
        // One tick reads for many exchanges: the runtime's share for one task is not meant for that.
        let mut read = pin!(tokio::task::unconstrained(read));
        let _ = read.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }

    /// Keeps what came for when the client asks for it.
    fn keep(&self, pulled: Pulled, memory: &Rc<CoreMemory>) {
        let mut download = self.download.borrow_mut();
        match pulled {
            Pulled::Frame(frame, last) => {
                download.store(frame, memory);
                if last {
                    download.store_end(End::Complete, memory);
                }
            }
            Pulled::End(end) => download.store_end(end, memory),
        }
    }

    /// The next of the answer from the backend; when it was the last, the exchange with the backend is over and
    /// what it holds is released.
    fn pull(&self, cx: &mut Context<'_>) -> Poll<Pulled> {
        let mut frame = self.poll_backend(cx);
        if frame.is_pending() {
            let _ = self.poll_connection(cx);
            frame = self.poll_backend(cx);
        }
        match frame {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(mut frame))) => {
                trailers::strip(&mut frame);
                // Nothing comes after trailers, and HTTP/1's engine does not ask again.
                let last = frame.is_trailers() || self.download.borrow().backend_is_done();
                if last {
                    self.complete();
                }
                Poll::Ready(Pulled::Frame(frame, last))
            }
            Poll::Ready(None) => {
                self.complete();
                Poll::Ready(Pulled::End(End::Complete))
            }
            Poll::Ready(Some(Err(_))) => {
                self.progress.reach(Stage::Over);
                let held = self.held.borrow_mut().take();
                // On HTTP/2 it may have been the stream alone.
                if let Some(Connection::H1(_, pool)) = held.as_ref().and_then(|held| held.connection.as_ref())
                {
                    pool.endpoint().vitals.lost(true);
                }
                drop(held);
                Poll::Ready(Pulled::End(End::Broken))
            }
        }
    }

    /// What the engine has of the answer. A connection that we drive brings more only when it is driven, so asking
    /// wakes nobody.
    fn poll_backend(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let held = self.held.borrow();
        let mut download = self.download.borrow_mut();
        match held.as_ref().and_then(|held| held.connection.as_ref()) {
            Some(Connection::H1(connection, _)) => connection.quietly(|cx| download.poll_backend(cx)),
            Some(Connection::H2(_)) | None => download.poll_backend(cx),
        }
    }

    fn poll_connection(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.held.borrow_mut().as_mut().map(|held| &mut held.connection) {
            Some(Some(Connection::H1(connection, _))) => connection.poll(cx),
            Some(Some(Connection::H2(_))) => Poll::Pending,
            Some(None) | None => Poll::Ready(()),
        }
    }

    /// The answer is complete: the guard is released and the connection can serve the next request.
    fn complete(&self) {
        self.progress.reach(Stage::Over);
        let held = self.held.borrow_mut().take();
        if let Some(Held { connection: Some(Connection::H1(connection, pool)), guard }) = held {
            pool.put_back(connection, self.progress.upload_done());
            drop(guard);
        }
    }

    fn end(&self, reason: Reason) {
        let held = self.held.borrow_mut().take();
        if let Some(held) = held {
            held.abandon(&self.progress, reason);
        }
        // What was read ahead is for nobody, and a stream of HTTP/2 ends with its body.
        drop(self.download.take());
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
        let sent_before = match &connection {
            Connection::H1(connection, _) => connection.written(),
            Connection::H2(_) => 0,
        };
        let shared = Rc::new(Shared {
            progress,
            held: RefCell::new(Some(Held { connection: Some(connection), guard })),
            download: RefCell::default(),
            sent_before,
        });
        let key = registry.all.borrow_mut().insert(shared.clone());
        Exchange { shared, registry: registry.clone(), key }
    }

    /// How it is getting on.
    pub fn progress(&self) -> &Rc<Progress> {
        &self.shared.progress
    }

    /// Lets the backend's connection read and write. Ready when the engine is through with it.
    pub(super) fn poll_connection(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.poll_connection(cx)
    }

    /// The answer's head is there, and its body follows.
    pub(super) fn receive(&self, incoming: Incoming, manner: Manner) {
        *self.shared.download.borrow_mut() = Download::new(incoming, manner);
    }

    /// A way past the engines for the rest of this answer, where it is large, the backend's side is in clear and
    /// there is a pipe. What the engine has read already comes first, as it is.
    pub fn open_passage(&self, incoming: &Incoming) -> Option<Rc<Passage>> {
        let left = incoming.size_hint().exact().filter(|length| *length >= LARGE)?;
        match self.shared.held.borrow().as_ref()?.connection.as_ref()? {
            Connection::H1(connection, pool) if connection.tap().is_clear() => {
                let rights = || pool.endpoint().descriptors.try_spare();
                let passage = Passage::open(&self.registry.pipes, left, rights)?;
                connection.tap().through(Some(passage.clone()));
                Some(passage)
            }
            Connection::H1(..) | Connection::H2(_) => None,
        }
    }

    /// The answer's next frame for the client.
    pub(super) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Pulled> {
        loop {
            let stored = self.shared.download.borrow_mut().next_stored();
            match stored {
                Some(Stored::Frame(frame, last)) => return Poll::Ready(Pulled::Frame(frame, last)),
                Some(Stored::End(end)) => return Poll::Ready(Pulled::End(end)),
                None => {}
            }
            match ready!(self.shared.pull(cx)) {
                Pulled::Frame(frame, last) if self.shared.download.borrow().is_too_large(&frame) => {
                    self.shared.keep(Pulled::Frame(frame, last), &self.registry.memory);
                }
                pulled => return Poll::Ready(pulled),
            }
        }
    }

    /// The client has been given all of the answer.
    pub(super) fn is_end_stream(&self) -> bool {
        self.shared.download.borrow().is_end_stream()
    }

    /// What the client has not been given of the answer.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.shared.download.borrow().size_hint()
    }

    /// The answer is complete: the guard is released and the connection can serve the next request.
    pub(super) fn complete(&self) {
        self.shared.complete();
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
        self.registry.all.borrow_mut().remove(self.key);
        drop(self.shared.download.take());
        let held = self.shared.held.borrow_mut().take();
        if let Some(held) = held {
            self.shared.progress.end(Reason::ClientGone);
            held.abandon(&self.shared.progress, Reason::ClientGone);
        }
    }
}
