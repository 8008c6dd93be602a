//! A core that does not keep up with its work refuses the lowest classes at once, before they cost more than their
//! head (`overload.md` 2(iv), "the gateway's own CPU"). How many is judged by `runtime::lateness`; the highest class
//! that the table's routes use is never refused, so a fleet with one class loses nothing.
//!
//! Each core judges itself: what waits on one core waits for that core, whatever the others do.

use crate::request::Class;
use crate::runtime::lateness::Lateness;
use crate::runtime::watchdog::Heartbeats;
use crate::telemetry::cells::CoreId;
use crate::telemetry::events::ClassesClosed;
use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

/// One core's view of its own strain.
#[derive(Debug)]
pub struct Strain {
    started: Instant,
    lateness: RefCell<Lateness>,
    closed: Cell<u8>,
}

impl Strain {
    /// A core that keeps up, since `started`.
    pub fn new(started: Instant) -> Self {
        Strain { started, lateness: RefCell::default(), closed: Cell::new(0) }
    }

    /// Requests of this class are refused now; `highest` is the highest class in use.
    #[inline]
    pub fn refuses(&self, class: Class, highest: Class) -> bool {
        self.closed.get() > 0 && class.is_closed(self.closed.get(), highest)
    }

    /// The core ticked, `late` after that was due. Tells `hearts` and the log what follows.
    pub fn ticked(&self, late: Duration, core: CoreId, highest: Class, hearts: &Heartbeats) {
        let busy = tokio::runtime::Handle::current().metrics().worker_total_busy_duration(0);
        let mut lateness = self.lateness.borrow_mut();
        if !lateness.ticked(self.started.elapsed(), late, busy, highest.below()) {
            return;
        }
        let before = self.closed.replace(lateness.closed());
        let mean_ms = u64::try_from(lateness.mean().as_millis()).unwrap_or(u64::MAX);
        hearts.strained(core.0 as usize, lateness.closed(), mean_ms);
        let (was, is) = (Class::closed(before, highest), Class::closed(lateness.closed(), highest));
        if was != is {
            ClassesClosed { core: core.0, classes: &is, opens: is.len() < was.len(), late_ms: mean_ms }
                .emit();
        }
    }
}
