//! What two versions may hold while both serve: a shared cap is stable + share × (candidate − stable), and the
//! candidate holds at most max(4, 2 × share × cap) of it (`design.md`, "Guard").
//!
//! Shared is what is counted together: names. So one count is compared with one cap by both, and a second one, of the
//! candidate's part, keeps what hangs there from taking all of it. What only one of them has is its own. Retries, and
//! what the limit that finds itself is told, are never the candidate's to spend.

use crate::admission::UpstreamPart;
use crate::admission::settings::Settings as GateSettings;
use crate::balancing::budget::Budget;
use crate::balancing::shares::Shares;
use crate::balancing::{Backend, Cluster, Guest, Levelled};
use crate::filters::auth::Auth;
use crate::filters::auth::settings::Kind;
use crate::permit::{Counter, Part};
use crate::request::cohort::Share;
use crate::routing::settings::Action;
use crate::routing::table::{Route, Table, Upstream};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The candidate's part is never less than this.
const LEAST: u32 = 4;

/// The candidate's own counts, by what they are of. They last as long as the trial, whatever its stage.
#[derive(Debug)]
pub struct Parts {
    cores: usize,
    counts: Mutex<HashMap<Of, Arc<Counter>>>,
    budgets: Mutex<HashMap<Arc<str>, Arc<Budget>>>,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Of {
    Process,
    Streams,
    InFlight(Arc<str>),
    Waiting(Arc<str>),
    Route(Arc<str>),
    Auth(Arc<str>),
    Backend(Arc<str>, Arc<str>, Arc<str>),
    BackendStreams(Arc<str>, Arc<str>, Arc<str>),
}

/// What a candidate's table may hold of what is not an upstream's, a route's or a backend's.
#[derive(Clone, Debug)]
pub struct GuestParts {
    /// Requests in the process.
    pub requests: Part,
    /// Streams in the process.
    pub streams: Part,
    /// Questions of each auth, in their order, where the stable version has an auth of that name.
    pub auths: Box<[Option<Part>]>,
}

impl Parts {
    /// Nothing is held, on so many cores.
    pub fn new(cores: usize) -> Self {
        Parts { cores, counts: Mutex::default(), budgets: Mutex::default() }
    }

    /// The part of what has this cap.
    fn part(&self, of: Of, cap: u32, share: Share) -> Part {
        let held = self.counts().entry(of).or_default().clone();
        Part::new(held, part_of(cap, share))
    }

    fn budget(&self, upstream: &Arc<str>) -> Arc<Budget> {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        budgets.entry(upstream.clone()).or_insert_with(|| Arc::new(Budget::new(self.cores))).clone()
    }

    /// Addresses that are gone must not fill the memory: what no table has and nobody holds is forgotten.
    fn forget_unused(&self) {
        self.counts().retain(|_, count| Arc::strong_count(count) > 1);
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Of, Arc<Counter>>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What both together may hold.
pub fn blended(stable: u32, candidate: u32, share: Share) -> u32 {
    let (stable, candidate) = (f64::from(stable), f64::from(candidate));
    // Between the two, so it fits.
    (stable + share.part() * (candidate - stable)).round() as u32
}

/// What the candidate may hold of a cap.
pub fn part_of(cap: u32, share: Share) -> u32 {
    // Saturates, and is never above the cap where that is larger than the least.
    let part = (2.0 * share.part() * f64::from(cap)).ceil() as u32;
    part.max(LEAST)
}

/// Both tables as they serve beside each other; the stable one is the same where nothing of it changes. What of the
/// candidate takes effect at its full activation only is the stable one's until then.
pub fn beside(
    stable: &Arc<Table>,
    candidate: &Table,
    share: Share,
    parts: &Parts,
) -> (Arc<Table>, Arc<Table>) {
    let mix = Mix { share, parts };
    let max_in_flight = blended(stable.max_in_flight, candidate.max_in_flight, share);
    let max_streams = blended(stable.max_streams, candidate.max_streams, share);
    let own = Table {
        max_in_flight,
        max_streams,
        upstreams: mix.stable_upstreams(stable, candidate),
        routes: mix.stable_routes(stable, candidate),
        ..(**stable).clone()
    };
    let guest = Table {
        max_in_flight,
        max_streams,
        upstreams: mix.upstreams(candidate, stable),
        routes: mix.routes(candidate, stable),
        guest: Some(mix.of_table(candidate, stable, (max_in_flight, max_streams))),
        max_buffered: stable.max_buffered,
        trusted_proxies: stable.trusted_proxies.clone(),
        access_log: stable.access_log.clone(),
        cohort: stable.cohort.clone(),
        ..candidate.clone()
    };
    parts.forget_unused();
    let own = if is_as_before(&own, stable) { stable.clone() } else { Arc::new(own) };
    (own, Arc::new(guest))
}

fn is_as_before(now: &Table, before: &Table) -> bool {
    let same = |(now, before): (&Upstream, &Upstream)| {
        now.gate == before.gate && Arc::ptr_eq(&now.cluster, &before.cluster)
    };
    (now.max_in_flight, now.max_streams) == (before.max_in_flight, before.max_streams)
        && Arc::ptr_eq(&now.routes, &before.routes)
        && now.upstreams.iter().zip(&before.upstreams).all(same)
}

/// How two tables are mixed.
#[derive(Clone, Copy)]
struct Mix<'a> {
    share: Share,
    parts: &'a Parts,
}

impl Mix<'_> {
    fn part(self, of: Of, cap: u32) -> Part {
        self.parts.part(of, cap, self.share)
    }

