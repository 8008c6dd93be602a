//! Is there room now? A request takes its permits (route, class, upstream, a place at a backend) in one step,
//! waits only while waiting will probably help, or is refused at once with a reason.
//!
//! Counts are shared by all cores and live as long as a name; limits belong to a version. Lines of waiters
//! are a core's own; a freed permit serves a waiter of its own core first and rings another core's bell only
//! when somebody waits there. Streams take a place at a backend only, outside all of this. What a client or a
//! deadline leaves behind keeps its permit as a zombie for a while, and a client that leaves too much behind is
//! refused. Nothing here touches the network.

pub mod aborts;
pub mod adaptive;
pub mod cohorts;
mod gate;
pub mod granted;
mod lasting;
pub mod latency;
pub mod line;
pub mod patience;
pub mod queue;
mod refusal;
pub mod samples;
pub mod settings;
mod streams;
mod wait;
mod zombies;

pub use gate::{Gate, UpstreamPart, class_limit, stays_out};
pub use granted::Granted;
pub use lasting::{CoreState, Shared};

use crate::admission::adaptive::board::Said;
use crate::balancing::shares::Shares;
use crate::balancing::{Bound, NoPlace};
use crate::permit::{Counter, Part, Permit};
use crate::reject::{Reason, Reject};
use crate::request::Class;
use http::HeaderMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What outlives versions of one route, shared by all cores.
#[derive(Debug, Default)]
pub struct RouteCounts {
    /// In flight, zombies included.
    pub in_flight: Counter,
    /// Permits whose client or deadline is gone.
    pub zombies: Counter,
    /// In flight while their clients still wait for leave to send, or send.
    pub expecting: Arc<Counter>,
}

/// One route's way through its upstream's gate.
#[derive(Debug)]
pub struct RouteGate {
    name: Arc<str>,
    gate: Rc<Gate>,
    counts: Arc<RouteCounts>,
    /// What a candidate may hold of it, beside the stable version.
    part: Option<Part>,
    max_in_flight: u32,
    class: Class,
    class_limit: u32,
}

/// Why there is no room, and whether that may change while one waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Full {
    reason: Reason,
    may_wait: bool,
}

impl Full {
    /// What is full is the upstream, and neither one route of it nor what a lower class may fill.
    fn is_limit(self) -> bool {
        matches!(self.reason, Reason::UpstreamLimit | Reason::BackendLimit)
    }
}

impl RouteGate {
    /// A route's way: `counts` live under the route's name; `part` is what a candidate may hold of them.
    pub fn new(
        name: Arc<str>,
        gate: Rc<Gate>,
        (counts, part): (Arc<RouteCounts>, Option<Part>),
        max_in_flight: u32,
        class: Class,
    ) -> Rc<Self> {
        let class_limit = class_limit(gate.settings.max_in_flight, class, gate.highest);
        Rc::new(RouteGate { name, gate, counts, part, max_in_flight, class, class_limit })
    }

    /// The same way for a request that its sender tries again: it counts as of the next lower class, so that it is
    /// refused before those that ask for the first time.
    pub fn lowered(&self) -> Rc<Self> {
        let (name, gate, counts) = (self.name.clone(), self.gate.clone(), self.counts.clone());
        RouteGate::new(name, gate, (counts, self.part.clone()), self.max_in_flight, self.class.lower())
    }

    /// The upstream's gate.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The right to be sent to a backend before its body is there, because the client asks whether it may send it.
    /// A quarter of the route's bound, so that those who then drip cannot take all of it.
    pub fn expect(&self) -> Option<Permit<Arc<Counter>>> {
        Permit::try_new(self.counts.expecting.clone(), (self.max_in_flight / 4).max(1))
    }

    /// When the route's requests are shed.
    pub fn class(&self) -> Class {
        self.class
    }

    /// While a ramp binds the upstream, only those clients are let in whose turn it is.
    ///
    /// # Errors
    /// `ramp`; it has cost the upstream nothing, and no filter either.
    #[inline]
    pub fn choose(&self, client: IpAddr, headers: &HeaderMap) -> Result<(), Reject> {
        if self.gate.cluster.shares().are_bound() { self.choose_among(client, headers) } else { Ok(()) }
    }

    #[cold]
    fn choose_among(&self, client: IpAddr, headers: &HeaderMap) -> Result<(), Reject> {
        let state = &self.gate.state;
        if state.shared.cohorts.lets_in(self.gate.cluster.settings().ramp.cohort.key(client, headers)) {
            return Ok(());
        }
        state.sheds.borrow_mut().asked();
        state.sheds.borrow_mut().shed();
        self.gate.shed(self.class, Reason::Ramp);
        Err(self.refusal(Reason::Ramp))
    }

    /// What a ramp leaves is chosen by what became of those who count most.
    fn note_room(&self, room: bool) {
        if self.class == self.gate.highest && self.gate.cluster.shares().are_bound() {
            self.gate.state.shared.cohorts.found_room(room);
        }
    }

