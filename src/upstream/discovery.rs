//! Where backends are: names resolved in the background, never on a request's way.
//!
//! Cores see [`AddressSet`]s: whatever was found last, replaced whole. A name server that fails, hangs or
//! answers with nothing never takes an address away (`design.md`, promise 1): the last good set stays, also
//! for a name that left the configuration and comes back with a rollback. A name that never resolved has an
//! empty set, which makes its backend absent.
//!
//! It deliberately follows no record's time to live: every name is asked again at one pace.

use crate::upstream::settings::Address;
use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use hashbrown::HashMap;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::read_system_conf;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

/// Lookups in flight at most; a name server that hangs must not collect them.
const MAX_LOOKUPS: usize = 16;
/// Addresses of one name at most; the rest of a longer answer is not used.
const MAX_ADDRESSES: usize = 64;
/// Names whose last good addresses are kept after nobody uses them any more.
const MAX_REMEMBERED: usize = 4096;

/// The addresses of one backend, shared by control, cores and the resolver.
#[derive(Debug)]
pub struct AddressSet {
    now: ArcSwap<Addresses>,
    /// There is at least one; asked for each backend with each request.
    known: AtomicBool,
    failure: ArcSwapOption<String>,
    tried: watch::Sender<bool>,
}

/// What a name resolved to last.
#[derive(Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Goes up with every change.
    pub version: u64,
    /// Sorted; empty if the name never resolved.
    pub list: Box<[SocketAddr]>,
}

impl AddressSet {
    /// A set that never changes, for an address literal.
    pub fn fixed(address: SocketAddr) -> Self {
        AddressSet::starting_with(Box::new([address]), true)
    }

    fn starting_with(list: Box<[SocketAddr]>, tried: bool) -> Self {
        AddressSet {
            known: AtomicBool::new(!list.is_empty()),
            now: ArcSwap::from_pointee(Addresses { version: 0, list }),
            failure: ArcSwapOption::empty(),
            tried: watch::Sender::new(tried),
        }
    }

    /// The addresses of the moment. Do not hold the guard across an await.
    pub fn load(&self) -> Guard<Arc<Addresses>> {
        self.now.load()
    }

    /// There is at least one address.
    #[inline]
    pub fn is_known(&self) -> bool {
        self.known.load(Acquire)
    }

    /// Why the last lookup failed, if it did; the addresses may then be old.
    pub fn failure(&self) -> Option<Arc<String>> {
        self.failure.load_full()
    }

    /// Returns when the name was asked for at least once, with whatever outcome.
    pub async fn tried(&self) {
        // Fails only without a sender, and we hold it.
        let _ = self.tried.subscribe().wait_for(|tried| *tried).await;
    }

    fn found(&self, list: Box<[SocketAddr]>) {
        let before = self.now.load();
        if before.list != list {
            let known = !list.is_empty();
            self.now.store(Arc::new(Addresses { version: before.version + 1, list }));
            // Whoever sees it finds the addresses.
            self.known.store(known, Release);
        }
        self.failure.store(None);
        self.tried.send_replace(true);
    }

    fn failed(&self, why: String) {
        self.failure.store(Some(Arc::new(why)));
        self.tried.send_replace(true);
    }
}

/// Every name in use. Shared between whoever builds tables, who asks it for sets, and [`keep_resolved`].
#[derive(Debug, Default)]
pub struct Directory {
    names: Mutex<Names>,
    added: Notify,
}

#[derive(Debug, Default)]
struct Names {
    in_use: HashMap<Address, Weak<AddressSet>, foldhash::quality::RandomState>,
    /// In use, and not yet looked after.
    added: Vec<(Address, Weak<AddressSet>)>,
    last_good: HashMap<Address, Box<[SocketAddr]>, foldhash::quality::RandomState>,
}

impl Directory {
    /// The set of `address`: the same one for as long as anybody holds it.
    pub fn addresses_of(&self, address: &Address) -> Arc<AddressSet> {
        if let Ok(ip) = address.host.parse::<IpAddr>() {
            return Arc::new(AddressSet::fixed(SocketAddr::new(ip, address.port)));
        }
        let mut names = self.lock();
        if let Some(set) = names.in_use.get(address).and_then(Weak::upgrade) {
            return set;
        }
        let known = names.last_good.get(address).cloned().unwrap_or_default();
        let set = Arc::new(AddressSet::starting_with(known, false));
        names.in_use.retain(|_, set| set.strong_count() > 0);
        names.in_use.insert(address.clone(), Arc::downgrade(&set));
        names.added.retain(|(_, set)| set.strong_count() > 0);
        names.added.push((address.clone(), Arc::downgrade(&set)));
        self.added.notify_one();
        set
    }

    /// Returns when every name in use was asked for at least once. It takes as long as the name servers
    /// take, so bound it.
    pub async fn tried(&self) {
        let sets: Vec<_> = self.lock().in_use.values().filter_map(Weak::upgrade).collect();
        for set in sets {
            set.tried().await;
        }
    }

    fn take_added(&self) -> Vec<(Address, Weak<AddressSet>)> {
        std::mem::take(&mut self.lock().added)
    }

