//! Who is worked on when: workers, queues, the cold cache and the shared database, in simulated time.
//!
//! Pure: it takes the time since its start and a seed. A worker that becomes free begins the next request at the
//! moment when the last one ended, not when somebody looked, so that a busy origin does exactly what its knobs
//! say on however slow a machine. A client that leaves frees nothing: that is the worst case of HTTP/1.1.

use super::knobs::{Cold, Database, Fault, Knobs, Manner, Seen, Service};
use fastrand::Rng;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

/// Requests that may wait at one backend; more are turned away.
const MAX_WAITING: usize = 100_000;

/// One request.
pub type Ticket = u64;

/// The origins of one fleet.
pub struct Model {
    backends: Vec<Backend>,
    database: Option<Desk>,
    rng: Rng,
    next: Ticket,
    events: BinaryHeap<Reverse<(Duration, Ticket, Phase)>>,
    /// Requests in hand, by the backend that has them.
    held: HashMap<Ticket, Held>,
    done: Vec<(Ticket, Option<Fault>)>,
}

struct Backend {
    knobs: Knobs,
    busy: usize,
    begun: u64,
    waiting: VecDeque<Ticket>,
    seen: Seen,
}

struct Held {
    backend: usize,
    fault: Option<Fault>,
    lost: bool,
}

/// The database's.
struct Desk {
    settings: Database,
    busy: usize,
    waiting: VecDeque<Ticket>,
}

/// What ends at an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Work,
    Query,
    Way,
}

impl Model {
    /// No backend yet.
    pub fn new(seed: u64, database: Option<Database>) -> Model {
        let desk = |settings| Desk { settings, busy: 0, waiting: VecDeque::new() };
        Model {
            backends: Vec::new(),
            database: database.map(desk),
            rng: Rng::with_seed(seed),
            next: 0,
            events: BinaryHeap::new(),
            held: HashMap::new(),
            done: Vec::new(),
        }
    }

    /// One more backend; returns its number.
    pub fn add(&mut self, knobs: Knobs) -> usize {
        let waiting = VecDeque::new();
        self.backends.push(Backend { knobs, busy: 0, begun: 0, waiting, seen: Seen::default() });
        self.backends.len() - 1
    }

    /// How a backend is set.
    pub fn knobs(&self, backend: usize) -> &Knobs {
        &self.backends[backend].knobs
    }

    /// What a backend has seen by now, also if nobody looked meanwhile.
    pub fn seen(&mut self, backend: usize, now: Duration) -> Seen {
        self.settle(now);
        self.backends[backend].seen
    }

    /// Lets peaks begin with what is in hand.
    pub fn forget_peaks(&mut self, now: Duration) {
        self.settle(now);
        self.backends.iter_mut().for_each(|it| it.seen.peak = it.seen.in_flight);
    }

    /// Sets a backend; a new boot id is a new process, whose cache is cold.
    pub fn set(&mut self, backend: usize, knobs: Knobs, now: Duration) {
        self.settle(now);
        let it = &mut self.backends[backend];
        if it.knobs.boot != knobs.boot {
            it.begun = 0;
        }
        it.knobs = knobs;
        if it.knobs.manner != Manner::Serves {
            let waiting = std::mem::take(&mut it.waiting);
            waiting.iter().for_each(|ticket| self.lose(*ticket));
        }
        self.begin(backend, now);
    }

    /// A request comes in; `None` if too many wait.
    pub fn arrive(&mut self, backend: usize, now: Duration) -> Option<Ticket> {
        self.settle(now);
        let it = &mut self.backends[backend];
        it.seen.total += 1;
        if it.waiting.len() >= MAX_WAITING {
            return None;
        }
        it.seen.in_flight += 1;
        it.seen.peak = it.seen.peak.max(it.seen.in_flight);
        let fault = it.knobs.fault.filter(|(share, _)| self.rng.f64() < *share).map(|(_, fault)| fault);
        let leaks = it.knobs.leaks_above.is_some_and(|most| it.seen.in_flight > most);
        let fault = if leaks { Some(Fault::Status(500)) } else { fault };
        self.next += 1;
        let ticket = self.next;
        let lost = it.knobs.manner != Manner::Serves;
        self.held.insert(ticket, Held { backend, fault, lost });
        if !lost {
            it.waiting.push_back(ticket);
            self.begin(backend, now);
        }
        Some(ticket)
    }

