//! One core's view of a table: the same routes, with the core's own gates, lines and connections behind them.
//!
//! Requests clone an `Rc` of it and never touch a reference count that another core touches. Lines and pools
//! are carried from view to view by name and identity, so a swap neither forgets a waiter nor closes a
//! connection that is still wanted.

use crate::admission::{CoreState, Gate, RouteGate};
use crate::balancing::CoreCluster;
use crate::filters::auth::Auth;
use crate::filters::auth::settings::Kind;
use crate::permit::Part;
use crate::request::Class;
use crate::request::cohort::{Fact, Key};
use crate::routing::settings::Action;
use crate::routing::table::{Route, Table, Upstream};
use crate::routing::trial::tallies::{Fate, Scores, Tallies};
use crate::routing::trial::{Side, Tables, Trial};
use crate::runtime::bells::Bells;
use crate::runtime::clock::Clock;
use crate::telemetry::cells::CoreId;
use crate::upstream::Endpoint;
use crate::upstream::janitor::Janitor;
use crate::upstream::pool::Pool;
use std::collections::{BTreeSet, HashMap};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

/// A table as one core sees it.
#[derive(Debug)]
pub struct View {
    /// The table.
    pub table: Arc<Table>,
    /// The highest class that its routes to upstreams use.
    pub highest: Class,
    /// A gate for each route that has an upstream, in the order of the table's routes.
    gates: Vec<Option<Ways>>,
    /// The gates of the upstreams, in their order.
    own: Vec<Rc<Gate>>,
    /// The same for each auth that asks an upstream.
    auth_gates: Vec<Option<Rc<RouteGate>>>,
    /// Where its requests count, while two versions are compared.
    scores: Option<Scores>,
}

/// The tables that serve, as one core sees them.
#[derive(Debug)]
pub struct Views {
    stable: Rc<View>,
    trial: Option<(Trial, Rc<View>)>,
    /// Where requests count, while versions are compared or watched.
    pub tallies: Option<Arc<Tallies>>,
}

impl Views {
    /// What serves everyone whom no candidate serves.
    pub fn stable(&self) -> &Rc<View> {
        &self.stable
    }

    /// The trial, and the candidate's view.
    pub fn trial(&self) -> Option<&(Trial, Rc<View>)> {
        self.trial.as_ref()
    }

    /// The version for a client's request, once and for all.
    #[inline]
    pub fn choose(&self, key: Key, core: CoreId) -> &Rc<View> {
        match &self.trial {
            Some((trial, candidate)) if trial.side(key, core) == Side::Candidate => candidate,
            _ => &self.stable,
        }
    }

    /// What tells clients apart.
    pub fn fact(&self) -> &Fact {
        self.trial.as_ref().map_or(&self.stable.table.cohort, |(trial, _)| &trial.fact)
    }
}

/// A route's way through its upstream's gate.
#[derive(Clone, Debug)]
struct Ways {
    own: Rc<RouteGate>,
    /// For requests that an auth puts into a lower class; the same counts and bounds.
    lower: Vec<Rc<RouteGate>>,
}

impl Ways {
    /// The way of a class: the route's own unless the class is lower and used by its auth.
    fn of(&self, class: Option<Class>) -> &Rc<RouteGate> {
        let lower = class.and_then(|class| self.lower.iter().find(|way| way.class() == class));
        lower.unwrap_or(&self.own)
    }
}

/// A route of a view, held by a request to its end.
#[derive(Clone, Debug)]
pub struct Chosen {
    view: Rc<View>,
    index: usize,
}

impl View {
    /// The route with this index, for a request to hold.
    pub fn choose(self: &Rc<Self>, index: usize) -> Chosen {
        Chosen { view: self.clone(), index }
    }
}

impl Chosen {
    /// The route.
    pub fn route(&self) -> &Route {
        &self.view.table.routes[self.index]
    }

    /// Its way through its upstream's gate, if it has an upstream.
    pub fn gate(&self) -> Option<&Rc<RouteGate>> {
        self.view.gates[self.index].as_ref().map(|ways| ways.of(None))
    }

    /// The same for a request of this class, if its auth gave it one. A class is never raised by that.
    pub fn gate_of(&self, class: Option<Class>) -> Option<&Rc<RouteGate>> {
        self.view.gates[self.index].as_ref().map(|ways| ways.of(class))
    }

    /// Who says whether its requests may pass, and the way to the upstream that is asked, if one is.
    pub fn auth(&self) -> Option<(&Auth, Option<&Rc<RouteGate>>)> {
        let index = self.route().settings.auth?;
        Some((self.view.table.auths.get(index)?, self.view.auth_gates[index].as_ref()))
    }