    /// Of the candidate's table: the process, and auths.
    fn of_table(self, candidate: &Table, stable: &Table, (requests, streams): (u32, u32)) -> GuestParts {
        let auth = |auth: &Auth| {
            let Kind::External(external) = &auth.settings.kind else { return None };
            let known = stable.auths.iter().any(|it| it.settings.name == auth.settings.name);
            known.then(|| self.part(Of::Auth(auth.settings.name.clone()), external.max_in_flight))
        };
        GuestParts {
            requests: self.part(Of::Process, requests),
            streams: self.part(Of::Streams, streams),
            auths: candidate.auths.iter().map(auth).collect(),
        }
    }

    /// The stable version's upstreams: those whose bounds differ in the candidate are bound anew.
    fn stable_upstreams(self, stable: &Table, candidate: &Table) -> Vec<Upstream> {
        let others = named(candidate);
        let own = |upstream: &Upstream| {
            let Some(other) = others.get(&upstream.name) else { return upstream.clone() };
            let counts = counted(other);
            let bounds = |backend: &Backend| {
                counts.get(&Arc::as_ptr(&backend.in_flight)).map_or(own_bounds(backend), |other| {
                    let (cap, streams) = own_bounds(other);
                    (blended(backend.cap, cap, self.share), blended(backend.max_streams, streams, self.share))
                })
            };
            let same = upstream.cluster.backends.iter().all(|it| bounds(it) == own_bounds(it));
            let cluster = if same {
                upstream.cluster.clone()
            } else {
                let bind = |backend: &Backend| {
                    let (cap, max_streams) = bounds(backend);
                    Backend { cap, max_streams, ..backend.clone() }
                };
                let backends = upstream.cluster.backends.iter().map(bind).collect();
                cluster(&upstream.cluster, backends, upstream.cluster.budget.clone())
            };
            Upstream {
                gate: self.gate(&upstream.gate, &upstream.gate, &other.gate),
                cluster,
                ..upstream.clone()
            }
        };
        stable.upstreams.iter().map(own).collect()
    }

    /// The candidate's upstreams: those that the stable version has too are held to their part.
    fn upstreams(self, candidate: &Table, stable: &Table) -> Vec<Upstream> {
        let others = named(stable);
        let own = |upstream: &Upstream| {
            let Some(other) = others.get(&upstream.name) else { return upstream.clone() };
            let gate = self.gate(&upstream.gate, &other.gate, &upstream.gate);
            // One limit finds itself for the name, by the rules of the stable version.
            let gate = GateSettings { adaptive: other.gate.adaptive, ..gate };
            let name = &upstream.name;
            let part = UpstreamPart {
                in_flight: self.part(Of::InFlight(name.clone()), gate.max_in_flight),
                waiting: self.part(Of::Waiting(name.clone()), gate.max_waiting),
            };
            let (counts, reached) = (counted(other), reached(other));
            let guest = |backend: &Backend| self.backend(name, backend, &counts, &reached);
            let backends = upstream.cluster.backends.iter().map(guest).collect();
            let cluster = cluster(&upstream.cluster, backends, self.parts.budget(name));
            Upstream { gate, part: Some(part), cluster, ..upstream.clone() }
        };
        candidate.upstreams.iter().map(own).collect()
    }

