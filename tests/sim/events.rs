//! Simulated time and what happens next in it. Integer nanoseconds, and a number for each event, so that two at the
//! same moment come in the order in which they were planned and a seed always tells the same story.
//!
//! The heap is written out, because the tests are built without optimisation and this is where they spend their time.

use std::time::{Duration, Instant};

/// A millisecond.
pub const MS: u64 = 1_000_000;
/// A second.
pub const SECOND: u64 = 1_000 * MS;

/// Seconds of simulated time.
pub fn seconds(nanos: u64) -> f64 {
    nanos as f64 / SECOND as f64
}

/// Nanoseconds; of nothing less than none.
pub fn nanos(seconds: f64) -> u64 {
    (seconds * SECOND as f64) as u64
}

/// Turns simulated time into the instants that some cores take. It is read once, and never again.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Simulated time begins now.
    pub fn start() -> Self {
        Clock(Instant::now())
    }

    /// The instant of a simulated moment.
    pub fn at(&self, now: u64) -> Instant {
        self.0 + Duration::from_nanos(now)
    }
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A client sends a new request.
    Arrival,
    /// A client tries again, at the gateway where it was.
    Again {
        /// Which gateway.
        gateway: u32,
        /// How many tries came before.
        attempt: u32,
    },
    /// A worker is done with a request.
    Served {
        /// Whose worker.
        backend: u32,
        /// Which request.
        request: u32,
        /// Of which process: one that died serves nothing.
        boot: u32,
    },
    /// The answer arrives.
    Answer(u32),
    /// A slot that was kept for nobody is given up.
    ZombieEnds(u32),
    /// A request that missed the cache leaves the shared database.
    Fetched,
    /// A gateway looks at what happened, as its admin thread does ten times a second.
    Tick(u32),
    /// The backends below this number die at once.
    Die(u32),
}

#[derive(Clone, Copy)]
struct Planned {
    at: u64,
    number: u64,
    event: Event,
}

/// What is planned.
#[derive(Default)]
pub struct Events {
    heap: Vec<Planned>,
    planned: u64,
}

impl Events {
    /// Plans one.
    pub fn plan(&mut self, at: u64, event: Event) {
        self.planned += 1;
        let new = Planned { at, number: self.planned, event };
        self.heap.push(new);
        let heap = &mut self.heap[..];
        let mut hole = heap.len() - 1;
        while hole > 0 {
            let parent = (hole - 1) / 2;
            if heap[parent].at <= at {
                break;
            }
            heap[hole] = heap[parent];
            hole = parent;
        }
        heap[hole] = new;
    }

    /// When the next one is due.
    pub fn next_at(&self) -> u64 {
        if self.heap.is_empty() { u64::MAX } else { self.heap[0].at }
    }

    /// Takes the next one.
    pub fn pop(&mut self) -> Option<Event> {
        let last = self.heap.pop()?;
        let heap = &mut self.heap[..];
        let Some(first) = heap.first().map(|planned| planned.event) else { return Some(last.event) };
        let mut hole = 0;
        loop {
            let mut child = 2 * hole + 1;
            if child >= heap.len() {
                break;
            }
            if child + 1 < heap.len() && before(&heap[child + 1], &heap[child]) {
                child += 1;
            }
            if before(&last, &heap[child]) {
                break;
            }
            heap[hole] = heap[child];
            hole = child;
        }
        heap[hole] = last;
        Some(first)
    }
}

fn before(one: &Planned, other: &Planned) -> bool {
    one.at < other.at || (one.at == other.at && one.number < other.number)
}