    /// Its upstream, if it has one.
    pub fn upstream(&self) -> Option<&Upstream> {
        match self.route().settings.action {
            Action::Upstream(index) => self.view.table.upstreams.get(index),
            _ => None,
        }
    }

    /// Counts what became of a request of it, while two versions are compared.
    pub fn count(&self, core: CoreId, fate: impl FnOnce() -> Fate) {
        if let Some(scores) = &self.view.scores {
            scores.count(core, self.index, fate());
        }
    }

    /// Two versions are compared.
    pub fn is_compared(&self) -> bool {
        self.view.scores.is_some()
    }

    /// The side of a request that has been in flight for this long, if that is too long.
    pub fn overdue(&self, age: Duration) -> Option<Side> {
        let scores = self.view.scores.as_ref()?;
        scores.is_overdue(self.index, age).then(|| scores.side())
    }

    /// The highest class that is in use beside it.
    pub fn highest(&self) -> Class {
        self.view.highest
    }

    /// The version that the request belongs to.
    pub fn table(&self) -> &Arc<Table> {
        &self.view.table
    }
}

/// The ways of a route through its upstream's gate, which has this cap.
fn ways(route: &Route, (gate, cap): (&Rc<Gate>, u32), auth: Option<&Auth>) -> Ways {
    let settings = &route.settings;
    let way = |class| {
        let (name, counts) = (settings.name.clone(), (route.counts.clone(), route.part.clone()));
        RouteGate::new(name, gate.clone(), counts, settings.bound_of(cap), class)
    };
    let rules = auth.and_then(|auth| auth.settings.grants()).into_iter().flat_map(|grants| &grants.classes);
    let lower: BTreeSet<_> = rules.map(|rule| rule.class).filter(|class| *class > settings.class).collect();
    Ways { own: way(settings.class), lower: lower.into_iter().map(way).collect() }
}

/// The way of an auth through the gate of the upstream that it asks. Whoever waits for it holds a client's request,
/// so it is shed last.
fn auth_gate(auth: &Auth, gates: &[Rc<Gate>], part: Option<Part>) -> Option<Rc<RouteGate>> {
    let Kind::External(external) = &auth.settings.kind else { return None };
    let gate = gates.get(auth.upstream?)?.clone();
    // No route can have this name.
    let name = format!("auth:{}", auth.settings.name).into();
    let counts = (auth.counts.clone(), part);
    Some(RouteGate::new(name, gate, counts, external.max_in_flight, Class::Critical))
}

/// What a core carries from view to view.
#[derive(Debug)]
pub struct Furniture {
    core: CoreId,
    clock: Rc<Clock>,
    bells: Arc<Bells>,
    janitor: Rc<Janitor>,
    states: HashMap<Arc<str>, Rc<CoreState>>,
    pools: HashMap<*const Endpoint, Rc<Pool>>,
    /// The views before, as long as somebody looks at them: the stable one, and the candidate's.
    last: [Weak<View>; 2],
}

/// What the views that are being arranged have in common.
#[derive(Default)]
struct Common {
    states: HashMap<Arc<str>, Rc<CoreState>>,
    pools: HashMap<*const Endpoint, Rc<Pool>>,
}

impl Furniture {
    /// An empty room.
    pub fn new(core: CoreId, clock: Rc<Clock>, bells: Arc<Bells>, janitor: Rc<Janitor>) -> Self {
        let (states, pools) = (HashMap::new(), HashMap::new());
        Furniture { core, clock, bells, janitor, states, pools, last: Default::default() }
    }

    /// Builds the core's views of `tables`, keeping what they have in common with those before and with each other:
    /// lines by name, connections by identity. What is gone is retired: requests in it finish, nothing is kept for later.
    pub fn arrange(&mut self, tables: &Tables) -> Rc<Views> {
        let mut common = Common::default();
        let scores = |table: &Table, side| {
            let names = table.routes.iter().map(|route| &route.settings.name);
            tables.scored(side).map(|(tallies, side)| Scores::new(tallies, side, names))
        };
        let (own, other) = (&tables.stable, tables.candidate());
        let stable = self.view(own, (Side::Stable, scores(own, Side::Stable)), &mut common);
        let candidate = other
            .map(|table| self.view(table, (Side::Candidate, scores(table, Side::Candidate)), &mut common));
        let trial = tables.trial.clone().zip(candidate);
        let tallies = tables.scored(Side::Stable).map(|(tallies, _)| tallies.clone());
        let Common { mut states, pools } = common;
        // Whoever still waits at an upstream that is gone must hear the bell to the end; and what is kept there
        // for nobody is still to be seen.
        let gone =
            std::mem::take(&mut self.states).into_iter().filter(|(name, _)| !states.contains_key(name));
        let waiting: Vec<_> = gone.filter(|(_, state)| state.has_waiters() || state.has_zombies()).collect();
        states.extend(waiting);
        self.states = states;
        for (endpoint, pool) in std::mem::replace(&mut self.pools, pools) {
            if !self.pools.contains_key(&endpoint) {
                pool.retire();
            }
        }
        let candidate = trial.as_ref().map(|(_, view)| Rc::downgrade(view));
        self.last = [Rc::downgrade(&stable), candidate.unwrap_or_default()];
        Rc::new(Views { stable, trial, tallies })
    }

