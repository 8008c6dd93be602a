//! The count of one upstream, and who waits for it: the protocol by which a freed permit always finds a
//! waiter, on whatever core. Only numbers; `tests/loom.rs` checks it under every interleaving.
//!
//! The one rule: whoever frees a permit looks at the count of waiters afterwards, whoever waits looks at the
//! permits afterwards, and both counts are sequentially consistent. So one of the two always sees the other.

use crate::permit::Counter;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Classes, from the last shed to the first.
const CLASSES: usize = 4;

/// In flight and waiting, for one upstream name, over all cores and versions.
#[derive(Debug)]
pub struct Line {
    /// In flight, zombies included.
    pub in_flight: Counter,
    /// Waiting, over all cores.
    pub waiting: Counter,
    /// Waiting on each core, by class.
    cores: Box<[[Counter; CLASSES]]>,
    /// Permits ever released.
    released: AtomicU64,
}

impl Line {
    /// Nobody in flight, nobody waiting.
    pub fn new(cores: usize) -> Self {
        Line {
            in_flight: Counter::default(),
            waiting: Counter::default(),
            cores: (0..cores).map(|_| Default::default()).collect(),
            released: AtomicU64::new(0),
        }
    }

    /// Permits ever released: what the rate of releases is measured by.
    pub fn released(&self) -> u64 {
        self.released.load(Relaxed)
    }

    /// Gives one permit back. True when somebody waits and must be woken.
    pub fn release(&self) -> bool {
        self.released.fetch_add(1, Relaxed);
        self.in_flight.release();
        self.waiting.get() > 0
    }

    /// Joins the line of a class on `core`, if fewer than `max` wait. The caller then wakes somebody, or tries itself:
    /// the permit may have come free just before.
    pub fn join(&self, core: usize, class: usize, max: u32) -> bool {
        if !self.waiting.try_acquire(max) {
            return false;
        }
        self.cores[core][class].acquire();
        true
    }

    /// Leaves the line on `core`. True when somebody else waits.
    pub fn leave(&self, core: usize, class: usize) -> bool {
        self.cores[core][class].release();
        self.waiting.release();
        self.waiting.get() > 0
    }

    /// The core to wake: where the highest class waits, the caller's own first. A lower class may be kept out
    /// by its own threshold while a higher one would fit, so a core with only lower ones must not swallow the
    /// bell.
    pub fn core_to_wake(&self, own: usize) -> Option<usize> {
        let cores = self.cores.len();
        let waits = |class: usize| {
            let nearest = (0..cores).map(move |step| (own + step) % cores);
            nearest.into_iter().find(|core| self.cores[*core][class].get() > 0)
        };
        (0..CLASSES).find_map(waits)
    }
}
