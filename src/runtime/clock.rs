//! A core's coarse clock: the instant of its last tick, so that bodies need not ask the system for the time
//! with every frame.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often a core ticks: the precision of every sweep (idle, stalls, drain).
pub const TICK: Duration = Duration::from_millis(100);

/// Milliseconds since 1970 by the wall clock; one that is before that counts as 1970.
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The coarse time of one core.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    now: Cell<Instant>,
    now_nanos: Cell<u64>,
}

impl Clock {
    /// A clock whose zero is `started`, which all cores share.
    pub fn new(started: Instant) -> Self {
        let now = Instant::now();
        Clock { started, now: Cell::new(now), now_nanos: Cell::new(nanos(started, now)) }
    }

    /// The instant of the last tick, at most [`TICK`] old on a turning core.
    pub fn coarse(&self) -> Instant {
        self.now.get()
    }

    /// Called by the core's tick.
    pub fn tick(&self) -> Instant {
        let now = Instant::now();
        self.now.set(now);
        self.now_nanos.set(self.nanos(now));
        now
    }

    /// [`Clock::coarse`] as [`Clock::nanos`], worked out once a tick.
    pub fn coarse_nanos(&self) -> u64 {
        self.now_nanos.get()
    }

    /// Nanoseconds from the common zero, for values that cores share.
    pub fn nanos(&self, at: Instant) -> u64 {
        nanos(self.started, at)
    }
}

fn nanos(started: Instant, at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(started).as_nanos()).unwrap_or(u64::MAX)
}
