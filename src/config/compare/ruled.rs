//! What a rule makes of a field that is left out, as the plan worked it out: so that what is written in its place can
//! be weighed against it.

use super::pairs::Step;
use crate::balancing::settings::Kind as HealthKind;
use crate::config::plan::{Plan, UpstreamPlan};
use crate::config::value::Data;
use crate::filters::auth::settings::Kind as AuthKind;

/// What the field at `path` is where the file leaves it to its rule; nothing if the plan does not say it as one value.
pub(super) fn ruled(plan: &Plan, path: &[Step]) -> Option<Data> {
    let (table, rest) = path.split_first()?;
    match (table, rest) {
        (Step::Key("gateway"), [Step::Key("max_buffered")]) => Some(Data::Integer(plan.gateway.max_buffered)),
        (Step::Key("listeners"), [Step::Name(name), Step::Key("max_connections_per_source")]) => {
            let listener = plan.listeners.iter().find(|listener| *listener.name == **name)?;
            Some(Data::Integer(listener.max_connections_per_source.into()))
        }
        (Step::Key("upstreams"), [Step::Name(name), rest @ ..]) => {
            upstream(plan.upstreams.iter().find(|upstream| *upstream.name == **name)?, rest)
        }
        (Step::Key("auth"), [Step::Name(name), rest @ ..]) => {
            let auth = plan.auths.iter().find(|auth| *auth.name == **name)?;
            match (rest, &auth.kind) {
                ([Step::Key("max_in_flight")], AuthKind::External(external)) => {
                    Some(Data::Integer(external.max_in_flight.into()))
                }
                ([Step::Key("cache"), Step::Key("refused_ttl")], _) => {
                    Some(Data::Duration(auth.cache.as_ref()?.refused_ttl))
                }
                _ => None,
            }
        }
        (Step::Key("routes"), [Step::Name(name), Step::Key("max_in_flight")]) => {
            let (_, route) = plan.routes.iter().find(|(_, route)| *route.name == **name)?;
            Some(Data::Integer(route.max_in_flight.into()))
        }
        _ => None,
    }
}

fn upstream(upstream: &UpstreamPlan, path: &[Step]) -> Option<Data> {
    let gate = &upstream.gate;
    match path {
        [Step::Key("max_in_flight")] => Some(Data::Integer(gate.max_in_flight.into())),
        [Step::Key("queue"), Step::Key("max_waiting")] => Some(Data::Integer(gate.max_waiting.into())),
        [Step::Key("queue"), Step::Key("max_wait")] => Some(Data::Duration(gate.max_wait)),
        [Step::Key("latency_objective")] => Some(Data::Duration(gate.adaptive.objective)),
        [Step::Key("health"), Step::Key("path")] => match &upstream.balancing.health.as_ref()?.kind {
            HealthKind::Http(path) | HealthKind::Grpc(path) => Some(Data::Text(path.to_string())),
            HealthKind::Tcp => None,
        },
        _ => None,
    }
}
