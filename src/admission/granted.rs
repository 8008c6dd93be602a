//! What an admitted request holds: one permit of its route, one of its upstream, one place at a backend.

use crate::admission::RouteGate;
use crate::balancing::{Place, Seated};
use crate::permit::Permit;
use std::rc::Rc;

/// The permits of one admitted request.
#[derive(Debug)]
pub struct Granted {
    // Dropped in this order: whoever is woken by `inside` finds the place free.
    place: Permit<Place>,
    pub(super) inside: Inside,
}

impl Granted {
    pub(super) fn new(place: Permit<Place>, inside: Inside) -> Self {
        Granted { place, inside }
    }
}

impl Seated for Granted {
    fn place(&self) -> &Place {
        self.place.owner()
    }

    fn move_to(&mut self, place: Permit<Place>) {
        self.place = place;
        // The place that came free may be what somebody waits for.
        let state = &self.inside.0.gate.state;
        if state.shared.line.waiting.get() > 0 {
            state.wake();
        }
    }
}

/// One in flight through a route and its upstream; wakes a waiter when it leaves.
#[derive(Debug)]
pub(super) struct Inside(pub(super) Rc<RouteGate>);

impl Inside {
    /// Both counters have been taken.
    pub(super) fn new(route: Rc<RouteGate>) -> Self {
        Inside(route)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.counts.in_flight.release();
        let state = &self.0.gate.state;
        if state.shared.line.release() {
            state.wake();
        }
    }
}
