//! A core's coarse clock: the instant of its last tick, so that bodies need not ask the system for the time
//! with every frame.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How often a core ticks: the precision of every sweep (idle, stalls, drain).
pub const TICK: Duration = Duration::from_millis(100);

/// The coarse time of one core.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    now: Cell<Instant>,
}

impl Clock {
    /// A clock whose zero is `started`, which all cores share.
    pub fn new(started: Instant) -> Self {
        Clock { started, now: Cell::new(Instant::now()) }
    }

    /// The instant of the last tick, at most [`TICK`] old on a turning core.
    pub fn coarse(&self) -> Instant {
        self.now.get()
    }

    /// Called by the core's tick.
    pub fn tick(&self) -> Instant {
        self.now.set(Instant::now());
        self.now.get()
    }

    /// Nanoseconds from the common zero, for values that cores share.
    pub fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_nanos()).unwrap_or(u64::MAX)
    }
}
