//! One gateway of one core: the real cores of the crate, put together as `admission.rs`, `admission/wait.rs`,
//! `balancing/places.rs` and `balancing.rs` put them together, with simulated time instead of the clock.
//!
//! What is here is glue: it counts, asks a core, and does what it says. It does not decide.

use crate::events::Clock;
use crate::limit::Limit;
use crate::scene::Settings;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tidegate::admission::class_limit;
use tidegate::admission::latency::Latency;
use tidegate::admission::line::Line;
use tidegate::admission::patience::Patience;
use tidegate::admission::queue::{Queue, Ticket};
use tidegate::balancing::ewma::PeakEwma;
use tidegate::balancing::picker::{self, Load, Picked};
use tidegate::balancing::rate::Rate;
use tidegate::balancing::shares::{Presence, Shares, Standing, whole};
use tidegate::permit::Counter;
use tidegate::reject::Reason;
use tidegate::request::Class;
use tidegate::telemetry::cells::CoreId;
use tidegate::upstream::vitals::{Blame, Dial, Established, Vitals};

/// There is one.
const CORE: CoreId = CoreId(0);

/// What a gateway keeps of one backend.
pub struct Seat {
    in_flight: Counter,
    latency: PeakEwma,
    rate: Rate,
    /// What it noticed of the backend.
    pub vitals: Arc<Vitals>,
    connections: Vec<Established>,
    /// Failures ever.
    pub failed: u64,
    /// Answers ever.
    pub answered: u64,
    /// How long they took, together.
    pub latency_ns: u64,
}

/// What became of a request that arrived.
pub enum Arrival {
    /// It goes to this backend.
    Sent(usize),
    /// It stands in line.
    Waits(Ticket),
    /// It was refused.
    Shed,
}

/// One gateway.
pub struct Gateway {
    settings: Settings,
    clock: Clock,
    line: Line,
    queue: Queue<u32>,
    patience: Patience,
    granted: u64,
    latency: Latency,
    rng: fastrand::Rng,
    /// The backends as it sees them.
    pub seats: Vec<Seat>,
    /// The limit that finds itself.
    pub limit: Limit,
    /// What each of them may carry now.
    pub shares: Shares,
    /// Refused ever.
    pub sheds: u64,
    /// Slots that are kept for nobody, oldest first.
    pub zombies: VecDeque<u32>,
}

/// There is no room, and whether that may change while one waits.
struct Full {
    may_wait: bool,
}

impl Gateway {
    /// Nothing in flight.
    pub fn new(settings: &Settings, backends: usize, clock: Clock, seed: u64) -> Self {
        let seat = || Seat {
            in_flight: Counter::default(),
            latency: PeakEwma::default(),
            rate: Rate::default(),
            vitals: Arc::default(),
            connections: Vec::new(),
            failed: 0,
            answered: 0,
            latency_ns: 0,
        };
        let warm = Standing {
            percent: 100.0,
            reference: f64::from(settings.backend_cap),
            settled: true,
            rate: None,
            cap: settings.backend_cap,
            weight: 100,
            presence: Presence::In,
            away: None,
        };
        Gateway {
            settings: settings.clone(),
            clock,
            line: Line::new(1),
            queue: Queue::default(),
            patience: Patience::new(clock.at(0), 0, 0),
            granted: 0,
            latency: Latency::default(),
            rng: fastrand::Rng::with_seed(seed),
            seats: (0..backends).map(|_| seat()).collect(),
            limit: Limit::new(settings, backends),
            shares: Shares::of(&vec![warm; backends], None),
            sheds: 0,
            zombies: VecDeque::new(),
        }
    }

    /// In flight, zombies included.
    pub fn in_flight(&self) -> u32 {
        self.line.in_flight.get()
    }

    /// In flight at one backend.
    pub fn in_flight_at(&self, backend: usize) -> u32 {
        self.seats[backend].in_flight.get()
    }

    /// What it may hold now, without the limit that finds itself.
    fn bound(&self) -> u32 {
        let cap = self.settings.cap;
        self.shares.total.map_or(cap, |total| total.min(cap))
    }

