//! What there is to probe in a candidate: places to dial, each once, and the targets that need them, in the order in
//! which they matter. Pure: it looks at plans only.
//!
//! A target is changed if it is new, if its addresses, TLS or protocol are others, if a route needs it that did not
//! before, or if its names are asked of other name servers; a new cap or timeout is no reason to dial a fleet again.

use crate::config::plan::{Plan, UpstreamPlan};
use crate::config::policy::{Probe, Weight};
use crate::filters::auth::settings::{Jwt, KeySource, Kind, Settings as AuthSettings};
use crate::routing::settings::Action;
use crate::upstream::settings::{Address, Protocol, TlsSettings};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How much is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Only what the candidate changed or added: what is served already shows by itself how it is.
    Changes,
    /// All; what is unchanged comes last, and is a warning at most.
    Everything,
}

/// Somewhere to connect to, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) address: Address,
    pub(super) tls: Option<TlsSettings>,
    pub(super) protocol: Protocol,
}

/// A place, and how long one dial there may take.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) place: Place,
    pub(super) timeout: Duration,
}

/// What needs places.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Its name for people.
    pub(super) label: String,
    /// Its places, in the order of the file.
    pub(super) members: Vec<Member>,
    /// The candidate changed it.
    pub(super) changed: bool,
    /// When none of its places can be reached.
    pub(super) whole: Option<Weight>,
    /// That none can be reached is said of another target.
    pub(super) told: bool,
}

/// One place of a target.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// The backend's name, of an upstream.
    pub(super) name: Option<Arc<str>>,
    /// Which of the spots.
    pub(super) spot: usize,
    /// When it alone cannot be reached.
    pub(super) each: Option<Weight>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// In the order in which they are dialled.
    pub(super) spots: Vec<Spot>,
    /// What matters most first.
    pub(super) targets: Vec<Target>,
    known: HashMap<Place, usize>,
}

impl Survey {
    /// Of `candidate`; `active` is what runs.
    pub(super) fn of(candidate: &Plan, active: Option<&Plan>, policy: &Probe, scope: Scope) -> Survey {
        let view = View::new(candidate, active, policy);
        let mut wanted: Vec<_> = candidate.auths.iter().filter_map(|auth| view.auth(auth)).collect();
        wanted.extend(candidate.upstreams.iter().filter_map(|upstream| view.upstream(upstream)));
        // Stable: auths stay before upstreams, and all in the order of the file.
        wanted.sort_by_key(|draft| !draft.changed);
        let mut survey = Survey::default();
        for draft in wanted.into_iter().filter(|draft| draft.changed || scope == Scope::Everything) {
            survey.add(draft);
        }
        survey
    }

    fn add(&mut self, draft: Draft) {
        let members = draft.places.into_iter().map(|(name, spot, each)| {
            let next = self.spots.len();
            let at = *self.known.entry(spot.place.clone()).or_insert(next);
            match self.spots.get_mut(at) {
                Some(known) => known.timeout = known.timeout.max(spot.timeout),
                None => self.spots.push(spot),
            }
            Member { name, spot: at, each }
        });
        let members = members.collect();
        let Draft { label, changed, whole, told, .. } = draft;
        self.targets.push(Target { label, members, changed, whole, told });
    }
}

/// A target with its places as they are.
struct Draft {
    label: String,
    places: Vec<(Option<Arc<str>>, Spot, Option<Weight>)>,
    changed: bool,
    whole: Option<Weight>,
    told: bool,
}

/// The active version, by name.
struct Before<'a> {
    upstreams: HashMap<&'a str, HashSet<Place>>,
    auths: HashMap<&'a str, &'a AuthSettings>,
    /// Routes, by where they go.
    goes: HashSet<(&'a str, &'a str)>,
    /// Routes, by whom they ask.
    asks: HashSet<(&'a str, &'a str)>,
    /// Names were asked of others than the candidate asks.
    asked_others: bool,
}

