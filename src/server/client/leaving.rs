//! A client that should leave, because the process drains or the door that it came in by is closed: told with its
//! next answer, closed when it is quiet, and never between a request and its answer.

use super::Client;
use crate::reject::Reason;
use crate::server::process::Goodbyes;
use std::task::Waker;
use std::time::{Duration, Instant};

/// A connection that should leave is closed when it has been quiet for this long since it should.
const DRAIN_QUIET: Duration = Duration::from_millis(500);

/// Tunnels that came in by a door that is closed are told within this time, not all at once.
const CLOSED_DOOR: Duration = Duration::from_secs(5);

impl Client {
    /// The process drains, or the door that it came in by is closed.
    pub(in crate::server) fn should_leave(&self) -> bool {
        self.station.shared.process.is_draining() || self.entrance.is_closed()
    }

    /// More than the request being answered is here already: an answer that ends the connection would lose it.
    pub(in crate::server) fn has_more_to_ask(&self) -> bool {
        self.arriving.get() > 0 || self.in_head.get()
    }

    /// An HTTP/2 client should be told to leave now: it was served, or it has been here for nothing. One that
    /// came during a drain is told after its first request, like those of HTTP/1: told at once, it could only
    /// come again.
    pub(in crate::server) fn goodbye_is_due(&self) -> bool {
        self.should_leave() && (self.asked.get() || self.is_quiet(self.station.clock.coarse()))
    }

    /// It should go, but asked again just before: it may have its answer, and go with that.
    pub(in crate::server) fn spare(&self) {
        self.killed.set(None);
        self.leaving_since.set(None);
    }

    /// Closes a connection that has been quiet; a busy one is told with its next answer. While a drain still
    /// accepts, a quiet one may be used once more.
    pub(super) fn leave_when_quiet(&self, now: Instant) {
        if !self.entrance.is_closed() && !self.station.shared.process.closes_quiet() {
            self.wake_if_http2();
            return;
        }
        if self.leaving_since.get().is_none() {
            self.leaving_since.set(Some(now));
        }
        if self.http2.get() {
            self.wake_if_http2();
        } else if self.is_quiet(now) {
            self.kill(Reason::Draining);
        }
    }

    /// Draws the moment at which a tunnel is told to leave, and wakes it then.
    pub(super) fn sweep_tunnel(&self, now: Instant) {
        let Some(at) = self.told_at.get().or_else(|| self.draw_goodbye(now)) else { return };
        self.told_at.set(Some(at));
        if now >= at {
            let waker = self.waker.borrow_mut().take();
            waker.into_iter().for_each(Waker::wake);
        }
    }

    fn draw_goodbye(&self, now: Instant) -> Option<Instant> {
        let goodbyes = self.station.shared.process.goodbyes().map(Goodbyes::moment);
        // Whoever came in by a door that is closed might not be let in by the next one.
        goodbyes.or_else(|| self.entrance.is_closed().then(|| now + CLOSED_DOOR.mul_f64(fastrand::f64())))
    }

    /// As a tunnel it is told to leave now.
    pub(in crate::server) fn is_told(&self) -> bool {
        self.told_at.get().is_some_and(|at| self.station.clock.coarse() >= at)
    }

    /// Its task says goodbye itself.
    fn wake_if_http2(&self) {
        if self.http2.get() {
            let waker = self.waker.borrow_mut().take();
            waker.into_iter().for_each(Waker::wake);
        }
    }

    fn is_quiet(&self, now: Instant) -> bool {
        let Some(since) = self.leaving_since.get() else { return false };
        let idle = self.active.get() == 0 && self.unflushed.borrow().is_empty() && !self.has_more_to_ask();
        idle && now.saturating_duration_since(since.max(self.quiet_since.get())) > DRAIN_QUIET
    }
}
