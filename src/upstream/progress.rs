//! How an exchange is getting on: who waits for whom since when, how many bytes went each way, and why it
//! was ended if somebody else ended it.
//!
//! A body cannot keep its own time: it is not polled while its reader is away (`hyper-notes.md` 10). So it
//! writes down here what it waits for, and the core's tick reads it.

use crate::reject::Reason;
use crate::runtime::clock::{Clock, TICK};
use crate::upstream::rate::Rate;
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
    /// Nothing more comes of it.
    Over,
}

/// Which parties of an exchange must keep up the least rate ([`crate::upstream::rate`]). A backend that makes an
/// answer slowly is never among them: that is what long polling does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// The client that sends, the backend that takes, the client that takes.
    All,
    /// Only the client that takes: a call's client may be silent between its messages.
    Download,
    /// Nobody: idle time and duration bind streams.
    Nobody,
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
    /// Who must keep up the least rate.
    pub judged: Judged,
}

/// The rates of an exchange, as of the last look.
#[derive(Clone, Copy, Debug)]
struct Rates {
    at: Instant,
    client_sends: Rate,
    backend_takes: Rate,
    client_takes: Rate,
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
    /// Body bytes handed to the backend's connection.
    handed: Cell<u64>,
    /// Bytes that the backend's connection sent.
    taken: Cell<u64>,
    /// Bytes that left towards the client.
    left: Cell<u64>,
    /// What leaves is told by the transport; else what the engine takes has left.
    by_transport: Cell<bool>,
    /// When the client's connection last asked for more.
    asked: Cell<Instant>,
    rates: Cell<Rates>,
    /// Answers that the backend is done with and the same connection waits to take, this one included.
    abreast: Cell<u32>,
    upload_done: Cell<bool>,
    client_left: Cell<Option<Instant>>,
    cause: Cell<Option<(Reason, Instant)>>,
    /// Who wants to be woken in good time before when. Not `waker`, which may be that of a task that only carries the
    /// body (HTTP/2).
    reminder: RefCell<Option<(Instant, Waker)>>,
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
            handed: Cell::new(0),
            taken: Cell::new(0),
            left: Cell::new(0),
            by_transport: Cell::new(false),
            asked: Cell::new(now),
            rates: Cell::new(Rates {
                at: now,
                client_sends: Rate::default(),
                backend_takes: Rate::default(),
                client_takes: Rate::default(),
            }),
            abreast: Cell::new(1),
            upload_done: Cell::new(true),
            client_left: Cell::new(None),
            cause: Cell::new(None),
            reminder: RefCell::new(None),
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

    /// When the request's last byte came, if it has; to within a tick.
    pub fn uploaded_at(&self) -> Option<Instant> {
        let (waiting, since) = self.upload.get();
        (self.upload_done.get() && waiting == Waiting::Nobody).then_some(since)
    }

