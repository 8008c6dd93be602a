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
use crate::control::keyrings::{Errands, Keyrings};
use crate::control::trust::{Aside, Supply, Trust, Trusts};
use crate::filters::forwarded::TrustedProxies;
use crate::permit::Counter;
use crate::routing::Ambiguity;
use crate::routing::matcher::Matcher;
use crate::routing::settings::{Action, RouteSettings};
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
pub struct Builder {
    cores: usize,
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
    /// For the next table only.
    supply: Supply,
    /// What the table being built wants of endpoints that the active table may share: it becomes true when the
    /// table becomes active, and is forgotten when it does not.
    later: Vec<(Arc<Endpoint>, Waits, u32)>,
}

/// What a table that was built and is not active wants of what the active one has too.
#[derive(Debug, Default)]
pub struct Wishes {
    trusts: Aside,
    errands: Errands,
    endpoints: Vec<(Arc<Endpoint>, Waits, u32)>,
}

impl Wishes {
    /// What it uses towards backends, to be looked at where files may block.
    pub(super) fn in_use(&self) -> Vec<(Arc<str>, Trust)> {
        self.trusts.in_use()
    }
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
            supply: Supply::default(),
            later: Vec::new(),
        }
    }

    /// How many cores what it builds is for.
    pub fn cores(&self) -> usize {
        self.cores
    }

    /// Keys that tokens are checked with are fetched and kept by `keyrings`; without, by nobody.
    pub fn use_keyrings(&mut self, keyrings: Arc<Keyrings>) {
        self.keyrings = keyrings;
    }

    /// What files hold, for the next table; without, they are read while it is built.
    pub fn supply(&mut self, supply: Supply) {
        self.supply = supply;
    }

    /// Builds the table of a plan, under this number: versions are numbered by the state directory, and one that comes
    /// back has its own.
    ///
    /// # Errors
    /// Files of TLS towards backends that cannot be used, by name. Those that the active table uses already are
    /// not read again.
    pub fn build(&mut self, plan: &Plan, number: u64) -> Result<Table, String> {
        self.trusts.begin(Vec::new());
        self.table(plan, number)
    }

    /// Builds the table of the active plan again, under its own number: its text is the same, what its files
    /// hold is not: `renewed` is what they hold now, where it can be used. [`Builder::commit`] belongs to it.
    ///
    /// # Errors
    /// See [`Builder::build`].
    pub fn rebuild(
        &mut self,
        plan: &Plan,
        number: u64,
        renewed: Vec<(Arc<str>, Trust)>,
    ) -> Result<Table, String> {
        self.trusts.begin(renewed);
        self.table(plan, number)
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

    /// The table of this plan is active; what only older ones used may go.
    pub fn commit(&mut self, plan: &Plan) {
        self.auths.commit(plan);
        self.trusts.commit();
        self.keyrings.commit();
        self.directory.ask(&plan.gateway.resolver);
        self.settle(plan);
    }

    /// What was built last does not become active now: what it wants of what the active table has is kept for later.
    pub fn set_aside(&mut self) -> Wishes {
        Wishes {
            trusts: self.trusts.set_aside(),
            errands: self.keyrings.set_aside(),
            endpoints: std::mem::take(&mut self.later),
        }
    }

    /// What was set aside becomes active now; [`Builder::commit`] belongs to it.
    pub fn take_up(&mut self, wishes: Wishes) {
        self.trusts.take_up(wishes.trusts);
        self.keyrings.take_up(wishes.errands);
        self.later = wishes.endpoints;
    }

    /// The same for what [`Builder::readdress`] wants; [`Builder::settle`] belongs to it.
    pub fn take_up_addresses(&mut self, wishes: Wishes) {
        self.later = wishes.endpoints;
    }

    /// The same as [`Builder::readdress`] for a table that was set aside.
    ///
    /// # Errors
    /// The same.
    pub fn readdress_aside(
        &mut self,
        plan: &Plan,
        table: &Table,
        wishes: &mut Wishes,
    ) -> Result<Option<Table>, String> {
        self.trusts.trade(&mut wishes.trusts);
        let built = self.readdress(plan, table);
        self.trusts.trade(&mut wishes.trusts);
        // Where an endpoint is wanted twice, the last word is the one that counts.
        wishes.endpoints.append(&mut self.later);
        let holds = |endpoint: &Arc<Endpoint>| Arc::strong_count(endpoint) > 1;
        wishes.endpoints.retain(|(endpoint, ..)| holds(endpoint));
        built
    }

    /// The same as [`Builder::rebuild`] for a table that was set aside.
    ///
    /// # Errors
    /// See [`Builder::build`].
    pub fn rebuild_aside(
        &mut self,
        plan: &Plan,
        (number, renewed): (u64, Vec<(Arc<str>, Trust)>),
        wishes: &mut Wishes,
    ) -> Result<Table, String> {
        self.trusts.trade(&mut wishes.trusts);
        let built = self.rebuild(plan, number, renewed);
        self.trusts.trade(&mut wishes.trusts);
        let renewed = self.set_aside();
        if built.is_ok() {
            *wishes = renewed;
        }
        built
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

    fn table(&mut self, plan: &Plan, number: u64) -> Result<Table, String> {
        self.later.clear();
        let supply = std::mem::take(&mut self.supply);
        let upstreams: Result<Vec<_>, String> = plan
            .upstreams
            .iter()
            .enumerate()
            .map(|(index, upstream)| {
                let tls = self.trusts.client_for(upstream, &supply);
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
            .map(|settings| {
                self.auths.build(settings, plan, &self.metrics, (&self.keyrings, &upstreams, &*supply.files))
            })
            .collect();
        let auths = auths?;
        Ok(Table {
            number,
            hash: plan.hash.clone(),
            matcher: Arc::new(matcher),
            routes: plan.routes.iter().map(|(_, settings)| self.route(settings, plan)).collect(),
            upstreams,
            auth_headers: auths::added(plan),
            auth_names: auths::read(plan),
            auths: auths.into(),
            max_in_flight: plan.gateway.max_in_flight,
            max_streams: plan.gateway.max_in_flight_streams,
            max_buffered: plan.gateway.max_buffered,
            trusted_proxies: TrustedProxies::new(plan.gateway.trusted_proxies.clone()),
            access_log: plan.access_log.clone(),
            cohort: plan.rollout.cohort.clone(),
            guest: None,
        })
    }

    fn route(&mut self, settings: &RouteSettings, plan: &Plan) -> Route {
        let upstream = match settings.action {
            Action::Upstream(index) => plan.upstreams.get(index),
            Action::Respond { .. } | Action::Redirect { .. } => None,
        };
        let closed = upstream.is_some_and(|upstream| self.trusts.is_closed(&upstream.name));
        Route {
            settings: RouteSettings { missing_secret: settings.missing_secret || closed, ..settings.clone() },
            counts: self.routes.get_or(settings.name.clone(), admission::RouteCounts::default),
            metrics: self.metrics.route(&settings.name),
            part: None,
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
            part: None,
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
