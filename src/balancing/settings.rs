//! The backends of an upstream and what each may hold.

use crate::upstream::settings::Address;
use std::num::NonZeroU32;
use std::sync::Arc;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The backends, at least one.
    pub backends: Vec<BackendSettings>,
    /// In flight at one backend at most, connecting ones and zombies included.
    pub max_in_flight_per_backend: u32,
    /// Sends again, to another backend, what was provably not sent.
    pub max_retries: u32,
    /// Tunnels through one backend at most.
    pub max_streams: u32,
}