    /// A request of a class arrives (`RouteGate::admit` and `wait::wait` until the first pause).
    pub fn arrive(&mut self, request: u32, class: Class, now: u64) -> Arrival {
        let full = if self.line.waiting.get() > 0 {
            if self.limit.now() <= self.bound() {
                self.limit.bit();
            }
            Full { may_wait: true }
        } else {
            match self.try_admit(class, now) {
                Ok(backend) => {
                    if !self.patience.is_calm() {
                        self.patience.had_room();
                    }
                    return Arrival::Sent(backend);
                }
                Err(full) => full,
            }
        };
        if !full.may_wait || self.settings.max_waiting == 0 {
            return Arrival::Shed;
        }
        let instant = self.clock.at(now);
        self.patience.look(instant, self.line.released(), self.granted);
        let (place, wait) = (self.queue.ahead_of(class) + 1, self.settings.max_wait);
        let hopeful = self.patience.verdict(instant, place, wait, wait).is_ok();
        if hopeful && self.line.join(0, class as usize, self.settings.max_waiting) {
            Arrival::Waits(self.queue.push(class, request))
        } else {
            Arrival::Shed
        }
    }

    /// Serves the first in line if there is room: whom, and where it goes, or nowhere (`wait::serve`).
    pub fn serve(&mut self, classes: impl Fn(u32) -> Class, now: u64) -> Option<(u32, Option<usize>)> {
        let request = *self.queue.peek()?;
        let class = classes(request);
        let outcome = match self.try_admit(class, now) {
            Ok(backend) => Some(backend),
            Err(full) if !full.may_wait => None,
            Err(_) => return None,
        };
        self.queue.pop();
        self.line.leave(0, class as usize);
        Some((request, outcome))
    }

    /// A request gives up waiting; false when it waits no more.
    pub fn leave(&mut self, ticket: Ticket, class: Class) -> bool {
        let waited = self.queue.leave(ticket).is_some();
        if waited {
            self.line.leave(0, class as usize);
        }
        waited
    }

    /// `RouteGate::try_admit`.
    fn try_admit(&mut self, class: Class, now: u64) -> Result<usize, Full> {
        let bound = self.bound();
        let limit = bound.min(self.limit.now());
        if !self.line.in_flight.try_acquire(class_limit(limit, class, Class::Default)) {
            if self.limit.now() <= bound {
                self.limit.bit();
            }
            let ramped = bound < self.settings.cap && bound <= limit;
            return Err(Full { may_wait: !ramped || self.has_warm() });
        }
        match self.reserve(now, None) {
            Ok(backend) => {
                self.granted += 1;
                self.limit.held(self.line.in_flight.get());
                Ok(backend)
            }
            Err(full) => {
                self.line.in_flight.release();
                Err(full)
            }
        }
    }

    /// Another backend for a request that provably was not sent (`CoreCluster::another`). Its place is taken.
    pub fn another(&mut self, not: usize, now: u64) -> Option<usize> {
        self.reserve(now, Some(not)).ok()
    }

    /// `CoreCluster::reserve_within`.
    fn reserve(&mut self, now: u64, not: Option<usize>) -> Result<usize, Full> {
        let mut ramp_is_full = false;
        loop {
            let Gateway { rng, seats, shares, .. } = self;
            let load = |index: usize| look(&seats[index], shares, index, now, ramp_is_full);
            match picker::pick(rng, seats.len(), load, not) {
                Picked::Backend(index) => match self.try_place(index, now) {
                    Some(true) => return Ok(index),
                    Some(false) => {}
                    None => ramp_is_full = true,
                },
                Picked::NoneEligible => return Err(Full { may_wait: false }),
                Picked::AllFull => {
                    let cap = self.settings.backend_cap;
                    let mut open = self.seats.iter().zip(&self.shares.of).filter(|(_, share)| share.cap > 0);
                    let denied = self.shares.are_bound() && open.any(|(seat, _)| seat.in_flight.get() < cap);
                    return Err(Full { may_wait: !denied || self.has_warm() });
                }
            }
        }
    }

    /// `CoreCluster::try_place`; nothing when what all ramped backends may hold together is taken.
    fn try_place(&mut self, index: usize, now: u64) -> Option<bool> {
        let (seat, share) = (&self.seats[index], &self.shares.of[index]);
        if !seat.in_flight.try_acquire(share.cap) {
            return Some(false);
        }
        let Some(ramped) = share.ramped else { return Some(true) };
        let all =
            self.seats.iter().zip(&self.shares.of).filter_map(|(seat, share)| Some((seat, share.ramped?)));
        let (mut held, mut quota) = (0, Vec::new());
        for (seat, ramped) in all {
            held += seat.in_flight.get();
            quota.push(ramped.quota_micro);
        }
        if held > whole(quota.into_iter()) {
            seat.in_flight.release();
            return None;
        }
        let may_begin = ramped.interval_ns.is_none_or(|interval| seat.rate.take(now, interval));
        if !may_begin {
            seat.in_flight.release();
        }
        Some(may_begin)
    }

