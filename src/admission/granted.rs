//! What an admitted request holds. Of the gate: one permit of its route, one of its upstream, one place at a
//! backend. A stream holds only a place among the streams of a backend: it is outside the gate (`design.md`,
//! "Long and slow exchanges"). The way from a request to its backend is the same for both.

use crate::admission::RouteGate;
use crate::balancing::{Bound, Place, Seated};
use crate::permit::Permit;
use crate::reject::{Reason, Reject};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

/// What one admitted request holds.
#[derive(Debug)]
pub struct Granted {
    // Dropped in this order: whoever is woken by `inside` finds the place free.
    place: Permit<Place>,
    pub(super) inside: Inside,
    /// On whose behalf, in case it leaves.
    pub(super) client: IpAddr,
    /// Since when, if somebody may ask: a zombie has nothing else left that could tell.
    pub(super) since: Option<Instant>,
}

/// Which bound it is inside of.
#[derive(Debug)]
pub(super) enum Inside {
    Gate(Through),
    Streams(Rc<RouteGate>),
}

impl Granted {
    pub(super) fn request(place: Permit<Place>, through: Through, client: IpAddr) -> Self {
        Granted { place, inside: Inside::Gate(through), client, since: None }
    }

    pub(super) fn stream(place: Permit<Place>, route: Rc<RouteGate>, client: IpAddr) -> Self {
        Granted { place, inside: Inside::Streams(route), client, since: None }
    }

    /// It is held since the request's head was complete.
    pub fn held_since(&mut self, since: Instant) {
        self.since = Some(since);
    }

    /// It is outside the gate, among the streams.
    pub fn is_stream(&self) -> bool {
        matches!(self.inside, Inside::Streams(_))
    }

    /// Takes a place among the streams of a backend, for a request that may become a tunnel. The request moves to
    /// that backend if it has room there: tunnels go where tunnels are few.
    ///
    /// # Errors
    /// `backend_limit` when there is none where the request may be, `no_backend` when there is none to try.
    pub fn reserve_stream(&mut self) -> Result<Granted, Reason> {
        let mine = self.place.owner();
        let mut stream = mine.cluster().reserve(Bound::Streams, None).map_err(|none| none.reason)?;
        if !stream.owner().is_beside(mine) {
            match Place::beside(stream.owner(), Bound::Requests) {
                Some(place) => self.move_to(place),
                None => stream = Place::beside(mine, Bound::Streams).ok_or(Reason::BackendLimit)?,
            }
        }
        let since = self.since;
        Ok(Granted { since, ..Granted::stream(stream, self.inside.route().clone(), self.client) })
    }

    /// The place of a stream, at the backend where `request` is now: it may have gone to another one since the
    /// place was taken.
    ///
    /// # Errors
    /// `backend_limit` when that backend has no room for it.
    pub fn follow(mut self, request: &Granted) -> Result<Granted, Reject> {
        let seat = request.place.owner();
        if !self.place.owner().is_beside(seat) {
            let full = || self.inside.route().no_room_for_stream(Reason::BackendLimit);
            self.place = Place::beside(seat, Bound::Streams).ok_or_else(full)?;
        }
        Ok(self)
    }
}

impl Inside {
    pub(super) fn route(&self) -> &Rc<RouteGate> {
        match self {
            Inside::Gate(through) => &through.0,
            Inside::Streams(route) => route,
        }
    }
}

impl Seated for Granted {
    fn place(&self) -> &Place {
        self.place.owner()
    }

    fn move_to(&mut self, place: Permit<Place>) {
        self.place = place;
        // The place that came free may be what somebody waits for; nobody waits for a stream's.
        let state = &self.inside.route().gate.state;
        if !self.is_stream() && state.shared.line.waiting.get() > 0 {
            state.wake();
        }
    }
}

/// One in flight through a route and its upstream; wakes a waiter when it leaves.
#[derive(Debug)]
pub(super) struct Through(Rc<RouteGate>);

impl Through {
    /// Both counters have been taken.
    pub(super) fn new(route: Rc<RouteGate>) -> Self {
        Through(route)
    }
}

impl Drop for Through {
    fn drop(&mut self) {
        self.0.leave_parts();
        self.0.counts.in_flight.release();
        let state = &self.0.gate.state;
        if state.shared.line.release() {
            state.wake();
        }
    }
}
