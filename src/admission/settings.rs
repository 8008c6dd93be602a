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
}
