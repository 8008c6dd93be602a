//! From what a configuration says and what a scene measured to the settings that would have helped.
//!
//! Every rule needs both: a setting alone is no reason, and neither is a bad number that no setting would change. Where
//! all holds, nothing is said.

mod away;
mod hung;
mod load;

use super::facts::{AuthFacts, Facts, UpstreamFacts};
use super::found::{Found, Role, RouteFound, Sight, Verdict};
use super::scenes::Scene;
use serde::Serialize;
use std::time::Duration;

/// One setting to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Advice {
    /// Whose: `route orders`, `upstream orders`, `auth session` or `rollout`.
    pub of: String,
    /// The key, as it is written in the file.
    pub setting: &'static str,
    /// What it says now.
    pub now: String,
    /// The line to write.
    pub write: String,
    /// Why, with numbers.
    pub because: String,
}

/// What a scene advises; nothing if all of it holds.
pub(super) fn of(facts: &Facts, found: &Found) -> Vec<Advice> {
    let worse = |route: &&RouteFound| matches!(route.verdict, Verdict::Degraded | Verdict::Fails);
    let routes: Vec<&RouteFound> = found.routes.iter().filter(worse).collect();
    if routes.is_empty() {
        return Vec::new();
    }
    let case = Case { facts, found, routes };
    match found.scene {
        Scene::HungUpstream => case.hung_upstream(),
        Scene::HungAuth => case.hung_auth(),
        Scene::FlashCrowd => case.flash_crowd(),
        Scene::RetryStorm => case.retry_storm(),
        Scene::RestartOne => case.restart_one(),
        Scene::RestartAll => case.restart_all(),
        Scene::BadName => case.bad_name(),
    }
}

/// What rules look at.
struct Case<'a> {
    facts: &'a Facts,
    found: &'a Found,
    /// Those that did not hold.
    routes: Vec<&'a RouteFound>,
}

impl<'a> Case<'a> {
    fn struck(&self) -> impl Iterator<Item = &'a RouteFound> {
        self.routes.clone().into_iter().filter(|route| route.role == Role::Struck)
    }

    fn upstream(&self) -> Option<(&'a str, &'a UpstreamFacts)> {
        let name = self.found.struck.as_deref()?;
        Some((name, self.facts.upstreams.get(name)?))
    }

    fn auth(&self) -> Option<(&'a str, &'a AuthFacts)> {
        let name = self.found.struck.as_deref()?;
        Some((name, self.facts.auths.get(name)?))
    }

    /// All routes of what was struck, the well ones too.
    fn all_struck(&self) -> Sight {
        let struck = self.found.routes.iter().filter(|route| route.role == Role::Struck);
        struck.fold(Sight::default(), |sum, route| sum.plus(&route.hit))
    }
}

/// A time as it is written in a file.
fn shown(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{}s", time.as_secs()),
        _ => format!("{}ms", time.as_millis()),
    }
}

#[cfg(test)]
mod tests;
