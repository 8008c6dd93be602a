//! What outlives versions of one upstream: its counts, shared by all cores, and each core's own line and memory.

use crate::admission::aborts::Aborts;
use crate::admission::adaptive::board::Board;
use crate::admission::cohorts::Cohorts;
use crate::admission::latency::Latency;
use crate::admission::line::Line;
use crate::admission::patience::Patience;
use crate::admission::queue::Queue;
use crate::admission::refusal::ShedRatio;
use crate::admission::wait::{self, Waiter};
use crate::admission::zombies::Zombies;
use crate::permit::Counter;
use crate::runtime::bells::Bells;
use crate::telemetry::cells::CoreId;
use crate::telemetry::events::ShedNotices;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// What outlives versions of one upstream, shared by all cores.
#[derive(Debug)]
pub struct Shared {
    /// The upstream's name.
    pub name: Arc<str>,
    /// In flight and waiting.
    pub line: Line,
    /// The limit that finds itself.
    pub board: Board,
    /// Permits whose client or deadline is gone; part of those in flight.
    pub zombies: Counter,
    /// Streams whose client or deadline is gone; part of the backends' streams.
    pub stream_zombies: Counter,
    /// Whom it serves while a ramp binds.
    pub cohorts: Cohorts,
    /// Whose aborts made zombies.
    pub(super) aborts: Arc<Aborts>,
    /// For which reasons it sheds, for whoever tells of it.
    pub notices: ShedNotices,
}

impl Shared {
    /// Nothing in flight.
    pub fn new(name: &Arc<str>, cores: usize) -> Self {
        Shared {
            name: name.clone(),
            line: Line::new(cores),
            board: Board::new(cores),
            zombies: Counter::default(),
            stream_zombies: Counter::default(),
            cohorts: Cohorts::default(),
            aborts: Arc::default(),
            notices: ShedNotices::default(),
        }
    }
}

/// What outlives versions of one upstream, on one core.
#[derive(Debug)]
pub struct CoreState {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: RefCell<Queue<Rc<Waiter>>>,
    pub(super) patience: RefCell<Patience>,
    pub(super) zombies: Zombies,
    pub(super) stream_zombies: Zombies,
    pub(super) latency: RefCell<Latency>,
    pub(super) sheds: RefCell<ShedRatio>,
    /// Permits ever granted on this core.
    pub(super) granted: Cell<u64>,
    /// Counts wake-ups, so that other cores get their turn.
    turns: Cell<u32>,
    pub(super) bells: Arc<Bells>,
    pub(super) core: CoreId,
}

impl CoreState {
    /// Nobody waits yet.
    pub fn new(shared: Arc<Shared>, bells: Arc<Bells>, core: CoreId) -> Rc<Self> {
        let patience = RefCell::new(Patience::new(Instant::now(), shared.line.released(), 0));
        Rc::new(CoreState {
            shared,
            queue: RefCell::default(),
            patience,
            zombies: Zombies::default(),
            stream_zombies: Zombies::default(),
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
    pub(super) fn wake(&self) {
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
