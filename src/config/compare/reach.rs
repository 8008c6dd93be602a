//! Whose requests may notice: the routes that differ by themselves or by what they stand on.
//!
//! Plans are compared here and not texts, because what is left out follows other things: a second route to an upstream
//! halves the share of the first.

use super::pairs::Change;
use super::said::cut;
use super::{End, RouteChange, written};
use crate::config::plan::{Plan, UpstreamPlan};
use crate::config::value::Table;
use crate::filters::auth::settings::{KeySource, Kind, Settings as AuthSettings};
use crate::routing::matcher::RouteKey;
use crate::routing::settings::{Action, RouteSettings};
use http::HeaderName;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Whose requests may notice.
pub(super) struct Reach {
    pub(super) routes: Vec<RouteChange>,
    pub(super) everything: bool,
    pub(super) longest_timeout: Duration,
}

/// Works it out; `everything` is what is known of the process and its listeners.
pub(super) fn reach(ends: &[End<'_>; 2], changes: &[Change], everything: bool) -> Reach {
    let [Some(before), Some(after)] = [ends[0].plan, ends[1].plan] else {
        let known = written::routes(ends, changes).filter(|_| !everything);
        let (everything, routes) = (known.is_none(), known.unwrap_or_default());
        return Reach { routes, everything, longest_timeout: Duration::ZERO };
    };
    let (then, now) = (Seen::of(before), Seen::of(after));
    let everything = everything || added_headers(before) != added_headers(after);
    let routes = changed_routes(ends, &then, &now);
    let touched: HashSet<&Arc<str>> = routes.iter().map(|route| &route.name).collect();
    let all = before.routes.iter().chain(&after.routes).map(|(_, route)| route);
    let noticing = all.filter(|route| everything || touched.contains(&route.name));
    let longest_timeout = noticing.map(|route| route.timeout).max().unwrap_or_default();
    Reach { routes, everything, longest_timeout }
}

fn changed_routes(ends: &[End<'_>; 2], then: &Seen<'_>, now: &Seen<'_>) -> Vec<RouteChange> {
    let differs = Differs::between(then, now);
    let mut routes = Vec::new();
    // The tables of a valid text are its plan's routes, one by one.
    for (table, (key, route)) in ends[1].root.tables("routes").zip(&now.plan.routes) {
        match then.routes.get(&*route.name) {
            Some(earlier) if !differs.route((then, *earlier), (now, (key, route))) => {}
            earlier => routes.push(RouteChange { new: earlier.is_none(), ..named(table, route) }),
        }
    }
    for (table, (_, route)) in ends[0].root.tables("routes").zip(&then.plan.routes) {
        if !now.routes.contains_key(&*route.name) {
            routes.push(RouteChange { removed: true, ..named(table, route) });
        }
    }
    routes
}

fn named(table: &Table, route: &RouteSettings) -> RouteChange {
    let written = cut(table.text("name").unwrap_or_default());
    RouteChange { name: route.name.clone(), written, new: false, removed: false }
}

/// What auths may add is taken out of every client's requests, on every route.
fn added_headers(plan: &Plan) -> HashSet<&HeaderName> {
    plan.auths.iter().flat_map(AuthSettings::added_headers).collect()
}

/// A plan by names.
struct Seen<'a> {
    plan: &'a Plan,
    routes: HashMap<&'a str, (&'a RouteKey, &'a RouteSettings)>,
    upstreams: HashMap<&'a str, &'a UpstreamPlan>,
    auths: HashMap<&'a str, &'a AuthSettings>,
}

impl<'a> Seen<'a> {
    fn of(plan: &'a Plan) -> Self {
        Seen {
            plan,
            routes: plan.routes.iter().map(|(key, route)| (&*route.name, (key, route))).collect(),
            upstreams: plan.upstreams.iter().map(|upstream| (&*upstream.name, upstream)).collect(),
            auths: plan.auths.iter().map(|auth| (&*auth.name, auth)).collect(),
        }
    }

    /// The names of the upstream and the auth of a route.
    fn stands_on(&self, route: &RouteSettings) -> (Option<&'a str>, Option<&'a str>) {
        let upstream = match route.action {
            Action::Upstream(at) => self.plan.upstreams.get(at).map(|upstream| &*upstream.name),
            _ => None,
        };
        (upstream, route.auth.and_then(|at| self.plan.auths.get(at)).map(|auth| &*auth.name))
    }
}

/// The upstreams and auths of the later plan that say something else than in the earlier one.
struct Differs<'a> {
    upstreams: HashSet<&'a str>,
    auths: HashSet<&'a str>,
}

impl<'a> Differs<'a> {
    fn between(then: &Seen<'a>, now: &Seen<'a>) -> Self {
        let changed =
            now.upstreams.iter().filter(|(name, upstream)| then.upstreams.get(*name) != Some(upstream));
        let upstreams: HashSet<&str> = changed.map(|(name, _)| *name).collect();
        let changed = now.auths.iter().filter(|(name, auth)| {
            let asks = asks(auth).is_some_and(|asked| upstreams.contains(asked));
            asks || then.auths.get(*name) != Some(auth)
        });
        let auths = changed.map(|(name, _)| *name).collect();
        Differs { upstreams, auths }
    }

    fn route(&self, (then, was): (&Seen<'_>, Route<'_>), (now, is): (&Seen<'_>, Route<'_>)) -> bool {
        let (upstream, auth) = now.stands_on(is.1);
        was.0 != is.0
            || by_itself(was.1) != by_itself(is.1)
            || then.stands_on(was.1) != (upstream, auth)
            || upstream.is_some_and(|name| self.upstreams.contains(name))
            || auth.is_some_and(|name| self.auths.contains(name))
    }
}

type Route<'a> = (&'a RouteKey, &'a RouteSettings);

/// The upstream that an auth asks for decisions or for keys.
fn asks(auth: &AuthSettings) -> Option<&str> {
    match &auth.kind {
        Kind::External(external) => Some(&external.upstream),
        Kind::Jwt(jwt) => match &jwt.source {
            KeySource::Upstream { upstream, .. } => Some(upstream),
            KeySource::Url { .. } | KeySource::File(_) | KeySource::Secret(_) => None,
        },
        Kind::ApiKey(_) => None,
    }
}

/// A route without the places of others in its plan, which decide nothing.
fn by_itself(route: &RouteSettings) -> RouteSettings {
    let action = match &route.action {
        Action::Upstream(_) => Action::Upstream(0),
        other => other.clone(),
    };
    RouteSettings { action, auth: None, ..route.clone() }
}
