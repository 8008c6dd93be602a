//! One client's connection, as the rest of the core sees it: who it is, what it waits for, what is not
//! flushed yet, and whether it must go.
//!
//! It sets no timers. It writes down deadlines, and the core's tick compares them (`hyper-notes.md` 9).

mod leaving;
mod parking;
mod watcher;

pub use parking::Parked;

use crate::filters::forwarded::Hop;
use crate::listener::Listener;
use crate::listener::entrance::Entrance;
use crate::listener::settings::Settings;
use crate::listener::tls::TlsDoor;
use crate::memory::Held;
use crate::reject::Reason;
use crate::runtime::clock::TICK;
use crate::server::arrival::Names;
use crate::server::door::Refusal;
use crate::server::record::Record;
use crate::server::station::Station;
use crate::server::tunnel::Upgraded;
use crate::upstream::passage::Passage;
use crate::upstream::progress::Progress;
use crate::upstream::rate::Rate;
use parking::Parking;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};
pub use watcher::Watcher;

/// What a client's TLS said.
#[derive(Clone, Debug)]
pub struct TlsFacts {
    /// The server name it asked for.
    pub server_name: Option<String>,
    /// What it was shown.
    pub door: Arc<TlsDoor>,
}

/// Requests that a client may abandon in a burst before its HTTP/2 connection is closed (CVE-2023-44487).
const MAX_ABANDONED: u32 = 200;
/// How many of them are forgiven each second.
const FORGIVEN: u32 = 20;
/// How long a client may take to notice that an answer was cut.
const MOURNING: Duration = Duration::from_secs(2);

/// Interim answers on their way to the client; shared with a callback that the engine wants `Send`.
pub type Interim = Arc<Mutex<Vec<u8>>>;

/// A connection that has just been accepted, or has just ended its handshake.
#[derive(Debug)]
pub struct Came {
    /// Whose client it is.
    pub listener: Arc<Listener>,
    /// Where it came in.
    pub entrance: Arc<Entrance>,
    /// The listener's settings at that moment.
    pub settings: Arc<Settings>,
    /// Its address.
    pub peer: SocketAddr,
    /// Its TLS, if any.
    pub tls: Option<TlsFacts>,
}

