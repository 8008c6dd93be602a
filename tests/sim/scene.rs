//! What is simulated: the fleet, what happens to it, the clients, and the gateways before it.

use crate::backend::Start;
use std::time::Duration;
use tidegate::admission::settings::Adaptive;
use tidegate::balancing::settings::Ramp;

/// A scenario. Functions take seconds of simulated time.
#[derive(Clone)]
pub struct Scene {
    /// How long it lasts.
    pub seconds: usize,
    /// New requests a second, of all clients together.
    pub offered: fn(f64) -> f64,
    /// Tries of a client after the first.
    pub client_retries: u32,
    /// Seconds that a client waits before it tries again.
    pub backoff: (f64, f64),
    /// The backends.
    pub fleet: Fleet,
    /// Gateways before the fleet; clients choose one at random.
    pub gateways: usize,
    /// What each of them may do.
    pub gateway: Settings,
}

/// Equal backends.
#[derive(Clone)]
pub struct Fleet {
    /// How many.
    pub backends: usize,
    /// Workers of each.
    pub workers: fn(f64) -> u32,
    /// Seconds of a worker's time that a request takes on average.
    pub service: fn(f64) -> f64,
    /// Seconds until an answer arrives that takes nobody's time.
    pub delay: fn(f64) -> f64,
    /// From when until when whatever is begun is finished only after the end.
    pub hangs: Option<(f64, f64)>,
    /// When so many backends are restarted.
    pub restart: Option<(f64, u32)>,
    /// How a restarted one begins.
    pub start: Start,
    /// It dies when more than so many wait for its workers.
    pub dies_above: usize,
    /// Misses at once that the shared database takes before it thrashes.
    pub database: f64,
    /// Answers carry a boot id.
    pub boot_ids: bool,
}

/// How a gateway is configured, and which mechanisms it has: a scenario without one shows what that one is for.
#[derive(Clone)]
pub struct Settings {
    /// Requests of the upstream in flight.
    pub cap: u32,
    /// Of each backend.
    pub backend_cap: u32,
    /// Requests that may wait.
    pub max_waiting: u32,
    /// How long.
    pub max_wait: Duration,
    /// From arrival to the answer.
    pub timeout: Duration,
    /// The limit that finds itself.
    pub limit: Limits,
    /// A slot is kept for a request that may still be worked on.
    pub zombies: bool,
    /// Restarted backends come back by steps.
    pub ramp: Option<Ramp>,
}

/// Which limit below the cap.
#[derive(Clone, Copy)]
pub enum Limits {
    /// None.
    Cap,
    /// The one of the crate.
    Adaptive(Adaptive),
    /// The same arithmetic without the test whether a cut was of any use.
    Unguarded(Adaptive),
}

impl Settings {
    /// The mean time to an answer that is aimed at.
    pub fn objective(&self) -> Duration {
        match self.limit {
            Limits::Cap => Duration::ZERO,
            Limits::Adaptive(adaptive) | Limits::Unguarded(adaptive) => adaptive.objective,
        }
    }
}