    /// The client has still to send of its body: whatever is late, the backend cannot know.
    pub fn waits_for_body(&self) -> bool {
        !self.upload_done.get() && self.upload.get().0 == Waiting::Client
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

    /// Bytes of the request came from the client. Returns all that came so far.
    pub fn received(&self, bytes: usize) -> u64 {
        self.bytes_in.set(self.bytes_in.get() + bytes as u64);
        self.bytes_in.get()
    }

    /// Bytes of the request were handed to the backend's connection, which now has to make room.
    pub fn uploaded(&self, bytes: usize) {
        self.handed.set(self.handed.get() + bytes as u64);
        self.upload_waits_for(Waiting::Backend);
    }

    /// Body bytes handed to the backend's connection.
    pub fn handed(&self) -> u64 {
        self.handed.get()
    }

    /// The backend's connection has taken `bytes` since the exchange began.
    pub fn taken(&self, bytes: u64) {
        if bytes > self.taken.replace(bytes) && self.upload.get().0 == Waiting::Backend {
            self.upload_waits_for(Waiting::Backend);
        }
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

    /// The answer's head is there; until its body is asked for, the client has the move.
    pub fn answered(&self) {
        self.asked.set(self.clock.coarse());
        self.download_waits_for(Waiting::Client);
    }

    /// Bytes of the answer were handed to the client's connection, which now has to make room.
    pub fn downloaded(&self, bytes: usize) {
        self.bytes_out.set(self.bytes_out.get() + bytes as u64);
        self.asked.set(self.clock.coarse());
        self.download_waits_for(Waiting::Client);
        if !self.by_transport.get() {
            self.left.set(self.bytes_out.get());
        }
    }

    /// From now on [`Progress::has_left`] says what leaves: the client's connection carries one answer at a time.
    pub fn measure_transport(&self) {
        self.by_transport.set(true);
    }

    /// Bytes left on the client's connection.
    pub fn has_left(&self, bytes: usize) {
        if self.by_transport.get() {
            self.left.set(self.left.get() + bytes as u64);
            if self.download.get().0 == Waiting::Client {
                self.download_waits_for(Waiting::Client);
            }
        }
    }

    /// Bytes of the answer that the client's connection holds and has not sent, as far as can be known.
    pub fn unsent(&self) -> u64 {
        self.bytes_out.get().saturating_sub(self.left.get())
    }

    /// The client's connection has not asked for more of the answer for `patience`. Never so on streams: what they
    /// send is meant for now.
    pub fn client_is_behind(&self, now: Instant, patience: Duration) -> bool {
        self.download.get().0 == Waiting::Client
            && self.patience.judged != Judged::Nobody
            && now.saturating_duration_since(self.asked.get()) >= patience
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

    /// True if whoever drives it must set a timer for `deadline` now. Else a tick wakes it in good time to ask again:
    /// of the many requests with a deadline seconds away few ever need a timer.
    pub fn needs_timer(&self, deadline: Instant, cx: &Context<'_>) -> bool {
        // Ticks look only after exchanges that have begun.
        let near = is_near(deadline, self.clock.coarse()) || self.stage.get() == Stage::Connecting;
        let mut reminder = self.reminder.borrow_mut();
        match &mut *reminder {
            _ if near => *reminder = None,
            Some((at, known)) => {
                *at = deadline;
                known.clone_from(cx.waker());
            }
            None => *reminder = Some((deadline, cx.waker().clone())),
        }
        near
    }

    /// Called by the core's tick: wakes whoever asked for it before a deadline.
    pub(super) fn remind(&self, now: Instant) {
        let due = self.reminder.borrow_mut().take_if(|(deadline, _)| is_near(*deadline, now));
        due.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// The client has ended its side: it is gone, or it has nothing more to ask and waits.
    pub fn client_left(&self) {
        self.client_left.set(Some(self.client_left.get().unwrap_or(self.clock.coarse())));
    }

    /// For how long the client has been gone.
    pub fn gone_for(&self) -> Duration {
        let left = self.client_left.get();
        left.map_or(Duration::ZERO, |left| self.clock.coarse().saturating_duration_since(left))
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
        let since = self.client_left.get().map(|left| left.max(since));
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
        let idle = [self.upload.get(), self.download.get()].into_iter().find_map(|(whom, since)| {
            let late = now.saturating_duration_since(since) > self.patience.body_idle;
            match whom {
                Waiting::Client if late => Some(Reason::ClientTooSlow),
                Waiting::Backend if late => Some(Reason::BackendTooSlow),
                _ => None,
            }
        });
        idle.or(self.too_slow(now))
    }

    /// The backend is done, and the client has not taken everything yet.
    pub fn is_only_taken(&self) -> bool {
        self.stage.get() == Stage::Over && self.download.get().0 == Waiting::Client
    }

    /// So many answers share the client's connection, this one included, of which only taking is left.
    pub fn shares_with(&self, abreast: u32) {
        self.abreast.set(abreast);
    }

    /// Who moves below the least rate, if anybody does. Answers that hold nothing of an upstream any more share it
    /// with the others on their connection: a slow link with many streams is one client that keeps up, not many
    /// that do not.
    fn too_slow(&self, now: Instant) -> Option<Reason> {
        let mut rates = self.rates.get();
        let elapsed = now.saturating_duration_since(rates.at);
        // Core and connection both look; the second look of a tick has nothing to add.
        if elapsed.is_zero() || self.patience.judged == Judged::Nobody {
            return None;
        }
        rates.at = now;
        let (upload, download) = (self.upload.get().0, self.download.get().0);
        let uploads = self.patience.judged == Judged::All;
        let sends = uploads && upload == Waiting::Client;
        let takes = uploads && upload == Waiting::Backend;
        let sends = rates.client_sends.keeps_up(elapsed, sends, self.bytes_in.get());
        let takes = rates.backend_takes.keeps_up(elapsed, takes, self.taken.get());
        let due = if self.is_only_taken() { elapsed / self.abreast.get().max(1) } else { elapsed };
        let client = rates.client_takes.keeps_up(due, download == Waiting::Client, self.left.get());
        self.rates.set(rates);
        match (sends && client, takes) {
            (false, _) => Some(Reason::ClientTooSlow),
            (_, false) => Some(Reason::BackendTooSlow),
            _ => None,
        }
    }
}

/// So near that the next tick may come too late.
fn is_near(deadline: Instant, now: Instant) -> bool {
    deadline <= now + 2 * TICK
}

/// Keeps waiting for the same party without starting its time anew; for repeated polls.
fn still_waits(side: &Cell<(Waiting, Instant)>, whom: Waiting, now: Instant) {
    if side.get().0 != whom {
        side.set((whom, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many seconds a client that takes `bytes` of an answer a second is too slow, if ever in ten minutes.
    fn ends(bytes: usize, stage: Stage, abreast: u32) -> Option<u64> {
        let clock = Rc::new(Clock::new(Instant::now()));
        let long = Duration::from_secs(3_600);
        let patience = Patience { body_idle: long, ends: None, after_leave: long, judged: Judged::Download };
        let progress = Progress::new(clock.clone(), patience);
        progress.reach(stage);
        progress.shares_with(abreast);
        progress.download_waits_for(Waiting::Client);
        let began = clock.coarse();
        (1..=600).find(|second| {
            progress.downloaded(bytes);
            progress.overdue(began + Duration::from_secs(*second)) == Some(Reason::ClientTooSlow)
        })
    }

    #[test]
    fn streams_that_only_wait_to_be_taken_share_the_least_rate_of_their_connection() {
        assert_eq!(ends(150, Stage::Over, 10), None, "ten of them make 1,500 bytes a second");
        assert!(ends(150, Stage::Over, 1).is_some());
        assert!(ends(50, Stage::Over, 10).is_some(), "and 500 are too slow for ten as for one");
        assert!(ends(150, Stage::Open, 10).is_some(), "whoever keeps a backend waiting is judged alone");
    }
}
