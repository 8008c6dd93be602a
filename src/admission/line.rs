//! The count of one upstream, and who waits for it: the protocol by which a freed permit always finds a
//! waiter, on whatever core. Only numbers; `tests/loom.rs` checks it under every interleaving.
//!
//! The one rule: whoever frees a permit looks at the count of waiters afterwards, whoever waits looks at the
//! permits afterwards, and both counts are sequentially consistent. So one of the two always sees the other.

use crate::permit::Counter;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Classes, from the last shed to the first.
const CLASSES: usize = 4;
/// The places of a core's lines: the classes of the stable version, then those of a candidate beside it.
const RANKS: usize = 2 * CLASSES;

/// In flight and waiting, for one upstream name, over all cores and versions.
#[derive(Debug)]
pub struct Line {
    /// In flight, zombies included.
    pub in_flight: Counter,
    /// Waiting, over all cores.
    pub waiting: Counter,
    /// Those of them that wait for a candidate.
    guests: Counter,
    /// Waiting on each core, by rank.
    cores: Box<[[Counter; RANKS]]>,
    /// Permits ever released.
    released: AtomicU64,
}

impl Line {
    /// Nobody in flight, nobody waiting.
    pub fn new(cores: usize) -> Self {
        Line {
            in_flight: Counter::default(),
            waiting: Counter::default(),
            guests: Counter::default(),
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

    /// Where a request of a class waits; of a candidate's behind all others, for nobody waits for what only its own
    /// part denies it.
    pub fn rank(class: usize, guest: bool) -> usize {
        class + if guest { CLASSES } else { 0 }
    }

    /// Somebody waits whom a newcomer must not overtake. Who waits for a candidate may wait for its part only, so the
    /// stable version's requests go past.
    pub fn is_queued(&self, guest: bool) -> bool {
        let waiting = self.waiting.get();
        waiting > 0 && (guest || waiting > self.guests.get())
    }

    /// Somebody waits for a candidate.
    pub fn has_guests(&self) -> bool {
        self.guests.get() > 0
    }

    /// Joins the line of a rank on `core`, if fewer than `max` wait. The caller then wakes somebody, or tries itself:
    /// the permit may have come free just before.
    pub fn join(&self, core: usize, rank: usize, max: u32) -> bool {
        if !self.waiting.try_acquire(max) {
            return false;
        }
        if rank >= CLASSES {
            self.guests.acquire();
        }
        self.cores[core][rank].acquire();
        true
    }

    /// Leaves the line on `core`. True when somebody else waits.
    pub fn leave(&self, core: usize, rank: usize) -> bool {
        self.cores[core][rank].release();
        if rank >= CLASSES {
            self.guests.release();
        }
        self.waiting.release();
        self.waiting.get() > 0
    }

    /// The core to wake: where the highest class waits, the caller's own first. A lower class may be kept out
    /// by its own threshold while a higher one would fit, so a core with only lower ones must not swallow the
    /// bell.
    pub fn core_to_wake(&self, own: usize) -> Option<usize> {
        let cores = self.cores.len();
        let waits = |rank: usize| {
            let nearest = (0..cores).map(move |step| (own + step) % cores);
            nearest.into_iter().find(|core| self.cores[*core][rank].get() > 0)
        };
        let ranks = if self.has_guests() { RANKS } else { CLASSES };
        (0..ranks).find_map(waits)
    }
}