    fn remember(&self, address: &Address, list: &[SocketAddr]) {
        let last_good = &mut self.lock().last_good;
        if last_good.len() >= MAX_REMEMBERED && !last_good.contains_key(address) {
            let any = last_good.keys().next().cloned();
            any.and_then(|any| last_good.remove(&any));
        }
        last_good.insert(address.clone(), list.into());
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often names are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between lookups of one name while they succeed, ± 20 %.
    pub refresh: Duration,
    /// After the first failure; doubles with each further one.
    pub retry_min: Duration,
    /// Between lookups at most.
    pub retry_max: Duration,
    /// For one lookup.
    pub deadline: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            refresh: Duration::from_secs(5),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(30),
            deadline: Duration::from_secs(2),
        }
    }
}

impl Pace {
    /// Until the next lookup after `failures` in a row; `chance` in 0..1 spreads the names.
    fn wait(&self, failures: u32, chance: f64) -> Duration {
        let base = match failures {
            0 => self.refresh,
            n => self.retry_min.saturating_mul(1 << (n - 1).min(16)).min(self.retry_max),
        };
        base.mul_f64(0.8 + 0.4 * chance).min(self.retry_max.max(self.refresh))
    }
}

/// Looks after every name of `directory`, for ever. Belongs on the background thread: reading the system's
/// configuration and hosts file blocks, and so may what it names.
pub async fn keep_resolved(directory: Arc<Directory>, resolver: Resolver, pace: Pace) {
    let resolver = Arc::new(resolver);
    let slots = Arc::new(Semaphore::new(MAX_LOOKUPS));
    let mut tasks = JoinSet::new();
    loop {
        for (address, set) in directory.take_added() {
            let keeper = Keeper {
                address,
                set,
                directory: Arc::clone(&directory),
                resolver: Arc::clone(&resolver),
                slots: Arc::clone(&slots),
                pace,
            };
            tasks.spawn(keeper.keep());
        }
        tokio::select! {
            () = directory.added.notified() => {}
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Looks after one name for as long as anybody uses it.
struct Keeper {
    address: Address,
    set: Weak<AddressSet>,
    directory: Arc<Directory>,
    resolver: Arc<Resolver>,
    slots: Arc<Semaphore>,
    pace: Pace,
}

impl Keeper {
    async fn keep(self) {
        let mut failures = 0u32;
        while let Some(set) = self.set.upgrade() {
            match self.look_up().await {
                Ok(list) => {
                    self.tell(&set, failures, None);
                    failures = 0;
                    self.directory.remember(&self.address, &list);
                    set.found(list);
                }
                Err(why) => {
                    self.tell(&set, failures, Some(&why));
                    failures = failures.saturating_add(1);
                    set.failed(why);
                }
            }
            drop(set);
            tokio::time::sleep(self.pace.wait(failures, fastrand::f64())).await;
        }
    }

    async fn look_up(&self) -> Result<Box<[SocketAddr]>, String> {
        // Never closed.
        let _slot = self.slots.acquire().await;
        let lookup = self.resolver.addresses(&self.address);
        match tokio::time::timeout(self.pace.deadline, lookup).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {:?}", self.pace.deadline)),
        }
    }

    /// Logs when a name begins to fail and when it resolves again, not every lookup between.
    fn tell(&self, set: &AddressSet, failures: u32, failure: Option<&str>) {
        let (name, addresses) = (&*self.address.host, set.load().list.len());
        match failure {
            Some(error) if failures == 0 => {
                tracing::warn!(name, error, addresses, "a backend's name does not resolve");
            }
            None if failures > 0 => tracing::info!(name, "a backend's name resolves again"),
            _ => {}
        }
    }
}

/// Asks name servers.
pub struct Resolver(TokioResolver);

impl Resolver {
    /// As the system is configured: resolv.conf and the hosts file, read now. Without a usable resolv.conf
    /// only the hosts file counts.
    ///
    /// # Errors
    /// When no resolver can be made at all.
    pub fn system() -> Result<Self, String> {
        match read_system_conf() {
            Ok((config, options)) => Resolver::build(config, options),
            Err(error) => {
                tracing::warn!(%error, "no usable resolv.conf; only the hosts file is used");
                Resolver::build(ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default())
            }
        }
    }

    /// Asking one name server over UDP.
    ///
    /// # Errors
    /// When no resolver can be made.
    pub fn asking(server: SocketAddr) -> Result<Self, String> {
        let mut connection = ConnectionConfig::udp();
        connection.port = server.port();
        let server = NameServerConfig::new(server.ip(), true, vec![connection]);
        Resolver::build(ResolverConfig::from_name_servers(vec![server]), ResolverOpts::default())
    }

    fn build(config: ResolverConfig, mut options: ResolverOpts) -> Result<Self, String> {
        options.timeout = Duration::from_secs(1);
        options.attempts = 1;
        // When to ask again is decided here, not by a record's time to live.
        options.cache_size = 0;
        // Where both exist IPv6 is often the one without a route, and a backend has one set.
        options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.with_options(options).build().map(Resolver).map_err(|error| error.to_string())
    }

    /// At least one address, sorted.
    async fn addresses(&self, address: &Address) -> Result<Box<[SocketAddr]>, String> {
        let found = self.0.lookup_ip(&*address.host).await.map_err(|error| error.to_string())?;
        let mut list: Vec<_> = found.iter().map(|ip| SocketAddr::new(ip, address.port)).collect();
        list.sort_unstable();
        list.dedup();
        list.truncate(MAX_ADDRESSES);
        if list.is_empty() {
            return Err("the answer holds no address".to_owned());
        }
        Ok(list.into())
    }
}

#[cfg(test)]
mod tests;