/// One client's connection.
#[derive(Debug)]
pub struct Client {
    /// Where it lives.
    pub station: Rc<Station>,
    /// Whose client it is, for ever: routes that name listeners go by this.
    pub listener: Arc<Listener>,
    entrance: Arc<Entrance>,
    /// The listener's settings when it came.
    pub settings: Arc<Settings>,
    /// Its address.
    pub peer: SocketAddr,
    /// What backends are told of it.
    pub hop: Hop,
    /// Its TLS, if any.
    pub tls: Option<TlsFacts>,
    /// Whom its last request asked for.
    pub names: RefCell<Option<Rc<Names>>>,
    /// Speaks HTTP/2.
    pub http2: Cell<bool>,
    /// Interim answers.
    pub interim: Interim,
    /// A tunnel to be carried once the 101 is written; boxed because few connections have one.
    pub upgraded: RefCell<Option<Box<Upgraded>>>,
    /// Where the bytes of a large answer are that passes the engines.
    pub(super) passage: RefCell<Option<Rc<Passage>>>,
    /// It has asked at least once.
    asked: Cell<bool>,
    /// Since when it is closed as soon as it is quiet.
    leaving_since: Cell<Option<Instant>>,
    active: Cell<u32>,
    /// Heads that passed the door and have not reached the service.
    arriving: Cell<u32>,
    /// The body of its last request has not come to its end yet.
    in_body: Cell<bool>,
    /// How near it is to giving back what serving it takes.
    parking: Cell<Parking>,
    abandoned: Cell<u32>,
    deadline: Cell<Option<Instant>>,
    in_head: Cell<bool>,
    /// How fast it takes what is only to be flushed, and when that was last looked at.
    flush_rate: Cell<(Rate, Instant)>,
    /// Bytes written to it.
    wrote: Cell<u64>,
    /// What the engine holds for it, of the budget of buffered bytes.
    unsent: RefCell<Held>,
    quiet_since: Cell<Instant>,
    unflushed: RefCell<Vec<Record>>,
    watched: RefCell<Vec<Rc<Progress>>>,
    killed: Cell<Option<Reason>>,
    refused: Cell<Option<Refusal>>,
    /// It asks nothing more.
    asked_last: Cell<bool>,
    mid_answer: Cell<bool>,
    /// The answer under way has no length and no chunks.
    by_closing: Cell<bool>,
    /// It is a tunnel now: its idle time and its end are the tunnel's.
    tunnelling: Cell<bool>,
    /// When it is told to leave, as a tunnel, once it should.
    told_at: Cell<Option<Instant>>,
    /// The client ended its side.
    left: Cell<bool>,
    /// The connection is over; bodies may live on for a moment in the engine's tasks.
    closed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Client {
    /// Takes it in at a core's station.
    pub fn new(station: Rc<Station>, came: Came) -> Rc<Self> {
        let Came { listener, entrance, settings, peer, tls } = came;
        let now = Instant::now();
        let hop = Hop::new(peer.ip(), entrance.bound().port(), tls.is_some());
        let unsent = Held::new(&station.memory);
        Rc::new(Client {
            deadline: Cell::new(Some(now + settings.header_timeout)),
            station,
            listener,
            entrance,
            settings,
            peer,
            hop,
            tls,
            names: RefCell::default(),
            http2: Cell::new(false),
            interim: Interim::default(),
            upgraded: RefCell::default(),
            passage: RefCell::default(),
            asked: Cell::new(false),
            leaving_since: Cell::new(None),
            active: Cell::new(0),
            arriving: Cell::new(0),
            in_body: Cell::new(false),
            parking: Cell::new(Parking::No),
            abandoned: Cell::new(0),
            in_head: Cell::new(false),
            flush_rate: Cell::new((Rate::default(), now)),
            wrote: Cell::new(0),
            unsent: RefCell::new(unsent),
            quiet_since: Cell::new(now),
            unflushed: RefCell::default(),
            watched: RefCell::default(),
            killed: Cell::new(None),
            refused: Cell::new(None),
            asked_last: Cell::new(false),
            mid_answer: Cell::new(false),
            by_closing: Cell::new(false),
            tunnelling: Cell::new(false),
            told_at: Cell::new(None),
            left: Cell::new(false),
            closed: Cell::new(false),
            waker: RefCell::default(),
        })
    }

    /// A request begins.
    pub(super) fn enter(&self) {
        self.asked.set(true);
        self.active.set(self.active.get() + 1);
        self.arriving.set(self.arriving.get().saturating_sub(1));
        self.deadline.set(None);
    }

    /// A request's answer is with the engine to its last byte, or the request was abandoned before it had
    /// an answer.
    pub(super) fn leave(&self, abandoned: bool) {
        self.active.set(self.active.get() - 1);
        if abandoned {
            self.abandoned.set(self.abandoned.get() + 1);
        }
        if self.active.get() == 0 {
            self.quiet_since.set(self.station.clock.coarse());
            // The beginning of the next head may have come along with this request.
            let Settings { header_timeout, idle_timeout, .. } = *self.settings;
            let patience = if self.in_head.get() { header_timeout } else { idle_timeout };
            self.deadline.set(Some(self.at_least(patience)));
        }
    }

    /// A moment that is at least `patience` away, and at most a tick more; the system is not asked for the time.
    fn at_least(&self, patience: Duration) -> Instant {
        self.station.clock.coarse() + TICK + patience
    }

    /// The record is finished when all that was written is flushed.
    pub(super) fn finish_when_flushed(&self, record: Record) {
        if self.closed.get() {
            record.cut();
            return;
        }
        self.unflushed.borrow_mut().push(record);
    }

    /// An exchange began on behalf of this client.
    pub(super) fn watch(&self, progress: &Rc<Progress>) {
        let mut watched = self.watched.borrow_mut();
        watched.retain(|known| Rc::strong_count(known) > 1);
        watched.push(progress.clone());
        if !self.http2.get() {
            progress.measure_transport();
        }
        if self.left.get() {
            progress.client_left();
        }
    }

    /// It is a tunnel from now on.
    pub(super) fn becomes_tunnel(&self) {
        self.tunnelling.set(true);
    }

    /// Wakes the connection's task when it must go.
    pub(super) fn remember(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(known) => known.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }

    /// Why it must go, if it must.
    pub(super) fn killed(&self) -> Option<Reason> {
        self.killed.get()
    }

    /// It must go.
    pub(super) fn kill(&self, reason: Reason) {
        if self.killed.get().is_none() {
            self.killed.set(Some(reason));
            let waker = self.waker.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// What the door refused, for whoever tells the client; it is told once.
    pub(super) fn take_refusal(&self) -> Option<Refusal> {
        self.refused.take()
    }

    /// The head of an answer is with the engine; from here to its last byte nothing else may be written.
    pub(super) fn answering(&self) {
        self.mid_answer.set(true);
    }

    /// Part of an answer may have been written, and not all of it.
    pub(super) fn is_mid_answer(&self) -> bool {
        self.mid_answer.get()
    }

    /// Only the connection's end tells the client where the answer under way ends.
    pub(super) fn ends_answer_by_closing(&self) {
        self.by_closing.set(true);
    }

    /// An answer was cut that would look whole if the connection ended in order.
    pub(super) fn would_look_whole(&self) -> bool {
        self.mid_answer.get() && self.by_closing.get()
    }

    /// It has the whole answer to a request that it said was its last.
    pub(super) fn has_all_it_asked_for(&self) -> bool {
        self.asked_last.get() && !self.mid_answer.get() && self.active.get() == 0
    }

    /// A head has begun and is not complete.
    pub(super) fn in_head(&self) -> bool {
        self.in_head.get()
    }

    /// The connection is over: what was not flushed never will be.
    pub(super) fn close(&self) {
        self.closed.set(true);
        let records = std::mem::take(&mut *self.unflushed.borrow_mut());
        records.into_iter().for_each(|record| record.cut_for(self.killed.get()));
        self.unsent.borrow_mut().set(0);
    }

    /// The core's tick.
    pub(super) fn sweep(&self, now: Instant) {
        if self.tunnelling.get() {
            return self.sweep_tunnel(now);
        }
        self.abandoned.set(self.abandoned.get().saturating_sub(FORGIVEN / 10));
        if self.abandoned.get() > MAX_ABANDONED {
            self.kill(Reason::BadRequest);
        } else if self.deadline.get().is_some_and(|deadline| now >= deadline) {
            self.kill(Reason::RequestTimeout);
        } else if self.is_stalled(now) || self.is_hopeless(now) {
            self.kill(Reason::ClientTooSlow);
        } else if self.should_leave() {
            self.leave_when_quiet(now);
        } else if self.has_long_been_at_rest(now) {
            self.ask_to_park();
        }
        self.weigh();
    }

    /// All that is left to do is to flush, and the client takes it below the least rate: whatever is not flushed
    /// still holds its right to be in the process.
    fn is_stalled(&self, now: Instant) -> bool {
        let waiting = !self.unflushed.borrow().is_empty();
        let (mut rate, looked) = self.flush_rate.get();
        let keeps_up = rate.keeps_up(now.saturating_duration_since(looked), waiting, self.wrote.get());
        self.flush_rate.set((rate, now));
        !keeps_up
    }

    /// Writes down what the engine holds for it, and how many answers wait for it alone.
    fn weigh(&self) {
        let watched = self.watched.borrow();
        let unsent = watched.iter().map(|progress| progress.unsent()).sum();
        self.unsent.borrow_mut().set(unsent);
        let taken = watched.iter().filter(|progress| progress.is_only_taken()).count();
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        watched.iter().for_each(|progress| progress.shares_with(taken));
    }

    /// Answers were ended, and the client does not take even the end of them: with its window closed, nothing
    /// else tells it. Where other streams still move it has as long as it may be idle.
    fn is_hopeless(&self, now: Instant) -> bool {
        let mut watched = self.watched.borrow_mut();
        watched.retain(|progress| Rc::strong_count(progress) > 1);
        for progress in watched.iter().filter(|progress| progress.cause().is_none()) {
            // Exchanges were swept before; this ends answers of our own.
            progress.overdue(now).into_iter().for_each(|reason| progress.end(reason));
        }
        let all = watched.iter().all(|progress| progress.cause().is_some());
        let patience = if all { MOURNING } else { self.settings.idle_timeout };
        watched.iter().any(|progress| progress.ended_for(now) > patience)
    }
}
