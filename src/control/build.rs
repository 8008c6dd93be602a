//! From a plan to a table. What keeps its identity is carried over: counters by name, connections and
//! averages by address, protocol and TLS (`design.md`, "Identity across a swap"), so a swap never doubles a
//! limit and never forgets what is in flight.

mod auths;
mod backends;
mod classes;
mod names;

use crate::admission;
use crate::balancing::budget::Budget;
use crate::balancing::ewma::PeakEwma;
use crate::balancing::rate::Rate;
use crate::balancing::shares::Shares;
use crate::balancing::{Backend, Cluster, Levelled};
use crate::config::plan::{Plan, UpstreamPlan};
use crate::control::build::backends::{Identity, Own};
use crate::control::keyrings::Keyrings;
use crate::control::trust::Trusts;
use crate::filters::forwarded::TrustedProxies;
use crate::permit::Counter;
use crate::routing::Ambiguity;
use crate::routing::matcher::Matcher;
use crate::routing::settings::RouteSettings;
use crate::routing::table::{Route, Table, Upstream};
use crate::runtime::descriptors::Descriptors;
use crate::telemetry::metrics::{Metrics, Names};
use crate::upstream::discovery::Directory;
use crate::upstream::tls::TlsClient;
use crate::upstream::{Endpoint, Waits};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

/// Builds tables, and knows what earlier ones are made of.
#[derive(Debug)]
pub struct Builder {
    cores: usize,
    number: u64,
    metrics: Arc<Metrics>,
    directory: Arc<Directory>,
    descriptors: Arc<Descriptors>,
    upstreams: Kept<Arc<str>, admission::Shared>,
    budgets: Kept<Arc<str>, Budget>,
    routes: Kept<Arc<str>, admission::RouteCounts>,
    auths: auths::Auths,
    keyrings: Arc<Keyrings>,
    backends: Kept<Own, Counter>,
    rates: Kept<Own, Rate>,
    streams: Kept<Own, Counter>,
    endpoints: Kept<Identity, Endpoint>,
    latencies: Kept<Identity, PeakEwma>,
    trusts: Trusts,
    /// What the table being built wants of endpoints that the active table may share: it becomes true when the
    /// table becomes active, and is forgotten when it does not.
    later: Vec<(Arc<Endpoint>, Waits, u32)>,
}

/// Parts by key, for as long as somebody uses them.
#[derive(Debug)]
struct Kept<K, T>(HashMap<K, Weak<T>>);

impl<K: Hash + Eq, T> Kept<K, T> {
    fn new() -> Self {
        Kept(HashMap::new())
    }

    fn get_or(&mut self, key: K, make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(kept) = self.0.get(&key).and_then(Weak::upgrade) {
            return kept;
        }
        let made = Arc::new(make());
        self.0.insert(key, Arc::downgrade(&made));
        made
    }

    fn forget_unused(&mut self) {
        self.0.retain(|_, part| part.strong_count() > 0);
    }
}

impl Builder {
    /// Has built nothing yet.
    pub fn new(
        cores: usize,
        metrics: Arc<Metrics>,
        directory: Arc<Directory>,
        descriptors: Arc<Descriptors>,
    ) -> Self {
        let keyrings = Arc::new(Keyrings::new(None, directory.clone()));
        Builder {
            cores,
            number: 0,
            metrics,
            directory,
            descriptors,
            upstreams: Kept::new(),
            budgets: Kept::new(),
            routes: Kept::new(),
            auths: auths::Auths::default(),
            keyrings,
            backends: Kept::new(),
            rates: Kept::new(),
            streams: Kept::new(),
            endpoints: Kept::new(),
            latencies: Kept::new(),
            trusts: Trusts::default(),
            later: Vec::new(),
        }
    }

    /// Keys that tokens are checked with are fetched and kept by `keyrings`; without, by nobody.
    pub fn use_keyrings(&mut self, keyrings: Arc<Keyrings>) {
        self.keyrings = keyrings;
    }

    /// The next table starts a version that was active before: an upstream whose files cannot be used now has no
    /// connections until they can, instead of keeping the others from their start.
    pub fn forgive_certificates(&mut self) {
        self.trusts.forgive();
    }

    /// Builds the table of a plan, with the next number.
    ///
    /// # Errors
    /// Files of TLS towards backends that cannot be used, by name. Those that the active table uses already are
    /// not read again.
    pub fn build(&mut self, plan: &Plan) -> Result<Table, String> {
        self.trusts.begin(false);
        self.table(plan)
    }

    /// Builds the table of the active plan again, under its own number: its text is the same, what its files
    /// hold is not. Where they cannot be used, their last good content stays. [`Builder::recommit`] belongs to it.
    ///
    /// # Errors
    /// See [`Builder::build`].
    pub fn rebuild(&mut self, plan: &Plan) -> Result<Table, String> {
        self.trusts.begin(true);
        let table = self.table(plan)?;
        Ok(Table { number: self.number, ..table })
    }

    /// Builds those upstreams of the active table again whose names have other addresses now; nothing if all are as
    /// they were. It keeps its number, reads no file, and shares all else with the table that it replaces, which a
    /// long request may hold for hours. [`Builder::settle`] belongs to it.
    ///
    /// # Errors
    /// None that the active table did not have when it was built.
    pub fn readdress(&mut self, plan: &Plan, active: &Table) -> Result<Option<Table>, String> {
        if active.upstreams.iter().all(|upstream| upstream.cluster.is_current()) {
            return Ok(None);
        }
        self.later.clear();
        let upstreams: Result<Vec<_>, String> = plan
            .upstreams
            .iter()
            .zip(&active.upstreams)
            .enumerate()
            .map(|(index, (upstream, before))| {
                if before.cluster.is_current() {
                    return Ok(before.clone());
                }
                let tls = self.trusts.active(&upstream.name).cloned();
                self.upstream(plan, index, upstream, tls)
            })
            .collect();
        Ok(Some(Table { upstreams: upstreams?, ..active.clone() }))
    }

