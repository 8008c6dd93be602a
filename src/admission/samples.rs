//! What the limit that finds itself is told of a request, and what it is not.
//!
//! Only what an upstream's load can change is a sample (`overload.md` 2(iii)): times to the answer's head, and
//! failures as overload makes them. The gateway's own answers, health checks and streams never come here; a client
//! that sends slowly, or brings a short deadline, says nothing about the upstream, and could otherwise lower
//! everybody's limit. For the same reason a backend's 429 is none: it is a word about one client. Clients that leave
//! are told apart: what they say depends on how many they are.

use crate::admission::adaptive::board::Said;
use crate::admission::settings::Mode;
use crate::admission::{Gate, RouteGate, class_limit};
use crate::balancing::shares::Shares;
use crate::reject::Reason;
use crate::request::{Class, Deadline};
use crate::upstream::progress::Progress;
use http::StatusCode;
use std::time::{Duration, Instant};

/// An answer's head, and what it took.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Its status.
    pub status: StatusCode,
    /// When the request was sent.
    pub began: Instant,
    /// When the head was there.
    pub ended: Instant,
}

/// A request that waits for the head of its answer. When it is dropped before that came, its client has left.
#[derive(Debug)]
pub struct Awaited<'a> {
    gate: &'a Gate,
    progress: &'a Progress,
    since: Instant,
    over: bool,
}

impl Awaited<'_> {
    /// The head came, or there will be none.
    pub fn over(mut self) {
        self.over = true;
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        let Gate { settings, state, .. } = self.gate;
        if self.over || !self.gate.is_sampled() || self.progress.waits_for_body() {
            return;
        }
        if self.since.elapsed() > settings.adaptive.objective {
            state.shared.board.left(state.core);
        }
    }
}

impl Gate {
    /// Somebody is refused or waits; whether that is the doing of the limit that finds itself.
    #[cold]
    pub(super) fn note_limited(&self, shares: &Shares) {
        let open = self.open(self.said());
        if open < self.settings.max_in_flight && shares.total.is_none_or(|total| open <= total) {
            self.state.shared.board.limited(self.state.core);
        }
    }

    /// A request came in, perhaps one that would not have in `enforce`.
    #[inline]
    pub(super) fn note_entry(&self, said: Said, class: Class) {
        let mode = self.settings.adaptive.mode;
        if mode == Mode::Off {
            return;
        }
        let board = &self.state.shared.board;
        let in_flight = self.state.shared.line.in_flight.get();
        board.entered(self.state.core, said, in_flight);
        if mode == Mode::Shadow && in_flight > class_limit(self.shadow(said), class, self.highest) {
            board.let_through(self.state.core);
        }
    }
}

impl Gate {
    /// What `enforce` would leave of the cap.
    fn shadow(&self, said: Said) -> u32 {
        said.limit().min(self.settings.max_in_flight)
    }
}

impl RouteGate {
    /// The head of an answer came. How long that took also decides how long a zombie may keep its slot.
    pub fn answered(&self, head: Head, progress: &Progress) {
        let took = head.ended - head.began;
        let state = &self.gate.state;
        // How long a zombie of the stable version may stay is not for a candidate to say.
        if !self.gate.is_guest() {
            state.latency.borrow_mut().record(took);
        }
        if !self.gate.is_sampled() {
            return;
        }
        let board = &state.shared.board;
        match head.status {
            StatusCode::SERVICE_UNAVAILABLE => board.failed(state.core),
            StatusCode::TOO_MANY_REQUESTS => {}
            _ => own_time(head, progress).into_iter().for_each(|took| board.answered(state.core, took)),
        }
    }

    /// From `now` on an answer is waited for.
    pub fn awaits<'a>(&'a self, progress: &'a Progress, now: Instant) -> Awaited<'a> {
        Awaited { gate: &self.gate, progress, since: now, over: false }
    }

    /// No answer came.
    pub fn failed(&self, reason: Reason, deadline: Deadline, progress: &Progress) {
        let overload = match reason {
            Reason::ConnectFailed | Reason::Reset => true,
            Reason::Timeout => !deadline.by_client && !progress.waits_for_body(),
            _ => false,
        };
        if overload && self.gate.is_sampled() {
            let state = &self.gate.state;
            state.shared.board.failed(state.core);
        }
    }
}

/// The backend's part of the time: from the end of the request. Nothing if it answered before that.
fn own_time(head: Head, progress: &Progress) -> Option<Duration> {
    if progress.bytes_in() == 0 {
        return Some(head.ended - head.began);
    }
    let complete = progress.uploaded_at()?;
    Some(head.ended.saturating_duration_since(complete.max(head.began)))
}