    fn has_warm(&self) -> bool {
        self.shares.of.iter().any(|share| share.cap > 0 && share.ramped.is_none())
    }

    /// Connects to a backend where it must; false when nobody listens there.
    pub fn connect(&mut self, backend: usize, is_down: bool) -> bool {
        let seat = &mut self.seats[backend];
        if seat.connections.len() >= seat.in_flight.get() as usize {
            return true;
        }
        seat.vitals.dialled(if is_down { Dial::Refused } else { Dial::Connected });
        if !is_down {
            seat.connections.push(Established::new(&seat.vitals));
        }
        !is_down
    }

    /// All connections to a backend end.
    pub fn disconnected(&mut self, backend: usize) {
        let seat = &mut self.seats[backend];
        let at_work = seat.in_flight.get() as usize;
        for (index, connection) in seat.connections.drain(..).enumerate() {
            seat.vitals.lost(index < at_work);
            drop(connection);
        }
    }

    /// The answer's head of a request came from a process with this boot id.
    pub fn answered(&mut self, backend: usize, rtt: u64, boot: Option<u32>, now: u64) {
        let seat = &mut self.seats[backend];
        seat.latency.record(now, rtt);
        seat.vitals.succeeded(CORE);
        seat.answered += 1;
        seat.latency_ns += rtt;
        if let Some(boot) = boot {
            seat.vitals.booted(&boot.to_be_bytes());
        }
        self.latency.record(Duration::from_nanos(rtt));
        self.limit.answered(rtt);
    }

    /// A request failed, and its backend is to blame.
    pub fn failed(&mut self, backend: usize, (reason, took): (Reason, u64), now: u64) {
        let seat = &mut self.seats[backend];
        match reason {
            Reason::Timeout => seat.latency.record(now, took),
            Reason::ConnectFailed => seat.latency.absent(now),
            _ => seat.latency.failure(now, took),
        }
        seat.vitals.failed(CORE, Blame::Reason(reason));
        seat.failed += 1;
        self.limit.failed();
    }

    /// A request leaves its backend, but not yet the gate: it goes to another one, or ends.
    pub fn vacate(&mut self, backend: usize) {
        self.seats[backend].in_flight.release();
    }

    /// A request ends. True when somebody waits, who is then served.
    pub fn end(&mut self) -> bool {
        self.line.release()
    }

    /// A request lingers whose client is gone: how long, and which one is let go early for it
    /// (`RouteGate::request_lingers`).
    pub fn linger(&mut self, request: u32) -> (u64, Option<u32>) {
        self.zombies.push_back(request);
        let limit = self.bound().min(self.limit.now());
        let most = limit.saturating_sub((limit / 10).max(1));
        let early = if self.zombies.len() > most as usize { self.zombies.pop_front() } else { None };
        let longest = Duration::from_secs(10);
        let limit =
            self.latency.p99().map_or(longest, |p99| (p99 * 2).clamp(Duration::from_millis(100), longest));
        (limit.as_nanos() as u64, early)
    }

    /// A backend is another process now: how fast the one before it answered says nothing of it.
    pub fn forget(&mut self, backend: usize) {
        self.seats[backend].latency = PeakEwma::default();
    }

    /// Old response times fade, as they do every ten seconds.
    pub fn fade(&mut self) {
        self.latency.fade();
    }
}

/// `CoreCluster::look`.
fn look(seat: &Seat, shares: &Shares, index: usize, now: u64, ramp_is_full: bool) -> Load {
    let share = &shares.of[index];
    let ahead = |interval: u64| !seat.rate.has_room(now, interval);
    let held = share.ramped.is_some_and(|ramped| ramp_is_full || ramped.interval_ns.is_some_and(ahead));
    Load {
        inflight: if held { u32::MAX } else { seat.in_flight.get() },
        cap: share.cap,
        weight: share.weight,
        ewma_ns: seat.latency.get(now),
        eligible: share.cap > 0,
    }
}
