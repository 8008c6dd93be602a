//! A plan: a configuration that was checked and is ready to build. Never serialised, never half valid.

use crate::admission::settings::Settings as GateSettings;
use crate::balancing::settings::Settings as BalancingSettings;
use crate::config::fills::Fills;
use crate::config::operators::Settings as AdminSettings;
use crate::config::policy::Policy;
use crate::config::public::{Incidents, StatusPage};
use crate::config::sinks::Sink;
use crate::filters::auth::settings::Settings as AuthSettings;
use crate::listener::settings::Settings as ListenerSettings;
use crate::routing::matcher::RouteKey;
use crate::routing::settings::RouteSettings;
use crate::telemetry::settings::AccessLogSettings;
use crate::upstream::settings::{OnMissing, Settings as UpstreamSettings};
use ipnet::IpNet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Everything a version says, valid and with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Hash of the text before filling: blake3, hex, the first 16 digits name the version to people.
    pub hash: String,
    /// The process.
    pub gateway: GatewaySettings,
    /// The operators' door.
    pub admin: AdminSettings,
    /// Addresses that accept clients, at least one.
    pub listeners: Vec<ListenerSettings>,
    /// Services.
    pub upstreams: Vec<UpstreamPlan>,
    /// Who may pass; routes refer to them by their place here.
    pub auths: Vec<AuthSettings>,
    /// Routes and what they match, in the order of the file (which decides nothing).
    pub routes: Vec<(RouteKey, RouteSettings)>,
    /// How its successor reaches clients.
    pub rollout: Policy,
    /// Who is told what happens.
    pub sinks: Vec<Sink>,
    /// The access log.
    pub access_log: AccessLogSettings,
    /// When the gateway drafts incidents, and what a freeze holds.
    pub incidents: Incidents,
    /// The page for everyone, if there is one.
    pub status_page: Option<StatusPage>,
    /// What filled the placeholders: another value is another plan, though the text is the same.
    pub fills: Fills,
    /// What a person should know though it is no error.
    pub notices: Vec<String>,
}

/// The `[gateway]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Cores of the data plane.
    pub workers: usize,
    /// Requests in the process.
    pub max_in_flight: u32,
    /// Tunnels and streams in the process.
    pub max_in_flight_streams: u32,
    /// Bytes buffered in the process.
    pub max_buffered: u64,
    /// From the end of accepting to the end of the process.
    pub drain_timeout: Duration,
    /// How long a draining process keeps accepting.
    pub drain_delay: Duration,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Name servers to ask instead of the system's.
    pub resolver: Vec<SocketAddr>,
}

/// One upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamPlan {
    /// Its name.
    pub name: Arc<str>,
    /// Its bounds.
    pub gate: GateSettings,
    /// Its backends.
    pub balancing: BalancingSettings,
    /// How they are spoken to.
    pub transport: UpstreamSettings,
    /// What becomes of the last good addresses of a name that has none any more.
    pub on_missing: OnMissing,
    /// How its cap follows its addresses, if the file does not say it.
    pub growth: Option<Growth>,
}

/// How the cap of an upstream follows the number of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// In flight for each address.
    pub each: u32,
    /// In flight at most: the upstream's share of the process.
    pub most: u32,
    /// The requests that may wait follow too.
    pub waiting: bool,
}
