//! Parking: a client that has been quiet for a while keeps its socket and its place, and gives back everything else
//! that serving it takes: the engine, the door, their buffers.
//!
//! It promises that only a client at rest is parked: nothing of a request, and nothing of an answer, is anywhere but
//! on its way in the system. Deadlines, caps and drains hold for it as for any other. It sets no timer: the core's
//! tick finds who has been at rest for long.

use super::Client;
use crate::permit::{Counter, Permit};
use crate::reject::Reason;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// A client that has been at rest for so long is parked. Long enough that whoever asks again and again never pays
/// for it; short beside the time for which idle connections are kept.
const PARK_AFTER: Duration = Duration::from_secs(2);

/// How near a client is to being parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parking {
    /// Something else is done for it than serving HTTP/1.
    No,
    /// It is served HTTP/1.
    Possible,
    /// Its task is asked to park it.
    Asked,
    /// It is parked.
    Done,
}

/// A client that is parked for as long as this lives.
#[derive(Debug)]
pub struct Parked<'a> {
    client: &'a Client,
    _counted: Permit<Arc<Counter>>,
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.client.parking.set(Parking::No);
    }
}

impl Client {
    /// Parks it.
    pub(in crate::server) fn park(&self) -> Parked<'_> {
        self.parking.set(Parking::Done);
        // What is over is forgotten here, instead of with the next exchange.
        let mut watched = self.watched.borrow_mut();
        watched.retain(|progress| Rc::strong_count(progress) > 1);
        watched.shrink_to_fit();
        drop(self.passage.take());
        Parked { client: self, _counted: self.listener.limits().park() }
    }

    /// Whether it can be parked while it is served.
    pub(in crate::server) fn may_be_parked(&self, may: bool) {
        self.parking.set(if may { Parking::Possible } else { Parking::No });
    }

    /// Its task was asked to park it, and it is still at rest.
    pub(in crate::server) fn is_to_be_parked(&self) -> bool {
        if self.parking.get() != Parking::Asked {
            return false;
        }
        self.parking.set(Parking::Possible);
        self.is_at_rest()
    }

    /// It has asked for something before.
    pub(in crate::server) fn has_asked(&self) -> bool {
        self.asked.get()
    }

    /// Between two requests, with everything flushed: the engine knows nothing that must outlive it.
    pub(in crate::server) fn is_at_rest(&self) -> bool {
        let asks = self.active.get() > 0 || self.has_more_to_ask() || self.in_body.get();
        let ends = self.left.get() || self.refused.get().is_some() || self.upgraded.borrow().is_some();
        !asks && !ends && self.unflushed.borrow().is_empty()
    }

    pub(super) fn has_long_been_at_rest(&self, now: Instant) -> bool {
        self.parking.get() == Parking::Possible
            && now.saturating_duration_since(self.quiet_since.get()) >= PARK_AFTER
            && self.is_at_rest()
    }

    pub(super) fn ask_to_park(&self) {
        self.parking.set(Parking::Asked);
        let waker = self.waker.borrow_mut().take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// The core's tick, for a parked client: true if it is one, and nothing else is to be looked at.
    pub(in crate::server) fn sweep_parked(&self, now: Instant) -> bool {
        if self.parking.get() != Parking::Done {
            return false;
        }
        if self.deadline.get().is_some_and(|deadline| now >= deadline) {
            self.kill(Reason::RequestTimeout);
        } else if self.should_leave() {
            self.leave_when_quiet(now);
        }
        true
    }
}
