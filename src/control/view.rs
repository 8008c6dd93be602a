//! What operators see: plain values read from the running gateway at one moment. The admin API serialises
//! them, `/metrics` turns them into gauges, the command line prints them.

mod auths;

pub use auths::{AuthView, KeptView, KeysView};

use crate::control::steering::forecast::Forecast;
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
    /// Tunnels, and requests of streaming routes, in the process.
    #[serde(default)]
    pub streams: u32,
    /// Of these at most.
    #[serde(default)]
    pub max_streams: u32,
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
    /// The lookups of backends' names.
    #[serde(default)]
    pub lookups: LookupsView,
    /// Who may pass.
    #[serde(default)]
    pub auths: Vec<AuthView>,
}

/// The active version.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VersionView {
    /// Counts from 1 in a process.
    pub number: u64,
    /// Blake3 of the text, hex.
    pub hash: String,
    /// Where it came from: `boot`, `watch`, `signal` or `api`.
    pub cause: String,
    /// Who applied it; nothing where the file did.
    pub by: Option<String>,
    /// Why, in their words.
    pub reason: Option<String>,
    /// Since when it is active: UTC, RFC 3339.
    pub since: String,
    /// It stands over the file: the file is not what runs.
    pub overrules_file: bool,
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
    /// How late its ticks were on average over the last second, without the worst.
    #[serde(default)]
    pub mean_late_ms: u64,
    /// Classes that it refuses because it does not keep up (`cpu`).
    #[serde(default)]
    pub closed_classes: Vec<String>,
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
    /// Those of them that are parked: only their client's next word, or its first, is waited for.
    #[serde(default)]
    pub parked: u32,
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
    /// Its certificates, if clients speak TLS here.
    pub tls: Option<TlsView>,
}

/// The certificates of a listener, or of an upstream's client, and what became of their files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsView {
    /// Those in use.
    pub certificates: Vec<CertificateView>,
    /// Why the files as they are now are not used, if they are not.
    pub refused: Option<String>,
    /// Contents of the files that could not be used, ever.
    pub reload_failures: u64,
}

/// One certificate in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateView {
    /// Its file.
    pub certificate: String,
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// Until when it is valid (RFC 3339).
    pub not_after: String,
    /// The same in seconds since 1970.
    pub not_after_seconds: i64,
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
    /// The same among its backends' streams.
    #[serde(default)]
    pub stream_zombies: u32,
    /// Second tries.
    #[serde(default)]
    pub retries: RetriesView,
    /// The limit that finds itself; nothing while that is off.
    #[serde(default)]
    pub adaptive: Option<AdaptiveView>,
    /// What each class may fill of the limit, for the classes that its routes use.
    pub classes: Vec<ClassView>,
    /// 100 when unset.
    pub ramp_percent: f64,
    /// Its ramp, if one is set.
    #[serde(default)]
    pub ramp: Option<LeverView>,
    /// Which of its clients it serves, while a ramp binds.
    #[serde(default)]
    pub cohort: Option<CohortView>,
    /// Whom it trusts and what it shows, if backends speak TLS.
    pub tls: Option<TlsView>,
    /// Its backends.
    pub backends: Vec<BackendView>,
}

/// Which clients a ramped upstream serves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CohortView {
    /// `everyone`, `cohort` (always the same ones), or `request` (whoever finds room, because there are too few
    /// clients to choose among or one of them is most of the traffic).
    pub manner: String,
    /// The part of the clients that is in.
    pub share_percent: f64,
    /// The part of the last second's requests that they sent.
    pub realised_percent: f64,
    /// Clients in the last minute, about.
    pub clients: f64,
}

/// Second tries of an upstream's requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RetriesView {
    /// Those that the successes so far would pay for now; three a second are free beside them.
    pub tokens: f64,
    /// Waiting or on their way.
    pub in_flight: u32,
    /// How they ended, or why there was none, ever.
    pub outcomes: BTreeMap<String, u64>,
}

/// The limit that finds itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AdaptiveView {
    /// `shadow` or `enforce`.
    pub mode: String,
    /// What it allows in flight.
    pub limit: u32,
    /// It goes no lower.
    pub floor: u32,
    /// Mean time to the answer's head that it aims at now.
    pub objective_seconds: f64,
    /// The same as configured; lower while fewer in flight did not make answers faster.
    pub configured_objective_seconds: f64,
    /// It has been at its floor for ten seconds, in somebody's way.
    pub at_floor: bool,
    /// Its last move, if it has moved.
    pub last_move: Option<MoveView>,
    /// How often it moved, ever, by reason.
    pub moves: BTreeMap<String, u64>,
    /// Requests let in, ever, that `enforce` would have stopped.
    pub shadow_sheds: u64,
}

/// A move of an adaptive limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MoveView {
    /// When (RFC 3339).
    pub at: String,
    /// `failing`, `slow`, `futile`, `wanted` or `bounds`.
    pub reason: String,
    /// The limit before.
    pub from: u32,
    /// The limit after.
    pub to: u32,
    /// Why, with numbers.
    pub because: String,
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

/// A ramp or a drain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeverView {
    /// `ramp`, `drain` or `automatic`.
    pub kind: String,
    /// The upstream's name.
    pub upstream: String,
    /// The backend's name, if it is one backend's.
    pub backend: Option<String>,
    /// 0 to 100.
    pub percent: f64,
    /// Its next step, if it has one.
    pub then: Option<ThenView>,
    /// In flight that the percentage is of, if the operator said so.
    pub reference: Option<f64>,
    /// Who set it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// What its upstream will shed now; nothing while the active version has no such upstream.
    pub forecast: Option<Forecast>,
}

/// A ramp's next step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThenView {
    /// The percentage that it goes to.
    pub percent: f64,
    /// How long until then.
    pub in_seconds: f64,
    /// The clock stands still.
    pub paused: bool,
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