    /// The table of this plan is active: its number is taken, and what only older ones used may go.
    pub fn commit(&mut self, plan: &Plan) {
        self.number += 1;
        self.recommit(plan);
    }

    /// The same for a table that was rebuilt and takes no number.
    pub fn recommit(&mut self, plan: &Plan) {
        self.auths.commit(plan);
        self.trusts.commit();
        self.keyrings.commit();
        self.directory.ask(&plan.gateway.resolver);
        self.settle(plan);
    }

    /// The same for a table that has only other addresses.
    pub fn settle(&mut self, plan: &Plan) {
        for (endpoint, waits, connects) in self.later.drain(..) {
            endpoint.follow(waits, connects);
        }
        for (index, upstream) in plan.upstreams.iter().enumerate() {
            self.metrics.upstream(&upstream.name).use_classes(classes::used(plan, index));
        }
        self.forget_unused(plan);
    }

    /// Forgets what a table brought that did not become active, or had that is gone. `plan` is the active one.
    pub fn forget_unused(&mut self, plan: &Plan) {
        // What was wanted of endpoints holds them.
        self.later.clear();
        self.upstreams.forget_unused();
        self.budgets.forget_unused();
        self.routes.forget_unused();
        self.auths.forget_unused();
        self.keyrings.forget_unused();
        self.backends.forget_unused();
        self.rates.forget_unused();
        self.streams.forget_unused();
        self.endpoints.forget_unused();
        self.latencies.forget_unused();
        self.metrics.retain(&names(plan));
    }

    /// Trust and client certificates of the active table.
    pub fn trusts(&self) -> &Trusts {
        &self.trusts
    }

    fn table(&mut self, plan: &Plan) -> Result<Table, String> {
        self.later.clear();
        let upstreams: Result<Vec<_>, String> = plan
            .upstreams
            .iter()
            .enumerate()
            .map(|(index, upstream)| {
                let tls = self.trusts.client_for(upstream);
                let tls = tls.map_err(|error| format!("upstream {}: {error}", upstream.name))?;
                self.upstream(plan, index, upstream, tls)
            })
            .collect();
        let upstreams = upstreams?;
        let keys: Vec<_> = plan.routes.iter().map(|(key, _)| key.clone()).collect();
        let matcher = Matcher::build(&keys).map_err(|found| {
            let tell = |a: &Ambiguity| format!("two routes both match {}", a.example);
            found.iter().map(tell).collect::<Vec<_>>().join("\n")
        })?;
        let auths: Result<Vec<_>, String> = plan
            .auths
            .iter()
            .map(|settings| self.auths.build(settings, plan, &self.metrics, (&self.keyrings, &upstreams)))
            .collect();
        let auths = auths?;
        Ok(Table {
            number: self.number + 1,
            hash: plan.hash.clone(),
            matcher: Arc::new(matcher),
            routes: plan.routes.iter().map(|(_, settings)| self.route(settings)).collect(),
            upstreams,
            auth_headers: auths::added(plan),
            auth_names: auths::read(plan),
            auths: auths.into(),
            max_in_flight: plan.gateway.max_in_flight,
            max_streams: plan.gateway.max_in_flight_streams,
            max_buffered: plan.gateway.max_buffered,
            trusted_proxies: TrustedProxies::new(plan.gateway.trusted_proxies.clone()),
            access_log: plan.access_log.clone(),
        })
    }

    fn route(&mut self, settings: &RouteSettings) -> Route {
        Route {
            settings: settings.clone(),
            counts: self.routes.get_or(settings.name.clone(), admission::RouteCounts::default),
            metrics: self.metrics.route(&settings.name),
        }
    }

    fn upstream(
        &mut self,
        plan: &Plan,
        index: usize,
        upstream: &UpstreamPlan,
        tls: Option<TlsClient>,
    ) -> Result<Upstream, String> {
        let metrics = self.metrics.upstream(&upstream.name);
        let classes = classes::used(plan, index);
        let (groups, backends) = self.groups(upstream, tls.as_ref())?;
        let cores = self.cores;
        // Whoever swaps the table in says first what operators' ramps leave.
        let cluster = Cluster {
            shares: Levelled::new(Shares::of(&backends.iter().map(Backend::warm).collect::<Vec<_>>(), None)),
            backends,
            groups,
            settings: Arc::new(upstream.balancing.clone()),
            budget: self.budgets.get_or(upstream.name.clone(), || Budget::new(cores)),
            host: upstream.transport.host.clone(),
            metrics: metrics.clone(),
        };
        Ok(Upstream {
            name: upstream.name.clone(),
            gate: names::gate(upstream, cluster.backends.len()),
            highest: classes::highest(plan, index),
            classes,
            shared: self
                .upstreams
                .get_or(upstream.name.clone(), || admission::Shared::new(&upstream.name, cores)),
            cluster: Arc::new(cluster),
            metrics,
        })
    }
}

/// All names that label a metric.
fn names(plan: &Plan) -> Names {
    Names {
        routes: plan.routes.iter().map(|(_, route)| route.name.clone()).collect(),
        upstreams: plan.upstreams.iter().map(|upstream| upstream.name.clone()).collect(),
        auths: plan.auths.iter().map(|auth| auth.name.clone()).collect(),
        backends: plan
            .upstreams
            .iter()
            .flat_map(|upstream| {
                upstream
                    .balancing
                    .backends
                    .iter()
                    .map(|backend| (upstream.name.clone(), backend.name.clone()))
            })
            .collect(),
    }
}
