//! Is there room now? A request takes its permits (route, class, upstream, a place at a backend) in one step,
//! waits only while waiting will probably help, or is refused at once with a reason.
//!
//! Counts are shared by all cores and live as long as a name; limits belong to a version. Lines of waiters
//! are a core's own; a freed permit serves a waiter of its own core first and rings another core's bell only
//! when somebody waits there. Nothing here touches the network.

pub mod granted;
pub mod line;
pub mod patience;
pub mod queue;
pub mod settings;
mod wait;

pub use granted::Granted;

use crate::admission::line::Line;
use crate::admission::patience::Patience;
use crate::admission::queue::Queue;
use crate::admission::settings::Settings;
use crate::admission::wait::Waiter;
use crate::balancing::CoreCluster;
use crate::permit::{Counter, Permit};
use crate::reject::{Reason, Reject};
use crate::request::Class;
use crate::runtime::bells::Bells;
use crate::telemetry::cells::CoreId;
use crate::telemetry::events::ShedNotices;
use crate::telemetry::metrics::UpstreamMetrics;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What outlives versions of one upstream, shared by all cores.
#[derive(Debug)]
pub struct Shared {
    /// In flight and waiting.
    pub line: Line,
    /// Permits whose client or deadline is gone; part of those in flight.
    pub zombies: Counter,
    /// Sheds in the log.
    notices: ShedNotices,
}

impl Shared {
    /// Nothing in flight.
    pub fn new(name: &Arc<str>, cores: usize) -> Self {
        let notices = ShedNotices::new(name.clone());
        Shared { line: Line::new(cores), zombies: Counter::default(), notices }
    }
}

/// Which share of the requests was shed lately.
#[derive(Debug, Default)]
struct ShedRatio {
    asked: u32,
    shed: u32,
}

impl ShedRatio {
    fn asked(&mut self) {
        self.asked = self.asked.saturating_add(1);
    }

    fn shed(&mut self) {
        self.shed = self.shed.saturating_add(1);
    }

    fn ratio(&self) -> f64 {
        // Waiters may be asked before a fade and shed after it.
        (f64::from(self.shed) / f64::from(self.asked.max(1))).min(0.99)
    }

    fn fade(&mut self) {
        self.asked /= 2;
        self.shed /= 2;
    }
}

/// What outlives versions of one upstream, on one core.
#[derive(Debug)]
pub struct CoreState {
    shared: Arc<Shared>,
    queue: RefCell<Queue<Rc<Waiter>>>,
    patience: RefCell<Patience>,
    zombies: granted::Zombies,
    latency: RefCell<granted::Latency>,
    sheds: RefCell<ShedRatio>,
    /// Permits ever granted on this core.
    granted: Cell<u64>,
    /// Counts wake-ups, so that other cores get their turn.
    turns: Cell<u32>,
    bells: Arc<Bells>,
    core: CoreId,
}

impl CoreState {
    /// Nobody waits yet.
    pub fn new(shared: Arc<Shared>, bells: Arc<Bells>, core: CoreId) -> Rc<Self> {
        let patience = RefCell::new(Patience::new(Instant::now(), shared.line.released(), 0));
        Rc::new(CoreState {
            shared,
            queue: RefCell::default(),
            patience,
            zombies: granted::Zombies::default(),
            latency: RefCell::default(),
            sheds: RefCell::default(),
            granted: Cell::new(0),
            turns: Cell::new(0),
            bells,
            core,
        })
    }

    /// Somebody waits here.
    pub fn has_waiters(&self) -> bool {
        !self.queue.borrow().is_empty()
    }

    /// Serves whoever waits here as long as there is room, then passes the bell on. Called when this core's
    /// bell rings, and by a release on this core.
    pub fn serve(&self) {
        wait::serve(self);
    }

    /// Old response times and sheds fade; called every ten seconds.
    pub fn fade(&self) {
        self.latency.borrow_mut().fade();
        self.sheds.borrow_mut().fade();
    }

    /// Wakes somebody who waits: on this core directly, on another by its bell. Every fourth time another core
    /// comes first: with its own always first, a core that once had nothing in flight would never get anything
    /// again while the others are overloaded.
    fn wake(&self) {
        let turn = self.turns.get().wrapping_add(1);
        self.turns.set(turn);
        let first = self.core.0 as usize + usize::from(turn.is_multiple_of(4));
        match self.shared.line.core_to_wake(first) {
            Some(core) if core == self.core.0 as usize => wait::serve(self),
            Some(core) => self.bells.ring(core),
            None => {}
        }
    }
}

/// One upstream's gate on one core, for one version.
#[derive(Debug)]
pub struct Gate {
    settings: Settings,
    state: Rc<CoreState>,
    cluster: Rc<CoreCluster>,
    metrics: Arc<UpstreamMetrics>,
    /// The highest class that the upstream's routes use: it may fill the whole limit.
    highest: Class,
}

