//! A backend: workers, a line before them without a bound, cold caches after a start, and death when the line grows
//! too long. It serves in order and never notices that a client has left: the worst that HTTP/1 allows.

use crate::chance::Chance;
use crate::events::SECOND;
use std::collections::VecDeque;

/// How a restarted process begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// As warm as it was.
    Warm,
    /// Each request takes up to ten times as long; the excess falls by the factor e with so many served.
    Cold(f64),
    /// Requests miss the cache, with a probability that falls by the factor e with so many served, and a miss asks
    /// the one database of all backends, which thrashes: its time grows with the square of the misses at once.
    SharedDatabase(f64),
}

/// Ten times slower at first.
const COLD_EXCESS: f64 = 9.0;
/// How long the database takes for one miss alone, in seconds.
const MISS_SECONDS: f64 = 0.03;

/// One backend.
pub struct Backend {
    /// Requests that wait for a worker.
    pub queue: VecDeque<u32>,
    /// Workers that are busy.
    pub busy: u32,
    /// Which process this is.
    pub boot: u32,
    /// Until when it is down.
    pub down_until: u64,
    /// How often it died of its load.
    pub crashes: u32,
    /// Served by this process; none of the first one counts, for that is warm.
    served: Option<u32>,
}

impl Backend {
    /// Warm, and idle.
    pub fn new() -> Self {
        Backend { queue: VecDeque::new(), busy: 0, boot: 0, down_until: 0, crashes: 0, served: None }
    }

    /// Nobody listens.
    pub fn is_down(&self, now: u64) -> bool {
        now < self.down_until
    }

    /// Dies with all that it held, and is back three seconds later.
    pub fn die(&mut self, now: u64) {
        self.boot += 1;
        self.down_until = now + 3 * SECOND;
        self.queue.clear();
        self.busy = 0;
        self.served = Some(0);
    }

    /// A worker is free again.
    pub fn served(&mut self) {
        self.busy -= 1;
        if let Some(served) = &mut self.served {
            *served += 1;
        }
    }

    /// How long a request takes whose mean is `mean` seconds when warm, and whether it asks the database, where
    /// `misses` are asked for already.
    pub fn work(
        &self,
        start: Start,
        mean: f64,
        misses: u32,
        capacity: f64,
        chance: &mut Chance,
    ) -> (f64, bool) {
        let base = mean * chance.lognormal();
        let Some(served) = self.served else { return (base, false) };
        let age = f64::from(served);
        match start {
            Start::Warm => (base, false),
            Start::Cold(many) => (base * (1.0 + COLD_EXCESS * (-age / many).exp()), false),
            Start::SharedDatabase(many) => {
                if !chance.happens((-age / many).exp()) {
                    return (base, false);
                }
                let crowd = f64::from(misses + 1) / capacity;
                (base + MISS_SECONDS * (1.0 + crowd * crowd), true)
            }
        }
    }
}