    /// Its client left. The work goes on; only what was never to be answered ends here.
    pub fn abandon(&mut self, ticket: Ticket) {
        let Some(held) = self.held.get(&ticket) else { return };
        let (backend, lost) = (held.backend, held.lost);
        self.backends[backend].seen.aborted += 1;
        if lost {
            self.held.remove(&ticket);
            self.backends[backend].seen.in_flight -= 1;
        }
    }

    /// When something happens next.
    pub fn due(&self) -> Option<Duration> {
        self.events.peek().map(|Reverse((at, ..))| *at)
    }

    /// What is ready to be answered by now, and how it fails.
    pub fn ready(&mut self, now: Duration) -> Vec<(Ticket, Option<Fault>)> {
        self.settle(now);
        std::mem::take(&mut self.done)
    }

    fn lose(&mut self, ticket: Ticket) {
        if let Some(held) = self.held.get_mut(&ticket) {
            held.lost = true;
        }
    }

    /// Lets everything happen that was due by `now`, each at its own moment.
    fn settle(&mut self, now: Duration) {
        while let Some(Reverse((at, ticket, phase))) = self.events.peek().copied().filter(|e| e.0.0 <= now) {
            self.events.pop();
            match phase {
                Phase::Work if self.database.is_some() => self.ask_database(ticket, at),
                Phase::Work => self.leave_worker(ticket, at),
                Phase::Query => {
                    let desk = self.database.as_mut();
                    desk.expect("a query ends where there is a database").busy -= 1;
                    self.begin_queries(at);
                    self.leave_worker(ticket, at);
                }
                Phase::Way => self.finish(ticket),
            }
        }
    }

    /// Gives free workers of a backend to those who wait.
    fn begin(&mut self, backend: usize, at: Duration) {
        let it = &mut self.backends[backend];
        while it.busy < it.knobs.workers {
            let Some(ticket) = it.waiting.pop_front() else { return };
            it.busy += 1;
            let cold = it.knobs.cold.filter(|cold| it.begun < cold.requests);
            let cold = cold.map_or(1.0, |Cold { factor, .. }| factor);
            it.begun += 1;
            let time = draw(it.knobs.service, &mut self.rng).mul_f64(it.knobs.slowdown * cold);
            self.events.push(Reverse((at + time, ticket, Phase::Work)));
        }
    }

    fn ask_database(&mut self, ticket: Ticket, at: Duration) {
        if let Some(desk) = &mut self.database {
            desk.waiting.push_back(ticket);
        }
        self.begin_queries(at);
    }

    fn begin_queries(&mut self, at: Duration) {
        let Some(desk) = &mut self.database else { return };
        while desk.busy < desk.settings.workers {
            let load = desk.busy + desk.waiting.len();
            let Some(ticket) = desk.waiting.pop_front() else { return };
            desk.busy += 1;
            let thrash = (load as f64 / desk.settings.thrashes_above.max(1) as f64).max(1.0);
            self.events.push(Reverse((at + desk.settings.query.mul_f64(thrash), ticket, Phase::Query)));
        }
    }

    /// The worker is free; the answer may still have a way to go.
    fn leave_worker(&mut self, ticket: Ticket, at: Duration) {
        let Some(held) = self.held.get(&ticket) else { return };
        let backend = held.backend;
        let it = &mut self.backends[backend];
        it.busy -= 1;
        match it.knobs.latency {
            Duration::ZERO => self.finish(ticket),
            latency => self.events.push(Reverse((at + latency, ticket, Phase::Way))),
        }
        self.begin(backend, at);
    }

    fn finish(&mut self, ticket: Ticket) {
        let Some(held) = self.held.remove(&ticket) else { return };
        let seen = &mut self.backends[held.backend].seen;
        seen.in_flight -= 1;
        seen.served += 1;
        self.done.push((ticket, held.fault));
    }
}

fn draw(service: Service, rng: &mut Rng) -> Duration {
    match service {
        Service::Constant(time) => time,
        Service::Lognormal { median, sigma } => median.mul_f64((sigma * normal(rng)).exp()),
    }
}

/// A normal number by Box and Muller.
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

#[cfg(test)]
mod tests;
