//! Every counter of the gateway, by the names in the configuration.
//!
//! Rooms ask for their handles when a configuration is published and keep them; a request only touches its
//! core's cells. A name keeps its numbers across versions for as long as a version names it or somebody
//! holds its handle; `retain` forgets the rest, so the tables are bounded by what is configured. Gauges are
//! not here: they are read from the running gateway at the scrape, in the admin room.

pub mod auths;
pub mod families;
pub mod handles;
pub mod process;

use crate::request::Class;
pub use auths::{AuthMetrics, AuthResult};
pub use handles::{
    BackendMetrics, CheckOutcome, RetryOutcome, RouteCounted, RouteMetrics, Shared, Source, UpstreamMetrics,
};
pub use process::{ApplyOutcome, ProbeOutcome, ProcessMetrics, RollbackCause};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The name of what matched no route and reached no upstream.
pub const NONE: &str = "-";

/// All counters; shared by everything that counts and by the scrape.
#[derive(Debug)]
pub struct Metrics {
    cores: usize,
    process: ProcessMetrics,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    routes: BTreeMap<Arc<str>, Arc<RouteMetrics>>,
    upstreams: BTreeMap<Arc<str>, Arc<UpstreamMetrics>>,
    backends: BTreeMap<BackendName, Named>,
    auths: BTreeMap<Arc<str>, Arc<AuthMetrics>>,
}

/// A backend's name, after its upstream's.
type BackendName = (Arc<str>, Arc<str>);

/// A backend, and the addresses of its name that are counted apart: together they are one label.
#[derive(Debug)]
struct Named {
    own: Arc<BackendMetrics>,
    addresses: BTreeMap<Arc<str>, Arc<BackendMetrics>>,
}

impl Named {
    /// Is one of them checked?
    fn is_checked(&self) -> bool {
        self.own.is_checked() || self.addresses.values().any(|address| address.is_checked())
    }

    /// A count of all of them.
    fn sum(&self, count: impl Fn(&BackendMetrics) -> u64) -> u64 {
        self.addresses.values().map(|address| count(address)).fold(count(&self.own), u64::wrapping_add)
    }
}

/// The names that live versions use.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Routes.
    pub routes: BTreeSet<Arc<str>>,
    /// Upstreams.
    pub upstreams: BTreeSet<Arc<str>>,
    /// Backends, after their upstreams.
    pub backends: BTreeSet<(Arc<str>, Arc<str>)>,
    /// Auths.
    pub auths: BTreeSet<Arc<str>>,
}

impl Metrics {
    /// Counters for a data plane of this many cores, with the handles for `-`.
    pub fn new(cores: usize) -> Self {
        let metrics = Metrics { cores, process: ProcessMetrics::new(cores), tables: Mutex::default() };
        metrics.route(NONE);
        metrics.upstream(NONE).use_classes([Class::Default]);
        metrics
    }

    /// What is counted once for the process.
    pub fn process(&self) -> &ProcessMetrics {
        &self.process
    }

    /// The counters of a route; `-` for what matched none.
    pub fn route(&self, name: &str) -> Arc<RouteMetrics> {
        let mut tables = self.tables();
        named(&mut tables.routes, name, |name| RouteMetrics::new(name, self.cores))
    }

    /// The counters of every route, by name; not of what matched none.
    pub fn routes(&self) -> Vec<Arc<RouteMetrics>> {
        self.tables().routes.values().filter(|route| &*route.name != NONE).cloned().collect()
    }

    /// The counters of an upstream; `-` for what was shed before its upstream was known.
    pub fn upstream(&self, name: &str) -> Arc<UpstreamMetrics> {
        let mut tables = self.tables();
        named(&mut tables.upstreams, name, |name| UpstreamMetrics::new(name, self.cores))
    }

    /// The counters of every upstream, with those of what was shed before its upstream was known.
    pub fn upstreams(&self) -> Vec<Arc<UpstreamMetrics>> {
        self.tables().upstreams.values().cloned().collect()
    }

    /// The counters of a backend of an upstream.
    pub fn backend(&self, upstream: &str, name: &str) -> Arc<BackendMetrics> {
        self.tables().backend(upstream, name, self.cores).own.clone()
    }

