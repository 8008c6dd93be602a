//! What operators see: plain values read from the running gateway at one moment. The admin API serialises
//! them, `/metrics` turns them into gauges, the command line prints them.

mod auths;
mod backends;
mod incidents;
mod lately;
mod levers;
mod upstreams;

pub use auths::{AuthView, KeptView, KeysView};
pub use backends::{BackendView, LookupView, LookupsView, ReferenceView};
pub use incidents::{FreezeView, IncidentsView, OpenView, StatusPageView, by_name};
pub use lately::{LatelyView, ShedView};
pub use levers::{LeverView, ThenView};
pub use upstreams::{AdaptiveView, ClassView, CohortView, MoveView, RetriesView, UpstreamView};

use crate::control::change::view::RolloutView;
use crate::control::condition::Condition;
use crate::control::notify::NotifyView;
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
    /// The same, each with what it is about.
    #[serde(default)]
    pub conditions: Vec<Condition>,
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
    /// The change under way, and what is left of the last one.
    #[serde(default)]
    pub rollout: RolloutView,
    /// Who is told what happens, and how that goes.
    #[serde(default)]
    pub notify: NotifyView,
    /// Incidents that are open or wait to be read, and what they hold.
    #[serde(default)]
    pub incidents: IncidentsView,
    /// The page for everyone, if there is one.
    #[serde(default)]
    pub status_page: Option<StatusPageView>,
    /// The last seconds of the whole process.
    #[serde(default)]
    pub lately: LatelyView,
}

impl GatewayView {
    /// One thing more that a person should know.
    pub fn say(&mut self, condition: Condition) {
        self.reasons.push(condition.text.clone());
        self.conditions.push(condition);
    }
}

/// The active version.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VersionView {
    /// Counts from 1 in a state directory.
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
