//! What operators see: plain values read from the running gateway at one moment. The admin API serialises
//! them, `/metrics` turns them into gauges, the command line prints them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The whole gateway.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GatewayView {
    /// The active version.
    pub version: VersionView,
    /// Running on something other than what it was told to run.
    pub degraded: bool,
    /// Why it is degraded or not ready, and what a person should know; a sentence each.
    pub reasons: Vec<String>,
    /// Taking traffic: neither starting, draining nor with a stuck core.
    pub ready: bool,
    /// On its way out.
    pub draining: bool,
    /// The last change that was read took effect.
    pub last_apply_successful: bool,
    /// Seconds since the start.
    pub uptime_seconds: f64,
    /// Requests in the process.
    pub in_flight: u32,
    /// Requests in the process at most.
    pub max_in_flight: u32,
    /// Bytes buffered in the process.
    #[serde(default)]
    pub buffered_bytes: u64,
    /// Bytes buffered in the process at most.
    #[serde(default)]
    pub max_buffered_bytes: u64,
    /// The cores.
    pub workers: Vec<WorkerView>,
    /// The listeners.
    pub listeners: Vec<ListenerView>,
    /// The upstreams.
    pub upstreams: Vec<UpstreamView>,
}

/// The active version.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VersionView {
    /// Counts from 1 in a process.
    pub number: u64,
    /// Blake3 of the text, hex.
    pub hash: String,
}

/// One core of the data plane.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WorkerView {
    /// Its number.
    pub worker: usize,
    /// Client connections that live on it.
    pub connections: u32,
    /// How late its event loop last was, in seconds.
    pub lag_seconds: f64,
    /// It has not turned for two looks of the watchdog.
    pub stuck: bool,
}

/// One listener.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// The address it is bound to.
    pub address: String,
    /// Open connections.
    pub connections: u32,
    /// Open connections at most.
    pub max_connections: u32,
    /// Connections handed to a core, ever.
    pub accepted: u64,
    /// Connections that were gone before they were accepted, ever.
    pub accept_errors: u64,
    /// Pauses because the system was out of descriptors or memory, ever.
    pub accept_pauses: u64,
    /// Connections closed before they could carry a request, ever, by reason.
    pub refused: BTreeMap<String, u64>,
}

/// One upstream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UpstreamView {
    /// Its name.
    pub name: String,
    /// In flight, zombies included.
    pub in_flight: u32,
    /// Allowed in flight now.
    pub limit: u32,
    /// Configured cap.
    pub max_in_flight: u32,
    /// Waiting.
    pub queue_depth: u32,
    /// May wait at most.
    pub max_waiting: u32,
    /// Given up by their client or deadline, maybe still running at the backend.
    pub zombies: u32,
    /// What each class may fill of the limit, for the classes that its routes use.
    pub classes: Vec<ClassView>,
    /// 100 when unset.
    pub ramp_percent: f64,
    /// Its backends.
    pub backends: Vec<BackendView>,
}

/// One class of an upstream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ClassView {
    /// Its name.
    pub class: String,
    /// Admitted while fewer than this are in flight.
    pub limit: u32,
}

/// One backend.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BackendView {
    /// Its name.
    pub name: String,
    /// As configured.
    pub address: String,
    /// What the name resolves to now.
    pub resolved: Vec<String>,
    /// Has an address and may be picked.
    pub up: bool,
    /// `ready`, or why it is not picked.
    pub state: String,
    /// Relative to its peers.
    pub weight: u32,
    /// In flight, connecting ones and zombies included.
    pub in_flight: u32,
    /// In flight at most.
    pub cap: u32,
    /// Connections being established.
    pub connecting: u32,
    /// Peak-EWMA of the time to response headers, in milliseconds; nothing before the first answer.
    pub ewma_ms: Option<f64>,
    /// 100 when unset.
    pub ramp_percent: f64,
}
