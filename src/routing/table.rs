//! One version of the configuration, built: what all cores share of it, and the pointer by which it changes.
//!
//! A table is never edited. A change is a new table, swapped in by one store; a request keeps the table that
//! it began with (promise 4). Counters and connections inside it may be shared with the table before.

use crate::admission::cohorts::Keys;
use crate::admission::{self, UpstreamPart};
use crate::balancing::Cluster;
use crate::filters::auth::Auth;
use crate::filters::forwarded::TrustedProxies;
use crate::permit::Part;
use crate::request::Class;
use crate::request::cohort::Fact;
use crate::routing::matcher::Matcher;
use crate::routing::settings::{Action, RouteSettings};
use crate::routing::trial::Tables;
use crate::routing::trial::caps::GuestParts;
use crate::telemetry::metrics::{RouteMetrics, UpstreamMetrics};
use crate::telemetry::settings::AccessLogSettings;
use arc_swap::ArcSwap;
use http::HeaderName;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One version, ready to serve; a further table of it where names have other addresses.
#[derive(Clone, Debug)]
pub struct Table {
    /// Counts from 1 in a process.
    pub number: u64,
    /// Blake3 of the text, hex.
    pub hash: String,
    /// Finds a route's index. Shared by tables of one version, which a request may hold for long.
    pub matcher: Arc<Matcher>,
    /// The routes; likewise.
    pub routes: Arc<[Route]>,
    /// The upstreams.
    pub upstreams: Vec<Upstream>,
    /// Who may pass.
    pub auths: Arc<[Auth]>,
    /// What any of them may tell backends: taken out of what clients send, on every route.
    pub auth_headers: Arc<[HeaderName]>,
    /// These, and what any of them judges by: other spellings of them are taken out likewise.
    pub auth_names: Arc<[HeaderName]>,
    /// Requests in the process at most.
    pub max_in_flight: u32,
    /// Tunnels in the process at most.
    pub max_streams: u32,
    /// Bytes buffered in the process at most.
    pub max_buffered: u64,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: TrustedProxies,
    /// What access lines hold.
    pub access_log: AccessLogSettings,
    /// What tells clients apart where a share of them is served otherwise.
    pub cohort: Fact,
    /// What it may hold while it is tried beside the stable version.
    pub guest: Option<GuestParts>,
}

impl Table {
    /// The highest class that its routes to upstreams use: the one that is never refused for want of processor time.
    pub fn highest_class(&self) -> Class {
        let routes = self.routes.iter().map(|route| &route.settings);
        let relayed = routes.filter(|route| matches!(route.action, Action::Upstream(_)));
        relayed.map(|route| route.class).min().unwrap_or_default()
    }
}

/// One route of a table.
#[derive(Debug)]
pub struct Route {
    /// What it does.
    pub settings: RouteSettings,
    /// What is in flight through it; lives as long as the name.
    pub counts: Arc<admission::RouteCounts>,
    /// Where it counts.
    pub metrics: Arc<RouteMetrics>,
    /// What a candidate may hold of it, beside the stable version.
    pub part: Option<Part>,
}

/// One upstream of a table.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name.
    pub name: Arc<str>,
    /// Its bounds.
    pub gate: admission::settings::Settings,
    /// The highest class that its routes use.
    pub highest: Class,
    /// All classes that its routes use.
    pub classes: Vec<Class>,
    /// Permits and waiters; live as long as the name.
    pub shared: Arc<admission::Shared>,
    /// Its backends.
    pub cluster: Arc<Cluster>,
    /// Where it counts.
    pub metrics: Arc<UpstreamMetrics>,
    /// What a candidate may hold of it, beside the stable version.
    pub part: Option<UpstreamPart>,
}

/// What serves: the active table, and perhaps a candidate beside it.
#[derive(Debug)]
pub struct Live {
    tables: ArcSwap<Tables>,
    epoch: AtomicU64,
    /// The clients of the last moments, by bucket of their key.
    pub keys: Keys,
}

impl Live {
    /// Starts with `table`.
    pub fn new(table: Arc<Table>) -> Self {
        let tables = ArcSwap::from_pointee(Tables::only(table));
        Live { tables, epoch: AtomicU64::new(1), keys: Keys::default() }
    }

    /// Makes these the ones that new requests take, in one step. Returns those before.
    pub fn replace(&self, tables: Tables) -> Arc<Tables> {
        let before = self.tables.swap(Arc::new(tables));
        self.epoch.fetch_add(1, Ordering::Release);
        before
    }

    /// Makes `table` the one that all new requests take; a trial ends with it. Returns those before.
    pub fn swap(&self, table: Arc<Table>) -> Arc<Tables> {
        self.replace(Tables::only(table))
    }

    /// Grows with every swap: a core looks at this number for each request, and at the tables only when the
    /// number has changed.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// What serves.
    pub fn tables(&self) -> Arc<Tables> {
        self.tables.load_full()
    }

    /// The stable table.
    pub fn load(&self) -> Arc<Table> {
        self.tables.load().stable.clone()
    }
}