    fn view(
        &self,
        table: &Arc<Table>,
        (side, scores): (Side, Option<Scores>),
        common: &mut Common,
    ) -> Rc<View> {
        // Another table of the same version: only names of some upstreams have other addresses. A request may hold its
        // view for hours, so views share what they have in common.
        let last = self.last[side as usize].upgrade();
        let last = last.filter(|last| Arc::ptr_eq(&last.table.routes, &table.routes));
        let same = |index: usize, upstream: &Upstream| {
            let before = last.as_ref().filter(|last| {
                let before = last.table.upstreams.get(index);
                before.is_some_and(|before| {
                    Arc::ptr_eq(&before.cluster, &upstream.cluster) && before.gate == upstream.gate
                })
            });
            before.map(|last| last.own[index].clone())
        };
        let own: Vec<Rc<Gate>> = table
            .upstreams
            .iter()
            .enumerate()
            .map(|(index, upstream)| self.gate(upstream, same(index, upstream), common))
            .collect();
        let routes = table.routes.iter().enumerate().map(|(place, route)| match route.settings.action {
            Action::Upstream(index) if same(index, &table.upstreams[index]).is_some() => {
                last.as_ref().and_then(|last| last.gates[place].clone())
            }
            Action::Upstream(index) => {
                let auth = route.settings.auth.and_then(|auth| table.auths.get(auth));
                let cap = table.upstreams[index].gate.max_in_flight;
                Some(ways(route, (&own[index], cap), auth))
            }
            _ => None,
        });
        let gates = routes.collect();
        let part = |index: usize| table.guest.as_ref()?.auths.get(index)?.clone();
        let auths = table.auths.iter().enumerate();
        let auth_gates = auths.map(|(index, auth)| auth_gate(auth, &own, part(index))).collect();
        let highest = table.highest_class();
        Rc::new(View { highest, table: table.clone(), gates, own, auth_gates, scores })
    }

    fn gate(&self, upstream: &Upstream, same: Option<Rc<Gate>>, common: &mut Common) -> Rc<Gate> {
        let state = common.states.get(&upstream.name).or_else(|| self.states.get(&upstream.name));
        let state = state
            .cloned()
            .unwrap_or_else(|| CoreState::new(upstream.shared.clone(), self.bells.clone(), self.core));
        common.states.insert(upstream.name.clone(), state.clone());
        let backends = upstream.cluster.backends.iter();
        let own = backends.map(|backend| self.pool(&backend.endpoint, &mut common.pools)).collect();
        if let Some(same) = same {
            return same;
        }
        let cluster = CoreCluster::new(upstream.cluster.clone(), own, self.clock.clone(), self.core);
        let counts = (upstream.metrics.clone(), upstream.part.clone());
        Gate::new(upstream.gate.clone(), upstream.highest, state, cluster, counts)
    }

    /// The pool of an endpoint. Endpoints are carried over by identity, so their address names them as long
    /// as the pool holds them.
    fn pool(&self, endpoint: &Arc<Endpoint>, pools: &mut HashMap<*const Endpoint, Rc<Pool>>) -> Rc<Pool> {
        let key = Arc::as_ptr(endpoint);
        let pool = pools.entry(key).or_insert_with(|| {
            self.pools.get(&key).cloned().unwrap_or_else(|| {
                let pool = Pool::new(endpoint.clone(), self.janitor.clone(), self.core);
                self.janitor.look_after(&pool);
                pool
            })
        });
        pool.clone()
    }

    /// This core's bell rang: somebody who waits here may be served.
    pub fn serve(&self) {
        self.states.values().for_each(|state| state.serve());
    }

    /// What this core knows of each upstream.
    pub fn states(&self) -> impl Iterator<Item = &Rc<CoreState>> {
        self.states.values()
    }

    /// Old response times fade; called every ten seconds.
    pub fn fade(&self) {
        self.states.values().for_each(|state| state.fade());
    }
}
