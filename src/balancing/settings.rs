//! The backends of an upstream and what each may hold.

use crate::request::cohort::Fact;
use crate::upstream::settings::Address;
use http::HeaderName;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// One backend of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSettings {
    /// Its name, unique within the upstream.
    pub name: Arc<str>,
    /// Where it is.
    pub address: Address,
    /// Its share relative to its peers; 100 is the default.
    pub weight: NonZeroU32,
}

/// Settings of the choice among backends.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The backends, at least one.
    pub backends: Vec<BackendSettings>,
    /// In flight at one backend at most, connecting ones and zombies included.
    pub max_in_flight_per_backend: u32,
    /// Second tries.
    pub retry: Retry,
    /// Tunnels through one backend at most.
    pub max_streams: u32,
    /// Active checks, if there are any.
    pub health: Option<Health>,
    /// When a backend that fails is left out.
    pub ejection: Ejection,
    /// How a restarted backend comes back.
    pub ramp: Ramp,
}

/// Second tries at another backend (`overload.md` 2(v)).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// For one request at most.
    pub max_retries: u32,
    /// Of one success, the part of a retry that it pays for: 0 to 1.
    pub budget: f64,
}

/// Active checks of every backend (`overload.md` 2(vi)).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Health {
    /// What is asked for.
    pub path: Arc<str>,
    /// Between two checks of one backend.
    pub interval: Duration,
    /// For one check.
    pub timeout: Duration,
    /// Successes in a row that bring a backend back.
    pub healthy: u32,
    /// Failures in a row that take it out.
    pub unhealthy: u32,
}

/// When a backend that fails is left out, and for how long (`overload.md` 2(vi)).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ejection {
    /// Failures in a row.
    pub consecutive_failures: u32,
    /// How long the first ejection lasts; each further one twice as long.
    pub base: Duration,
    /// How long one lasts at most.
    pub max: Duration,
    /// Of the backends, the part that may be out at once: 0 to 1.
    pub max_ejected: f64,
}

/// How a restarted backend comes back (`overload.md` 2(vii)).
#[derive(Clone, Debug, PartialEq)]
pub struct Ramp {
    /// Percentages, rising to 100.
    pub steps: Arc<[f64]>,
    /// How long each lasts at least.
    pub dwell: Duration,
    /// Hold or go back while the backend fails.
    pub guard: bool,
    /// The answer header that changes with every start of a backend.
    pub boot_header: HeaderName,
    /// What tells the clients apart of which a ramped upstream serves a part.
    pub cohort: Fact,
}
