//! Auths of a table. What one learned lives on by its name as long as neither the auth nor the upstream that it asks
//! differs in any field (`design.md`, "Guard"); bounds and counters live on by name whatever differs. Once a version is
//! fully active whose auth only asks somebody else, what was known before may stand in: a wrong address does not lock
//! out whom the service knew a minute ago. A candidate has nothing of that.

use super::Kept;
use crate::admission::RouteCounts;
use crate::config::plan::{Plan, UpstreamPlan};
use crate::control::keyrings::{Keyrings, Way};
use crate::filters::auth::api_key::ApiKeys;
use crate::filters::auth::decisions::Decisions;
use crate::filters::auth::settings::{KeySource, Kind, Settings};
use crate::filters::auth::verdict::UNVERIFIED;
use crate::filters::auth::{Auth, Known, Own};
use crate::request::Class;
use crate::routing::settings::RouteSettings;
use crate::routing::table::Upstream;
use crate::telemetry::metrics::Metrics;
use crate::upstream::pem::Files;
use http::HeaderName;
use std::sync::{Arc, Weak};

/// What earlier tables' auths know.
#[derive(Debug)]
pub(super) struct Auths {
    counts: Kept<Arc<str>, RouteCounts>,
    learned: Vec<Learned>,
    /// Of the active version.
    active: Vec<(Settings, Arc<Known>)>,
}

#[derive(Debug)]
struct Learned {
    settings: Settings,
    upstream: Option<UpstreamPlan>,
    known: Weak<Known>,
}

impl Default for Auths {
    fn default() -> Self {
        Auths { counts: Kept::new(), learned: Vec::new(), active: Vec::new() }
    }
}

impl Auths {
    /// One auth of a plan.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(super) fn build(
        &mut self,
        settings: &Settings,
        plan: &Plan,
        metrics: &Metrics,
        (keyrings, upstreams, files): (&Keyrings, &[Upstream], &dyn Files),
    ) -> Result<Auth, String> {
        let upstream = upstream(settings, plan);
        Ok(Auth {
            settings: settings.clone(),
            upstream,
            known: self.known(settings, upstream.and_then(|index| plan.upstreams.get(index)))?,
            counts: self.counts.get_or(settings.name.clone(), RouteCounts::default),
            metrics: metrics.auth(&settings.name),
            own: own(settings, keyrings, upstreams, files),
            max_waiting: (plan.gateway.max_in_flight / 4).max(1),
        })
    }

    fn known(&mut self, settings: &Settings, upstream: Option<&UpstreamPlan>) -> Result<Arc<Known>, String> {
        if let Some(known) = self.learned_by(settings, upstream) {
            return Ok(known);
        }
        let decisions = match &settings.cache {
            Some(cache) => {
                let decisions = Decisions::new(cache);
                Some(decisions.map_err(|error| format!("auth {}: {error}", settings.name))?)
            }
            None => None,
        };
        let known = Arc::new(Known::new(decisions));
        self.learned.push(Learned {
            settings: settings.clone(),
            upstream: upstream.cloned(),
            known: Arc::downgrade(&known),
        });
        Ok(known)
    }

    fn learned_by(&self, settings: &Settings, upstream: Option<&UpstreamPlan>) -> Option<Arc<Known>> {
        let same =
            |learned: &&Learned| learned.settings == *settings && learned.upstream.as_ref() == upstream;
        self.learned.iter().filter(same).find_map(|learned| learned.known.upgrade())
    }

    /// The table of this plan is fully active.
    pub(super) fn commit(&mut self, plan: &Plan) {
        let learned = plan.auths.iter().filter_map(|settings| {
            let asked = upstream(settings, plan).and_then(|index| plan.upstreams.get(index));
            Some((settings.clone(), self.learned_by(settings, asked)?))
        });
        let active: Vec<_> = learned.collect();
        for (settings, known) in &active {
            let before = self.active.iter().find(|(before, _)| before == settings);
            if let Some((_, before)) = before.filter(|(_, before)| !Arc::ptr_eq(before, known)) {
                known.follows(before);
            }
        }
        self.active = active;
    }

    pub(super) fn forget_unused(&mut self) {
        self.counts.forget_unused();
        self.learned.retain(|learned| learned.known.strong_count() > 0);
    }
}

/// What an auth judges by, if it asks nobody.
fn own(settings: &Settings, keyrings: &Keyrings, upstreams: &[Upstream], files: &dyn Files) -> Own {
    match &settings.kind {
        Kind::External(_) => Own::Nothing,
        Kind::ApiKey(list) => Own::List(ApiKeys::new(list.header.clone(), list.keys.iter().cloned())),
        Kind::Jwt(jwt) => {
            let way = match &jwt.source {
                KeySource::Upstream { upstream, .. } => {
                    upstreams.iter().find(|known| known.name == *upstream)
                }
                _ => None,
            };
            let way = way.map(|upstream| Way(&upstream.cluster));
            Own::Keys(keyrings.ring_of(jwt, way, files))
        }
    }
}

/// The upstream that an auth asks, by its place in the plan.
fn upstream(settings: &Settings, plan: &Plan) -> Option<usize> {
    let name = settings.upstream()?;
    plan.upstreams.iter().position(|upstream| upstream.name == *name)
}

/// An auth asks this upstream.
pub(super) fn asks(plan: &Plan, index: usize) -> bool {
    plan.auths.iter().any(|auth| upstream(auth, plan) == Some(index))
}

/// The classes in which a route's requests may stand.
pub(super) fn classes(plan: &Plan, route: &RouteSettings) -> Vec<Class> {
    let auth = route.auth.and_then(|index| plan.auths.get(index)).and_then(Settings::grants);
    let rules = auth.iter().flat_map(|grants| &grants.classes).map(|rule| rule.class.max(route.class));
    rules.chain([route.class]).collect()
}

/// What any auth judges by: a client that says one thing by the name and another by a name that backends read as the
/// same one has been judged by something else than what they see.
pub(super) fn read(plan: &Plan) -> Arc<[HeaderName]> {
    let mut names: Vec<HeaderName> = plan.auths.iter().flat_map(Settings::read_headers).cloned().collect();
    names.extend(added(plan).iter().cloned());
    names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    names.into()
}

/// What any auth may add to a request.
pub(super) fn added(plan: &Plan) -> Arc<[HeaderName]> {
    let added = plan.auths.iter().flat_map(Settings::added_headers).cloned();
    let mut names: Vec<HeaderName> = added.chain((!plan.auths.is_empty()).then_some(UNVERIFIED)).collect();
    names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    names.into()
}