    /// Takes all permits for `client`, or waits for them within `deadline`, or is refused.
    ///
    /// # Errors
    /// A shed with its reason, or `client_aborts`. It has cost the upstream nothing.
    pub async fn admit(self: &Rc<Self>, deadline: Instant, client: IpAddr) -> Result<Granted, Reject> {
        let state = &self.gate.state;
        if state.shared.aborts.too_many(client, self.gate.settings.max_in_flight) {
            return Err(self.aborts_too_often());
        }
        state.sheds.borrow_mut().asked();
        // Nobody overtakes those who wait already.
        let full = if state.shared.line.is_queued(self.gate.is_guest()) {
            self.gate.note_limited(&self.gate.cluster.shares());
            Full { reason: Reason::UpstreamLimit, may_wait: true }
        } else {
            match self.try_admit(client) {
                Ok(granted) => {
                    self.note_room(true);
                    if !state.patience.borrow().is_calm() {
                        state.patience.borrow_mut().had_room();
                    }
                    return Ok(granted);
                }
                Err(full) => full,
            }
        };
        if full.is_limit() {
            self.gate.cluster.limited();
        }
        let result = if full.may_wait {
            wait::wait(self, client, full.reason, deadline).await
        } else {
            Err(full.reason)
        };
        self.note_room(result.is_ok());
        result.map_err(|reason| {
            self.gate.shed(self.class, reason);
            state.sheds.borrow_mut().shed();
            self.refusal(reason)
        })
    }

    /// Takes all permits if there is room now. Bounds are tried in the order in which they name the reason:
    /// route, class, upstream, backend.
    fn try_admit(self: &Rc<Self>, client: IpAddr) -> Result<Granted, Full> {
        let no = |reason, may_wait| Err(Full { reason, may_wait });
        self.enter_parts()?;
        if !self.counts.in_flight.try_acquire(self.max_in_flight) {
            self.leave_parts();
            return if self.has_own_bound() {
                no(Reason::RouteLimit, false)
            } else {
                Err(self.upstream_is_full(&self.gate.cluster.shares()))
            };
        }
        let line = &self.gate.state.shared.line;
        let shares = self.gate.cluster.shares();
        let said = self.gate.said();
        let (limit, class_limit) = self.limits(&shares, said);
        if !line.in_flight.try_acquire(class_limit) {
            self.counts.in_flight.release();
            self.leave_parts();
            self.gate.note_limited(&shares);
            return if class_limit < limit && line.in_flight.get() < limit {
                no(Reason::ClassLimit, false)
            } else {
                Err(self.upstream_is_full(&shares))
            };
        }
        match self.gate.cluster.reserve_within(&shares, Bound::Requests, None) {
            Ok(place) => {
                let granted = &self.gate.state.granted;
                granted.set(granted.get() + 1);
                self.gate.note_entry(said, self.class);
                Ok(Granted::request(place, granted::Through::new(self.clone()), client))
            }
            Err(NoPlace { reason, may_wait }) => {
                // Not a release, and it wakes nobody: whoever failed because of this moment's count is behind
                // backends that are full, and the next release is theirs.
                line.in_flight.release();
                self.counts.in_flight.release();
                self.leave_parts();
                no(reason, may_wait)
            }
        }
    }

    /// A route alone with its upstream has none: what is full then is the upstream.
    fn has_own_bound(&self) -> bool {
        self.max_in_flight < self.gate.settings.max_in_flight
    }

    /// A candidate's request is one of its route's part and of its upstream's; others need none.
    #[inline]
    fn enter_parts(&self) -> Result<(), Full> {
        if self.part.as_ref().is_some_and(|part| !part.try_acquire()) {
            return Err(match self.has_own_bound() {
                true => Full { reason: Reason::RouteLimit, may_wait: false },
                false => Full { reason: Reason::UpstreamLimit, may_wait: true },
            });
        }
        if self.gate.part.as_ref().is_some_and(|part| !part.in_flight.try_acquire()) {
            self.part.iter().for_each(Part::leave);
            return Err(Full { reason: Reason::UpstreamLimit, may_wait: true });
        }
        Ok(())
    }

    #[inline]
    fn leave_parts(&self) {
        self.part.iter().for_each(Part::leave);
        self.gate.part.iter().for_each(|part| part.in_flight.leave());
    }

    /// What stopped a request at the upstream: its cap or the limit that finds itself, or below that a ramp. Where
    /// every backend is ramped or drained it is the ramp also above the cap: what ends there makes no room below the
    /// ramp, so nobody waits for it.
    #[cold]
    fn upstream_is_full(&self, shares: &Shares) -> Full {
        let in_flight = self.gate.state.shared.line.in_flight.get();
        let open = self.gate.open(self.gate.said());
        let ramped = shares.total.is_some_and(|total| total < open);
        let may_wait = !ramped || self.gate.cluster.has_warm(shares);
        let reason =
            if ramped && (in_flight < open || !may_wait) { Reason::Ramp } else { Reason::UpstreamLimit };
        Full { reason, may_wait }
    }

    /// What the upstream may hold now, and what the route's class may fill of it. What is left below the cap, by a
    /// ramp or by the limit that finds itself, classes share.
    fn limits(&self, shares: &Shares, said: Said) -> (u32, u32) {
        let cap = self.gate.settings.max_in_flight;
        let open = self.gate.open(said);
        let limit = shares.total.map_or(open, |total| total.min(open));
        if shares.low_classes_out && stays_out(self.class, self.gate.highest) {
            return (limit, 0);
        }
        match limit {
            limit if limit < cap => (limit, class_limit(limit, self.class, self.gate.highest)),
            _ => (cap, self.class_limit),
        }
    }

    fn max_wait(&self) -> Duration {
        self.gate.settings.max_wait
    }
}