impl<'a> Before<'a> {
    fn of(plan: &'a Plan, candidate: &Plan) -> Self {
        let places = |upstream: &'a UpstreamPlan| {
            let all = upstream.balancing.backends.iter();
            (&*upstream.name, all.map(|backend| place(upstream, &backend.address)).collect())
        };
        Before {
            upstreams: plan.upstreams.iter().map(places).collect(),
            auths: plan.auths.iter().map(|auth| (&*auth.name, auth)).collect(),
            goes: goes(plan).collect(),
            asks: asks(plan).collect(),
            asked_others: plan.gateway.resolver != candidate.gateway.resolver,
        }
    }
}

/// Each route with an upstream, and its name.
fn goes(plan: &Plan) -> impl Iterator<Item = (&str, &str)> {
    plan.routes.iter().filter_map(|(_, route)| match route.action {
        Action::Upstream(at) => Some((&*route.name, &*plan.upstreams.get(at)?.name)),
        _ => None,
    })
}

/// Each route with an auth, and its name.
fn asks(plan: &Plan) -> impl Iterator<Item = (&str, &str)> {
    plan.routes.iter().filter_map(|(_, route)| Some((&*route.name, &*plan.auths.get(route.auth?)?.name)))
}

fn place(upstream: &UpstreamPlan, address: &Address) -> Place {
    let transport = &upstream.transport;
    Place { address: address.clone(), tls: transport.tls.clone(), protocol: transport.protocol }
}

/// The candidate beside what runs.
struct View<'a> {
    upstreams: HashMap<&'a str, &'a UpstreamPlan>,
    before: Option<Before<'a>>,
    policy: &'a Probe,
    /// Upstreams with routes, and whether one of these is new there.
    routed: HashMap<&'a str, bool>,
    /// Auths that a route asks which did not before.
    newly_asked: HashSet<&'a str>,
    /// Upstreams of which an auth says that nobody is there.
    told: HashSet<&'a str>,
}

impl<'a> View<'a> {
    fn new(plan: &'a Plan, active: Option<&'a Plan>, policy: &'a Probe) -> Self {
        let before = active.map(|active| Before::of(active, plan));
        let mut routed = HashMap::new();
        for (route, to) in goes(plan) {
            let new = before.as_ref().is_none_or(|before| !before.goes.contains(&(route, to)));
            *routed.entry(to).or_default() |= new;
        }
        let is_new = |asked: &(&str, &str)| before.as_ref().is_none_or(|before| !before.asks.contains(asked));
        let newly_asked = asks(plan).filter(is_new).map(|(_, auth)| auth).collect();
        let told = plan.auths.iter().filter_map(|auth| match &auth.kind {
            Kind::External(external) => policy.auth.and(Some(&*external.upstream)),
            Kind::Jwt(Jwt { source: KeySource::Upstream { upstream, .. }, .. }) => {
                policy.jwks.and(Some(&**upstream))
            }
            _ => None,
        });
        let told = told.collect();
        let upstreams = plan.upstreams.iter().map(|upstream| (&*upstream.name, upstream)).collect();
        View { upstreams, before, policy, routed, newly_asked, told }
    }

