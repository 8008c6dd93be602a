//! The bounds of an upstream's gate and of the routes through it.

use std::time::Duration;

/// The gate of one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Hard cap of requests in flight.
    pub max_in_flight: u32,
    /// Requests that may wait, over all cores.
    pub max_waiting: u32,
    /// How long one may wait.
    pub max_wait: Duration,
    /// The limit that finds itself, below the cap.
    pub adaptive: Adaptive,
}

/// Waiting requests at most where nothing else is said.
const MAX_WAITING: u32 = 1024;

impl Settings {
    /// How many may wait where nothing else is said: twice the cap, at most 1,024.
    pub fn waiting_for(cap: u32) -> u32 {
        cap.saturating_mul(2).min(MAX_WAITING)
    }
}

/// The adaptive limit (`overload.md` 2(iii)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adaptive {
    /// Whether it acts.
    pub mode: Mode,
    /// Mean time to the answer's head that it aims at.
    pub objective: Duration,
    /// What the objective may be raised to: half of the shortest timeout of the routes.
    pub ceiling: Duration,
}

impl Mode {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Off => "off",
            Mode::Shadow => "shadow",
            Mode::Enforce => "enforce",
        }
    }
}

/// Whether the adaptive limit acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is not worked out.
    Off,
    /// It is worked out and shown, and refuses nothing.
    Shadow,
    /// It refuses.
    Enforce,
}