    /// The counters of one address of a backend's name. They are exposed as part of the name's, also after the
    /// address has gone.
    pub fn address(&self, upstream: &str, name: &str, address: &str) -> Arc<BackendMetrics> {
        let mut tables = self.tables();
        let named = tables.backend(upstream, name, self.cores);
        let (upstream, name) = (named.own.upstream.clone(), named.own.name.clone());
        let make = || Arc::new(BackendMetrics::new(upstream, name, self.cores));
        named.addresses.entry(address.into()).or_insert_with(make).clone()
    }

    /// The counters of an auth.
    pub fn auth(&self, name: &str) -> Arc<AuthMetrics> {
        let mut tables = self.tables();
        named(&mut tables.auths, name, |name| AuthMetrics::new(name, self.cores))
    }

    /// Forgets the names that no version uses and whose handles nobody holds.
    pub fn retain(&self, names: &Names) {
        let mut tables = self.tables();
        tables.routes.retain(|name, it| &**name == NONE || names.routes.contains(name) || held(it));
        tables.upstreams.retain(|name, it| &**name == NONE || names.upstreams.contains(name) || held(it));
        tables.backends.retain(|key, it| {
            // Nobody gets a handle without the lock, so what nobody holds counts no more.
            for (_, gone) in it.addresses.extract_if(.., |_, address| !held(address)) {
                it.own.inherit(&gone);
            }
            names.backends.contains(key) || held(&it.own) || !it.addresses.is_empty()
        });
        tables.auths.retain(|name, it| names.auths.contains(name) || held(it));
    }

    /// Counting never panics while it holds the lock, and a table is whole after every step.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn backend(&mut self, upstream: &str, name: &str, cores: usize) -> &mut Named {
        let key: BackendName = (upstream.into(), name.into());
        let entry = self.backends.entry(key.clone());
        let own = || Arc::new(BackendMetrics::new(key.0, key.1, cores));
        entry.or_insert_with(|| Named { own: own(), addresses: BTreeMap::new() })
    }
}

fn named<T>(table: &mut BTreeMap<Arc<str>, Arc<T>>, name: &str, make: impl FnOnce(Arc<str>) -> T) -> Arc<T> {
    if let Some(handle) = table.get(name) {
        return Arc::clone(handle);
    }
    let name: Arc<str> = name.into();
    let handle = Arc::new(make(Arc::clone(&name)));
    table.insert(name, Arc::clone(&handle));
    handle
}

/// Somebody beside the table has it.
fn held<T>(handle: &Arc<T>) -> bool {
    Arc::strong_count(handle) > 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::cells::CoreId;

    #[test]
    fn a_name_keeps_its_numbers_across_versions() {
        let metrics = Metrics::new(2);
        metrics.route("orders").finished(CoreId(0), 200, Source::Backend, 1);
        metrics.route("orders").finished(CoreId(1), 204, Source::Backend, 1);
        assert_eq!(metrics.route("orders").requests(1, Source::Backend), 2);
    }

    #[test]
    fn a_name_that_no_version_uses_is_forgotten_once_nobody_holds_it() {
        let metrics = Metrics::new(1);
        let held = metrics.upstream("old");
        metrics.backend("old", "a");
        metrics.upstream("kept");
        let names = Names { upstreams: [Arc::from("kept")].into(), ..Names::default() };

        metrics.retain(&names);
        let upstreams: Vec<_> = metrics.tables().upstreams.keys().map(|name| name.to_string()).collect();
        assert_eq!(upstreams, ["-", "kept", "old"]);
        assert!(metrics.tables().backends.is_empty());

        drop(held);
        metrics.retain(&names);
        assert_eq!(metrics.tables().upstreams.len(), 2);
    }

    #[test]
    fn a_name_counts_what_its_addresses_counted_also_when_they_are_gone() {
        let metrics = Metrics::new(1);
        let count = || {
            let tables = metrics.tables();
            let named = tables.backends.values().next().expect("one name");
            (named.sum(|it| it.outcomes(true)), named.sum(|it| it.dials(false)), named.addresses.len())
        };
        let names = Names { backends: [(Arc::from("u"), Arc::from("pods"))].into(), ..Names::default() };
        for round in 1..=3 {
            let address = metrics.address("u", "pods", "10.0.0.1:80");
            address.answered(CoreId(0), true);
            address.dialled(CoreId(0), false);
            assert_eq!(count(), (round, round, 1));
            metrics.retain(&names);
            assert_eq!(count(), (round, round, 1), "somebody has it");
            drop(address);
            metrics.retain(&names);
            assert_eq!(count(), (round, round, 0));
        }
    }
}
