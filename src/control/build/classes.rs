//! Which classes an upstream's requests may stand in: those of the routes to it, and of the auths that ask it.

use crate::config::plan::Plan;
use crate::control::build::auths;
use crate::request::Class;
use crate::routing::settings::Action;
use std::collections::BTreeSet;

/// The classes that an upstream's routes use, the last shed first.
pub(super) fn used(plan: &Plan, upstream: usize) -> Vec<Class> {
    let routes = plan.routes.iter().map(|(_, route)| route);
    let own = routes.filter(|route| matches!(route.action, Action::Upstream(index) if index == upstream));
    let mut used: BTreeSet<_> = own.flat_map(|route| auths::classes(plan, route)).collect();
    used.extend(auths::asks(plan, upstream).then_some(Class::Critical));
    used.into_iter().collect()
}

/// The highest class among the routes that go through an upstream's gate: it may fill all of it.
pub(super) fn highest(plan: &Plan, upstream: usize) -> Class {
    let routes = plan.routes.iter().map(|(_, route)| route).filter(|route| !route.streaming);
    let own = routes.filter(|route| matches!(route.action, Action::Upstream(index) if index == upstream));
    let asked = auths::asks(plan, upstream).then_some(Class::Critical);
    own.map(|route| route.class).chain(asked).min().unwrap_or_default()
}
