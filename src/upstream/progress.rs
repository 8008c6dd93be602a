//! How an exchange is getting on: who waits for whom since when, how many bytes went each way, and why it
//! was ended if somebody else ended it.
//!
//! A body cannot keep its own time: it is not polled while its reader is away (`hyper-notes.md` 10). So it
//! writes down here what it waits for, and the core's tick reads it.

use crate::reject::Reason;
use crate::runtime::clock::Clock;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// Whose move it is in one direction of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Nobody's: not begun, or ended.
    Nobody,
    /// The client has to send, or to read.
    Client,
    /// The backend has to send, or to read.
    Backend,
}

/// How far an exchange with a backend has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No connection carries it yet.
    Connecting,
    /// A connection carries it.
    Open,
    /// It is complete.
    Over,
}

/// Bounds on the time of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between two pieces of a body, in either direction.
    pub body_idle: Duration,
    /// The end of the whole exchange, if bounded.
    pub ends: Option<Instant>,
    /// How long the backend may keep a client waiting that has ended its side.
    pub after_leave: Duration,
}

/// The progress of one exchange with a backend.
#[derive(Debug)]
pub struct Progress {
    clock: Rc<Clock>,
    patience: Patience,
    stage: Cell<Stage>,
    upload: Cell<(Waiting, Instant)>,
    download: Cell<(Waiting, Instant)>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    upload_done: Cell<bool>,
    left: Cell<Option<Instant>>,
    cause: Cell<Option<(Reason, Instant)>>,
    waker: RefCell<Option<Waker>>,
}

impl Progress {
    /// Nothing has moved yet.
    pub fn new(clock: Rc<Clock>, patience: Patience) -> Self {
        let now = clock.coarse();
        Progress {
            clock,
            patience,
            stage: Cell::new(Stage::Connecting),
            upload: Cell::new((Waiting::Nobody, now)),
            download: Cell::new((Waiting::Nobody, now)),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            upload_done: Cell::new(true),
            left: Cell::new(None),
            cause: Cell::new(None),
            waker: RefCell::new(None),
        }
    }

    /// How far it has come.
    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// It has come so far.
    pub fn reach(&self, stage: Stage) {
        self.stage.set(stage);
    }

    /// The request has a body that is still to be sent.
    pub fn expect_upload(&self) {
        self.upload_done.set(false);
    }

    /// The request was sent to its last byte.
    pub fn upload_done(&self) -> bool {
        self.upload_done.get()
    }

    /// Body bytes received from the client.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.get()
    }

    /// Body bytes handed to the client's connection.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.get()
    }

    /// Whoever has to move in the upload is written down; a move of the same party starts its time anew.
    pub fn upload_waits_for(&self, whom: Waiting) {
        self.upload.set((whom, self.clock.coarse()));
    }

    /// Bytes of the request came from the client and now wait for the backend to take them.
    pub fn uploaded(&self, bytes: usize) -> u64 {
        self.bytes_in.set(self.bytes_in.get() + bytes as u64);
        self.upload_waits_for(Waiting::Backend);
        self.bytes_in.get()
    }

    /// The client's body ended.
    pub fn upload_ended(&self) {
        self.upload_done.set(true);
        self.upload_waits_for(Waiting::Nobody);
    }

    /// Whoever has to move in the download is written down.
    pub fn download_waits_for(&self, whom: Waiting) {
        self.download.set((whom, self.clock.coarse()));
    }

    /// Bytes of the answer were handed to the client's connection, which now has to make room.
    pub fn downloaded(&self, bytes: usize) {
        self.bytes_out.set(self.bytes_out.get() + bytes as u64);
        self.download_waits_for(Waiting::Client);
    }

    /// The upload was polled and nothing was there.
    pub fn upload_pending(&self, cx: &Context<'_>) {
        still_waits(&self.upload, Waiting::Client, self.clock.coarse());
        self.remember(cx);
    }

    /// The download was polled and nothing was there.
    pub fn download_pending(&self, cx: &Context<'_>) {
        still_waits(&self.download, Waiting::Backend, self.clock.coarse());
        self.remember(cx);
    }

    /// Wakes this task when the exchange is ended from outside.
    pub fn remember(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(known) => known.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }

    /// The client has ended its side: it is gone, or it has nothing more to ask and waits.
    pub fn client_left(&self) {
        self.left.set(Some(self.left.get().unwrap_or(self.clock.coarse())));
    }

    /// For how long the client has been gone.
    pub fn gone_for(&self) -> Duration {
        self.left.get().map_or(Duration::ZERO, |left| self.clock.coarse().saturating_duration_since(left))
    }

    /// Why it was ended, if it was.
    pub fn cause(&self) -> Option<Reason> {
        self.cause.get().map(|(reason, _)| reason)
    }

    /// How long ago it was ended; nothing if it was not.
    pub fn ended_for(&self, now: Instant) -> Duration {
        self.cause.get().map_or(Duration::ZERO, |(_, at)| now.saturating_duration_since(at))
    }

    /// Ends it for a reason; the first reason stays. Wakes the task that drives it.
    pub fn end(&self, reason: Reason) {
        if self.cause.get().is_none() {
            self.cause.set(Some((reason, self.clock.coarse())));
            let waker = self.waker.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// The client has ended its side and the backend keeps it waiting: whoever is really gone cannot be told
    /// from who is not before something is written, so patience is short.
    fn waits_for_nobody(&self, now: Instant) -> bool {
        let (whom, since) = self.download.get();
        let since = self.left.get().map(|left| left.max(since));
        let waiting = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        whom != Waiting::Client && waiting > self.patience.after_leave
    }

    /// The reason for which it should be ended now, if any.
    pub fn overdue(&self, now: Instant) -> Option<Reason> {
        if self.patience.ends.is_some_and(|ends| now >= ends) {
            return Some(Reason::Timeout);
        }
        if self.waits_for_nobody(now) {
            return Some(Reason::ClientGone);
        }
        [self.upload.get(), self.download.get()].into_iter().find_map(|(whom, since)| {
            let late = now.saturating_duration_since(since) > self.patience.body_idle;
            match whom {
                Waiting::Client if late => Some(Reason::ClientTooSlow),
                Waiting::Backend if late => Some(Reason::BackendTooSlow),
                _ => None,
            }
        })
    }
}

/// Keeps waiting for the same party without starting its time anew; for repeated polls.
fn still_waits(side: &Cell<(Waiting, Instant)>, whom: Waiting, now: Instant) {
    if side.get().0 != whom {
        side.set((whom, now));
    }
}