    fn auth(&self, auth: &AuthSettings) -> Option<Draft> {
        let known = self.before.as_ref().and_then(|before| before.auths.get(&*auth.name));
        let (label, weight, places, changed) = match &auth.kind {
            Kind::External(external) => {
                let same = known.is_some_and(|known| known.upstream() == Some(&external.upstream));
                let changed =
                    !same || self.moved(&external.upstream) || self.newly_asked.contains(&*auth.name);
                let label = format!("auth {}", auth.name);
                (label, self.policy.auth?, self.places_of(&external.upstream), changed)
            }
            // Keys that are held already serve a route that is new to them.
            Kind::Jwt(jwt) => {
                let same = known.is_some_and(|known| source_of(known) == Some(&jwt.source));
                let (places, moved) = match &jwt.source {
                    KeySource::Upstream { upstream, .. } => (self.places_of(upstream), self.moved(upstream)),
                    KeySource::Url { url, ca } => {
                        let place: Vec<_> = url_place(url, ca, jwt).into_iter().collect();
                        let moved = place.iter().any(|(_, spot)| self.asks_others(&spot.place));
                        (place, moved)
                    }
                    KeySource::File(_) | KeySource::Secret(_) => return None,
                };
                (format!("keys of auth {}", auth.name), self.policy.jwks?, places, !same || moved)
            }
            Kind::ApiKey(_) => return None,
        };
        let places = places.into_iter().map(|(name, spot)| (name, spot, None)).collect();
        Some(Draft { label, places, changed, whole: Some(capped(weight, changed)), told: false })
    }

    fn upstream(&self, upstream: &UpstreamPlan) -> Option<Draft> {
        let Probe { upstreams, backends, .. } = *self.policy;
        if upstreams.is_none() && backends.is_none() {
            return None;
        }
        let name = &*upstream.name;
        let routed = self.routed.get(name).copied();
        let changed = self.moved(name) || routed == Some(true);
        let old = self.before.as_ref().and_then(|before| before.upstreams.get(name));
        let places = self.places_of(name).into_iter().map(|(backend, spot)| {
            let new = old.is_none_or(|old| !old.contains(&spot.place)) || self.asks_others(&spot.place);
            let each = backends.map(|weight| if new { weight } else { Weight::Information });
            (backend, spot, each)
        });
        // Nobody is served by one without routes.
        let whole = upstreams.map(|weight| capped(weight, changed && routed.is_some()));
        let told = routed.is_none() && self.told.contains(name);
        Some(Draft { label: format!("upstream {name}"), places: places.collect(), changed, whole, told })
    }

    /// Of an upstream by its name.
    fn places_of(&self, name: &str) -> Vec<(Option<Arc<str>>, Spot)> {
        let Some(upstream) = self.upstreams.get(name) else { return Vec::new() };
        let timeout = upstream.transport.connect_timeout;
        let backends = upstream.balancing.backends.iter();
        let spot = |address| Spot { place: place(upstream, address), timeout };
        backends.map(|backend| (Some(backend.name.clone()), spot(&backend.address))).collect()
    }

    /// It is new, or its places are others than they were, or may be.
    fn moved(&self, name: &str) -> bool {
        let old = self.before.as_ref().and_then(|before| before.upstreams.get(name));
        let new: HashSet<Place> = self.places_of(name).into_iter().map(|(_, spot)| spot.place).collect();
        old != Some(&new) || new.iter().any(|place| self.asks_others(place))
    }

    /// Its name is asked of other name servers than before.
    fn asks_others(&self, place: &Place) -> bool {
        let other = self.before.as_ref().is_some_and(|before| before.asked_others);
        other && place.address.literal().is_none()
    }
}

/// What is unchanged is a warning at most.
fn capped(weight: Weight, changed: bool) -> Weight {
    if changed { weight } else { weight.min(Weight::Warning) }
}

fn source_of(auth: &AuthSettings) -> Option<&KeySource> {
    match &auth.kind {
        Kind::Jwt(jwt) => Some(&jwt.source),
        _ => None,
    }
}

/// Where a key set is fetched, as the fetch has it.
fn url_place(url: &http::Uri, ca: &Option<PathBuf>, jwt: &Jwt) -> Option<(Option<Arc<str>>, Spot)> {
    let secure = url.scheme_str() != Some("http");
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
    let address =
        Address { host: host.into(), port: url.port_u16().unwrap_or(if secure { 443 } else { 80 }) };
    let tls = secure.then(|| TlsSettings { server_name: None, ca: ca.clone(), client: None });
    let place = Place { address, tls, protocol: Protocol::Http1 };
    Some((None, Spot { place, timeout: jwt.fetch_timeout }))
}
