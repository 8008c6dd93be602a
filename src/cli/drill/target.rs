//! What the drill's clients ask for: for each route of the configuration one request that it matches.
//!
//! Routes that need more than a head (tunnels, long answers, redirects) are left out. Whether a request is really
//! served is found out by asking, before anything is counted.

use crate::config::plan::Plan;
use crate::routing::matcher::{HeaderTest, RouteKey};
use crate::routing::settings::{Action, RouteSettings};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// Whatever a route leaves open.
const ANY: &str = "drill";

/// One request that a route matches.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Its place among those that are asked for: by that it is told apart in what was seen.
    pub number: u32,
    /// The route's name.
    pub route: String,
    /// The upstream that it goes to.
    pub upstream: String,
    /// The auth that guards it: its place in the plan.
    pub auth: Option<usize>,
    /// The listener that it comes in by.
    pub listener: String,
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
    /// Whom it is for.
    pub host: String,
    /// What the route wants to see.
    pub headers: HeaderMap,
}

/// A request for every route that has an upstream and can be asked with a head alone.
pub(super) fn of(plan: &Plan) -> Vec<Target> {
    let targets = plan.routes.iter().filter_map(|(key, route)| target(plan, key, route));
    (0..).zip(targets).map(|(number, target)| Target { number, ..target }).collect()
}

fn target(plan: &Plan, key: &RouteKey, route: &RouteSettings) -> Option<Target> {
    let Action::Upstream(upstream) = &route.action else { return None };
    if route.streaming {
        return None;
    }
    let listener = key.listeners.first().cloned();
    let listener = listener.or_else(|| plan.listeners.first().map(|listener| listener.name.clone()))?;
    let host = key.hosts.first().map_or_else(|| "drill.test".to_owned(), ToString::to_string);
    Some(Target {
        number: 0,
        route: route.name.to_string(),
        upstream: plan.upstreams.get(*upstream)?.name.to_string(),
        auth: route.auth,
        listener: listener.to_string(),
        method: method(&key.methods)?,
        path: path(&key.path.to_string()),
        host: host.replace('*', ANY),
        headers: headers(key),
    })
}

/// A method whose request needs no body and whose answer has one, if the route takes one.
fn method(methods: &[Method]) -> Option<Method> {
    if methods.is_empty() || methods.contains(&Method::GET) {
        return Some(Method::GET);
    }
    let strange = [Method::CONNECT, Method::HEAD, Method::TRACE];
    methods.iter().find(|method| !strange.contains(method)).cloned()
}

/// The path with its gaps filled.
fn path(pattern: &str) -> String {
    let segments = pattern.split('/').map(|segment| match segment.starts_with('{') {
        true => ANY,
        false => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

fn headers(key: &RouteKey) -> HeaderMap {
    let wanted = key.headers.iter().map(|wanted| {
        let value = match &wanted.value {
            HeaderTest::Exact(value) => value.clone(),
            HeaderTest::Present => HeaderValue::from_static(ANY),
        };
        (wanted.name.clone(), value)
    });
    wanted.collect::<Vec<(HeaderName, HeaderValue)>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, ProcessEnvironment};
    use crate::routing::matcher::Matcher;
    use crate::routing::{normalise, normalise_host};
    use std::path::Path;

    #[test]
    fn every_request_is_one_that_its_route_answers() {
        let mut asked = 0;
        for name in ["api-fleet", "guarded", "internal", "recovery", "quickstart", "tidegate"] {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("config/{name}.toml"));
            let text = std::fs::read_to_string(&file).expect("an example");
            let checked = config::check(&text, &file, &ProcessEnvironment);
            // Some need certificates that are not there.
            let Some(plan) = checked.plan else { continue };
            let keys: Vec<_> = plan.routes.iter().map(|(key, _)| key.clone()).collect();
            let matcher = Matcher::build(&keys).expect("unambiguous");
            for target in of(&plan) {
                let host = normalise_host(&target.host).expect("a host");
                let path = normalise(&target.path).expect("a path").path;
                let found =
                    matcher.find(&target.listener, host.as_str(), &path, &target.method, &target.headers);
                let found = found.map(|index| plan.routes[index].1.name.to_string());
                assert_eq!(found.as_deref().ok(), Some(target.route.as_str()), "{name}: {target:?}");
                asked += 1;
            }
        }
        assert!(asked > 8, "{asked}");
    }
}
