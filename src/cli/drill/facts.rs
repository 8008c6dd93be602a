//! What a configuration says, in the words in which a drill's advice speaks of it.

use super::rewrite::Written;
use crate::admission::settings::Mode;
use crate::config::plan::{Plan, UpstreamPlan};
use crate::filters::auth::settings::{OnError, Settings as AuthSettings};
use crate::request::Class;
use crate::routing::settings::Action;
use crate::upstream::settings::OnMissing;
use std::collections::BTreeMap;
use std::time::Duration;

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// By name.
    pub routes: BTreeMap<String, RouteFacts>,
    /// By name.
    pub upstreams: BTreeMap<String, UpstreamFacts>,
    /// By name; only those that ask a service.
    pub auths: BTreeMap<String, AuthFacts>,
    /// Auths that ask nobody.
    pub silent_auths: Vec<String>,
    /// Requests in the process.
    pub process: u32,
    /// Changes go by stages.
    pub required: bool,
}

/// Of a route that goes to an upstream.
#[derive(Clone, Debug)]
pub(super) struct RouteFacts {
    /// Where it goes.
    pub upstream: String,
    /// Who guards it.
    pub auth: Option<String>,
    /// When it is shed.
    pub class: Class,
    /// From head to head.
    pub timeout: Duration,
}

/// Of an upstream.
#[derive(Clone, Debug)]
pub(super) struct UpstreamFacts {
    /// Backends as the file has them.
    pub backends: usize,
    /// Their addresses are names.
    pub named: bool,
    /// Routes that go to it.
    pub routes: usize,
    /// In flight at most.
    pub cap: u32,
    /// Whether the limit below the cap acts.
    pub adaptive: Mode,
    /// What it aims at.
    pub objective: Duration,
    /// Further tries of one request.
    pub max_retries: u32,
    /// What a success pays for of a retry.
    pub budget: f64,
    /// Backends are checked.
    pub health: bool,
    /// Failures in a row until a backend is left out.
    pub consecutive_failures: u32,
    /// How restarted backends come back, in percent.
    pub steps: Vec<f64>,
    /// What becomes of addresses of a name that is denied.
    pub on_missing: OnMissing,
}

/// Of an auth that asks a service.
#[derive(Clone, Debug)]
pub(super) struct AuthFacts {
    /// Whom it asks.
    pub upstream: String,
    /// Without a decision.
    pub on_error: OnError,
    /// For a decision.
    pub timeout: Duration,
    /// How long old decisions stand in, if any are kept.
    pub stale: Option<Duration>,
}

impl Facts {
    /// Of a plan, and of what its file says of backends.
    pub fn of(plan: &Plan, written: &BTreeMap<String, Written>) -> Facts {
        let upstream_of = |action: &Action| match action {
            Action::Upstream(index) => plan.upstreams.get(*index).map(|upstream| upstream.name.to_string()),
            _ => None,
        };
        let auth_of = |index: Option<usize>| Some(plan.auths.get(index?)?.name.to_string());
        let routes = plan.routes.iter().filter_map(|(_, route)| {
            let facts = RouteFacts {
                upstream: upstream_of(&route.action)?,
                auth: auth_of(route.auth),
                class: route.class,
                timeout: route.timeout,
            };
            Some((route.name.to_string(), facts))
        });
        let routes: BTreeMap<String, RouteFacts> = routes.collect();
        let upstreams = plan.upstreams.iter().map(|upstream| {
            let written = written.get(&*upstream.name).copied().unwrap_or_default();
            let to_it = routes.values().filter(|route| *route.upstream == *upstream.name).count();
            (upstream.name.to_string(), UpstreamFacts::of(upstream, written, to_it))
        });
        let auths = plan.auths.iter().filter_map(|auth| Some((auth.name.to_string(), AuthFacts::of(auth)?)));
        let silent = plan.auths.iter().filter(|auth| auth.upstream().is_none());
        Facts {
            upstreams: upstreams.collect(),
            auths: auths.collect(),
            silent_auths: silent.map(|auth| auth.name.to_string()).collect(),
            process: plan.gateway.max_in_flight,
            required: plan.rollout.required,
            routes,
        }
    }

    /// Of a route; what is drilled is there.
    pub fn route(&self, name: &str) -> Option<&RouteFacts> {
        self.routes.get(name)
    }
}

impl UpstreamFacts {
    fn of(upstream: &UpstreamPlan, written: Written, routes: usize) -> UpstreamFacts {
        let (gate, balancing) = (&upstream.gate, &upstream.balancing);
        UpstreamFacts {
            backends: written.backends,
            named: written.named,
            routes,
            cap: gate.max_in_flight,
            adaptive: gate.adaptive.mode,
            objective: gate.adaptive.objective,
            max_retries: balancing.retry.max_retries,
            budget: balancing.retry.budget,
            health: balancing.health.is_some(),
            consecutive_failures: balancing.ejection.consecutive_failures,
            steps: balancing.ramp.steps.to_vec(),
            on_missing: upstream.on_missing,
        }
    }
}

impl AuthFacts {
    fn of(auth: &AuthSettings) -> Option<AuthFacts> {
        Some(AuthFacts {
            upstream: auth.upstream()?.to_string(),
            on_error: auth.on_error,
            timeout: auth.timeout,
            stale: auth.cache.as_ref().map(|cache| cache.stale),
        })
    }
}
