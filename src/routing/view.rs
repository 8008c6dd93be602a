//! One core's view of a table: the same routes, with the core's own gates, lines and connections behind them.
//!
//! Requests clone an `Rc` of it and never touch a reference count that another core touches. Lines and pools
//! are carried from view to view by name and identity, so a swap neither forgets a waiter nor closes a
//! connection that is still wanted.

use crate::admission::{CoreState, Gate, RouteGate};
use crate::balancing::CoreCluster;
use crate::filters::auth::Auth;
use crate::filters::auth::settings::Kind;
use crate::request::Class;
use crate::routing::settings::Action;
use crate::routing::table::{Route, Table, Upstream};
use crate::runtime::bells::Bells;
use crate::runtime::clock::Clock;
use crate::telemetry::cells::CoreId;
use crate::upstream::Endpoint;
use crate::upstream::janitor::Janitor;
use crate::upstream::pool::Pool;
use std::collections::{BTreeSet, HashMap};
use std::rc::{Rc, Weak};
use std::sync::Arc;

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
        let (name, counts) = (settings.name.clone(), route.counts.clone());
        RouteGate::new(name, gate.clone(), counts, settings.bound_of(cap), class)
    };
    let rules = auth.and_then(|auth| auth.settings.grants()).into_iter().flat_map(|grants| &grants.classes);
    let lower: BTreeSet<_> = rules.map(|rule| rule.class).filter(|class| *class > settings.class).collect();
    Ways { own: way(settings.class), lower: lower.into_iter().map(way).collect() }
}

/// The way of an auth through the gate of the upstream that it asks. Whoever waits for it holds a client's request,
/// so it is shed last.
fn auth_gate(auth: &Auth, gates: &[Rc<Gate>]) -> Option<Rc<RouteGate>> {
    let Kind::External(external) = &auth.settings.kind else { return None };
    let gate = gates.get(auth.upstream?)?.clone();
    // No route can have this name.
    let name = format!("auth:{}", auth.settings.name).into();
    let counts = auth.counts.clone();
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
    /// The view before, as long as somebody looks at it.
    last: Weak<View>,
}

impl Furniture {
    /// An empty room.
    pub fn new(core: CoreId, clock: Rc<Clock>, bells: Arc<Bells>, janitor: Rc<Janitor>) -> Self {
        let (states, pools) = (HashMap::new(), HashMap::new());
        Furniture { core, clock, bells, janitor, states, pools, last: Weak::new() }
    }

    /// Builds the core's view of `table`, keeping what it has in common with the one before; what is gone is
    /// retired: requests in it finish, nothing is kept for later.
    pub fn arrange(&mut self, table: Arc<Table>) -> Rc<View> {
        let mut states = HashMap::with_capacity(table.upstreams.len());
        let mut pools = HashMap::new();
        // Another table of the same version: only names of some upstreams have other addresses. A request may hold its
        // view for hours, so views share what they have in common.
        let last = self.last.upgrade().filter(|last| Arc::ptr_eq(&last.table.routes, &table.routes));
        let same = |index: usize, upstream: &Upstream| {
            let before = last.as_ref().filter(|last| {
                let before = last.table.upstreams.get(index);
                before.is_some_and(|before| Arc::ptr_eq(&before.cluster, &upstream.cluster))
            });
            before.map(|last| last.own[index].clone())
        };
        let own: Vec<Rc<Gate>> = table
            .upstreams
            .iter()
            .enumerate()
            .map(|(index, upstream)| self.gate(upstream, same(index, upstream), &mut states, &mut pools))
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
        let auth_gates = table.auths.iter().map(|auth| auth_gate(auth, &own)).collect();
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
        let view = Rc::new(View { highest: table.highest_class(), table, gates, own, auth_gates });
        self.last = Rc::downgrade(&view);
        view
    }

    fn gate(
        &self,
        upstream: &Upstream,
        same: Option<Rc<Gate>>,
        states: &mut HashMap<Arc<str>, Rc<CoreState>>,
        pools: &mut HashMap<*const Endpoint, Rc<Pool>>,
    ) -> Rc<Gate> {
        let state = self
            .states
            .get(&upstream.name)
            .cloned()
            .unwrap_or_else(|| CoreState::new(upstream.shared.clone(), self.bells.clone(), self.core));
        states.insert(upstream.name.clone(), state.clone());
        let backends = upstream.cluster.backends.iter();
        let own = backends.map(|backend| self.pool(&backend.endpoint, pools)).collect();
        if let Some(same) = same {
            return same;
        }
        let cluster = CoreCluster::new(upstream.cluster.clone(), own, self.clock.clone(), self.core);
        Gate::new(upstream.gate.clone(), upstream.highest, state, cluster, upstream.metrics.clone())
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