    fn backend(
        self,
        upstream: &Arc<str>,
        backend: &Backend,
        counts: &HashMap<*const Counter, &Backend>,
        reached: &HashSet<usize>,
    ) -> Backend {
        let other = counts.get(&Arc::as_ptr(&backend.in_flight)).copied();
        let mix = |own: u32, other: Option<u32>| other.map_or(own, |other| blended(other, own, self.share));
        let cap = mix(backend.cap, other.map(|it| it.cap));
        let max_streams = mix(backend.max_streams, other.map(|it| it.max_streams));
        // Where the stable version asks nobody any more, only the candidate's requests tell.
        let is_lent = self.share != Share::ALL && reached.contains(&place(backend));
        // What nobody else counts is the candidate's alone, up to its caps.
        let most = |of: Of, cap: u32| match other {
            Some(_) => self.part(of, cap),
            None => Part::new(Arc::default(), u32::MAX),
        };
        let key = || (upstream.clone(), backend.settings.name.clone(), backend.at.clone());
        let (u, b, at) = key();
        let requests = most(Of::Backend(u, b, at), cap);
        let (u, b, at) = key();
        let streams = most(Of::BackendStreams(u, b, at), max_streams);
        Backend { cap, max_streams, guest: Some(Guest { requests, streams, is_lent }), ..backend.clone() }
    }

    /// Of one of the two, what both may hold; how long one waits is each one's own.
    fn gate(self, own: &GateSettings, stable: &GateSettings, candidate: &GateSettings) -> GateSettings {
        GateSettings {
            max_in_flight: blended(stable.max_in_flight, candidate.max_in_flight, self.share),
            max_waiting: blended(stable.max_waiting, candidate.max_waiting, self.share),
            ..own.clone()
        }
    }

    fn stable_routes(self, stable: &Table, candidate: &Table) -> Arc<[Route]> {
        let known = routes_of(candidate);
        let bounds = |route: &Route| {
            let own = bound(stable, route);
            let other = known.get(&route.settings.name);
            (own, other.map_or(own, |other| blended(own, bound(candidate, other), self.share)))
        };
        let all: Vec<_> = stable.routes.iter().map(bounds).collect();
        if all.iter().all(|(own, both)| own == both) {
            return stable.routes.clone();
        }
        stable.routes.iter().zip(all).map(|(route, (_, both))| bind(route, both, None)).collect()
    }

    fn routes(self, candidate: &Table, stable: &Table) -> Arc<[Route]> {
        let known = routes_of(stable);
        let own = |route: &Route| {
            let own = bound(candidate, route);
            let Some(other) = known.get(&route.settings.name) else { return bind(route, own, None) };
            let both = blended(bound(stable, other), own, self.share);
            bind(route, both, Some(self.part(Of::Route(route.settings.name.clone()), both)))
        };
        candidate.routes.iter().map(own).collect()
    }
}

/// A route's bound in its own table.
fn bound(table: &Table, route: &Route) -> u32 {
    match route.settings.action {
        Action::Upstream(index) => route.settings.bound_of(table.upstreams[index].gate.max_in_flight),
        _ => route.settings.max_in_flight,
    }
}

fn bind(route: &Route, max_in_flight: u32, part: Option<Part>) -> Route {
    let mut settings = route.settings.clone();
    (settings.max_in_flight, settings.part_of_cap) = (max_in_flight, None);
    Route { settings, counts: route.counts.clone(), metrics: route.metrics.clone(), part }
}

fn named(table: &Table) -> HashMap<&Arc<str>, &Upstream> {
    table.upstreams.iter().map(|upstream| (&upstream.name, upstream)).collect()
}

fn routes_of(table: &Table) -> HashMap<&Arc<str>, &Route> {
    table.routes.iter().map(|route| (&route.settings.name, route)).collect()
}

/// Backends by what they are counted in: the same count is the same name.
fn counted(upstream: &Upstream) -> HashMap<*const Counter, &Backend> {
    upstream.cluster.backends.iter().map(|backend| (Arc::as_ptr(&backend.in_flight), backend)).collect()
}

/// Where an upstream's backends are reached.
fn reached(upstream: &Upstream) -> HashSet<usize> {
    upstream.cluster.backends.iter().map(place).collect()
}

fn place(backend: &Backend) -> usize {
    Arc::as_ptr(&backend.endpoint) as usize
}

fn own_bounds(backend: &Backend) -> (u32, u32) {
    (backend.cap, backend.max_streams)
}

/// The same cluster with other bounds. What ramps leave is said before it serves.
fn cluster(cluster: &Cluster, backends: Vec<Backend>, budget: Arc<Budget>) -> Arc<Cluster> {
    let warm: Vec<_> = backends.iter().map(Backend::warm).collect();
    Arc::new(Cluster {
        shares: Levelled::new(Shares::of(&warm, None)),
        backends,
        groups: cluster.groups.clone(),
        settings: cluster.settings.clone(),
        budget,
        host: cluster.host.clone(),
        metrics: cluster.metrics.clone(),
    })
}
