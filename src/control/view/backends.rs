//! Backends, as operators see them, with the lookups of their names and what they hold when they are well.

use crate::control::view::LeverView;
use serde::{Deserialize, Serialize};

/// One backend.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BackendView {
    /// Its name.
    pub name: String,
    /// As configured.
    pub address: String,
    /// What the name resolves to now.
    pub resolved: Vec<String>,
    /// Each of these as a backend of its own, whose figures above are sums, means or the worst; nothing for a literal
    /// address, nor for one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<BackendView>,
    /// How long ago its address came to its name, if this process saw that and had not seen it in the ten minutes before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came_seconds: Option<f64>,
    /// How its name resolves, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup: Option<LookupView>,
    /// Has an address, and neither checks nor ejection leave it out.
    pub up: bool,
    /// `ready`, or why it is not picked: `ejected for 12 s: …`, `down: …`, `probing: …`.
    pub state: String,
    /// Relative to its peers.
    pub weight: u32,
    /// In flight, connecting ones and zombies included.
    pub in_flight: u32,
    /// In flight at most now: its cap, or what ramps leave of it.
    pub cap: u32,
    /// In flight at most as configured.
    pub max_in_flight: u32,
    /// Tunnels, and requests of streaming routes, at it; zombies included.
    #[serde(default)]
    pub streams: u32,
    /// Of these at most.
    #[serde(default)]
    pub max_streams: u32,
    /// Connections being established.
    pub connecting: u32,
    /// Peak-EWMA of the time to response headers, in milliseconds; nothing before the first answer.
    pub ewma_ms: Option<f64>,
    /// The least of its own ramp, its upstream's and a drain; 100 when unset.
    pub ramp_percent: f64,
    /// Its own ramp, if one is set.
    #[serde(default)]
    pub ramp: Option<LeverView>,
    /// What brings it back by itself after a restart: kind `automatic`, set by nobody.
    #[serde(default)]
    pub automatic: Option<LeverView>,
    /// Restarts of it that were noticed, ever.
    #[serde(default)]
    pub incarnations: u64,
    /// Who drained it, if somebody did.
    #[serde(default)]
    pub drain: Option<LeverView>,
    /// What it holds when it is well: what ramps are percentages of.
    #[serde(default)]
    pub reference: ReferenceView,
}

/// How a name resolves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LookupView {
    /// Why the last lookup brought nothing, or not all; the addresses are then old.
    pub failure: Option<String>,
    /// How long that has been so.
    pub failing_seconds: Option<f64>,
    /// When its addresses will be dropped if that stays so.
    pub dropped_in_seconds: Option<f64>,
    /// Addresses that are too many and not used.
    pub unused: usize,
}

/// The lookups of all names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupsView {
    /// Under way.
    pub in_flight: u32,
    /// Under way at most.
    pub limit: u32,
    /// Waiting for one to end.
    pub waiting: u32,
    /// That brought addresses, ever.
    pub found: u64,
    /// That were told that there are none, ever.
    pub missing: u64,
    /// That brought nothing, or not all, ever.
    pub failed: u64,
}

/// What a backend holds when it is well.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReferenceView {
    /// In flight.
    pub in_flight: f64,
    /// Requests a second, if known.
    pub requests_per_second: Option<f64>,
    /// `operator`, `learned`, `first_seconds`, `peers` or `cap`: where it is from, the best first.
    pub source: String,
    /// How long ago it was last learned; nothing if it was not.
    pub age_seconds: Option<f64>,
}