impl Gate {
    /// A gate before a cluster.
    pub fn new(
        settings: Settings,
        highest: Class,
        state: Rc<CoreState>,
        cluster: Rc<CoreCluster>,
        metrics: Arc<UpstreamMetrics>,
    ) -> Rc<Self> {
        Rc::new(Gate { settings, state, cluster, metrics, highest })
    }

    /// Counts a shed, and tells the log, at most once a second for each reason.
    pub fn shed(&self, class: Class, reason: Reason) {
        self.metrics.shed(self.state.core, class, reason);
        self.state.shared.notices.shed(reason, Instant::now());
    }
}

/// What a class may fill of a limit, relative to the highest class in use (`design.md`, "Admission").
pub fn class_limit(limit: u32, class: Class, highest: Class) -> u32 {
    if class <= highest {
        return limit;
    }
    let share = u64::from(limit) * u64::from(class.tenths()) / u64::from(highest.tenths());
    u32::try_from(share).unwrap_or(limit).max(1)
}

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
    gate: Rc<Gate>,
    counts: Arc<RouteCounts>,
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

impl RouteGate {
    /// A route's way: `counts` live under the route's name.
    pub fn new(gate: Rc<Gate>, counts: Arc<RouteCounts>, max_in_flight: u32, class: Class) -> Rc<Self> {
        let class_limit = class_limit(gate.settings.max_in_flight, class, gate.highest);
        Rc::new(RouteGate { gate, counts, max_in_flight, class, class_limit })
    }

    /// The upstream's gate.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Seconds for `Retry-After`: the more is shed, the longer (`design.md`, "Retry-After").
    fn retry_after(&self) -> u8 {
        let ratio = self.gate.state.sheds.borrow().ratio();
        let most = (2.0 / (1.0 - ratio)).clamp(3.0, 30.0);
        // Truncation is meant: whole seconds.
        fastrand::u8(1..=most as u8)
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

    /// Takes all permits, or waits for them within `deadline`, or is refused.
    ///
    /// # Errors
    /// A shed with its reason. It has cost the upstream nothing.
    pub async fn admit(self: &Rc<Self>, deadline: Instant) -> Result<Granted, Reject> {
        let state = &self.gate.state;
        state.sheds.borrow_mut().asked();
        // Nobody overtakes those who wait already.
        let full = if state.shared.line.waiting.get() > 0 {
            Full { reason: Reason::UpstreamLimit, may_wait: true }
        } else {
            match self.try_admit() {
                Ok(granted) => {
                    if !state.patience.borrow().is_calm() {
                        state.patience.borrow_mut().had_room();
                    }
                    return Ok(granted);
                }
                Err(full) => full,
            }
        };
        let result =
            if full.may_wait { wait::wait(self, full.reason, deadline).await } else { Err(full.reason) };
        result.map_err(|reason| {
            self.gate.shed(self.class, reason);
            state.sheds.borrow_mut().shed();
            Reject { retry_after: Some(self.retry_after()), ..Reject::new(reason, explain(reason)) }
        })
    }

    /// Takes all permits if there is room now. Bounds are tried in the order in which they name the reason:
    /// route, class, upstream, backend.
    fn try_admit(self: &Rc<Self>) -> Result<Granted, Full> {
        let no = |reason, may_wait| Err(Full { reason, may_wait });
        if !self.counts.in_flight.try_acquire(self.max_in_flight) {
            // A route alone with its upstream has no bound of its own: what is full is the upstream.
            let own = self.max_in_flight < self.gate.settings.max_in_flight;
            return if own { no(Reason::RouteLimit, false) } else { no(Reason::UpstreamLimit, true) };
        }
        let line = &self.gate.state.shared.line;
        if !line.in_flight.try_acquire(self.class_limit) {
            self.counts.in_flight.release();
            let limit = self.gate.settings.max_in_flight;
            let class_only = self.class_limit < limit && line.in_flight.get() < limit;
            return if class_only { no(Reason::ClassLimit, false) } else { no(Reason::UpstreamLimit, true) };
        }
        match self.gate.cluster.reserve(None) {
            Ok(place) => {
                let granted = &self.gate.state.granted;
                granted.set(granted.get() + 1);
                Ok(Granted::new(place, granted::Inside::new(self.clone())))
            }
            Err(reason) => {
                // Not a release, and it wakes nobody: whoever failed because of this moment's count is behind
                // backends that are full, and the next release is theirs.
                line.in_flight.release();
                self.counts.in_flight.release();
                no(reason, reason == Reason::BackendLimit)
            }
        }
    }

    fn max_wait(&self) -> Duration {
        self.gate.settings.max_wait
    }
}

/// A sentence for the client.
fn explain(reason: Reason) -> &'static str {
    match reason {
        Reason::RouteLimit => "this route has as many requests in flight as it may have",
        Reason::ClassLimit => "what is left of the upstream's room is kept for requests of a higher class",
        Reason::BackendLimit => "every backend has as many requests in flight as it may have",
        Reason::QueueFull => "too many requests wait already for this one to be served in time",
        Reason::QueueTimeout => "no room came free while the request waited",
        Reason::NoBackend => "no backend of the upstream can be tried",
        _ => "the upstream has as many requests in flight as it may have",
    }
}
