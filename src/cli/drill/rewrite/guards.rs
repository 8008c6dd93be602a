//! Who judges: auths ask the drill's auth service, so that the bad address of 24 March 2023 has somebody to hurt.
//!
//! External auths are kept, bounds, cache and `on_error` with them. Tokens and keys are judged by the gateway itself,
//! and the drill's clients have none that would pass: such auths become external ones of the same name. If no route
//! is guarded, or all are, the drill adds one.

use super::{Draft, table};
use crate::cli::drill::text;
use serde_json::{Map, Value, json};

/// The auth that the drill adds.
const OWN: &str = "drill-session";
/// Its upstream, and the beginning of those that it puts in the place of others.
const SERVICE: &str = "drill-auth";
/// Routes that the drill adds.
const GUARDED: (&str, &str) = ("drill-guarded", "/.drill/guarded");
const PUBLIC: (&str, &str) = ("drill-public", "/.drill/public");
/// What of an auth is kept when it becomes an external one.
const KEPT: [&str; 2] = ["name", "timeout"];

impl Draft {
    /// Lets every auth ask the drill's service.
    pub(super) fn guard_by_our_own(&mut self) {
        let routed = self.routed();
        let (mut added, mut services, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        for auth in text::tables(&mut self.tree, "auth") {
            let name = text::word(auth, "name").unwrap_or_default().to_owned();
            let kind = text::word(auth, "kind").unwrap_or("external").to_owned();
            let upstream = text::word(auth, "upstream").map(str::to_owned);
            match upstream.filter(|upstream| kind == "external" && !routed.contains(upstream)) {
                Some(upstream) => services.push(upstream),
                None => {
                    let service = format!("{SERVICE}-{name}");
                    if kind == "external" {
                        notes.push(format!("auth {name}: an upstream of its own, because routes share its"));
                    } else {
                        auth.retain(|key, _| KEPT.contains(&key.as_str()));
                        auth.insert("path".to_owned(), json!("/verify"));
                        notes.push(format!("auth {name}: asks the drill's auth service instead of {kind}"));
                    }
                    auth.insert("upstream".to_owned(), json!(service));
                    services.push(service.clone());
                    added.push(service);
                }
            }
        }
        let guards = self.guards();
        if guards.is_none() {
            notes.push(format!("auth {OWN}: added, because the file has none"));
            let auth = json!({
                "name": OWN, "upstream": SERVICE, "path": "/verify", "on_error": "stale", "cache": {},
            });
            self.append("auth", auth);
            services.push(SERVICE.to_owned());
            added.push(SERVICE.to_owned());
        }
        for service in added {
            let backends = json!([{ "name": "a", "address": "" }]);
            self.append("upstreams", json!({ "name": service, "backends": backends }));
        }
        services.sort();
        services.dedup();
        self.services = services;
        self.notes.extend(notes);
        self.add_routes(guards.as_deref().unwrap_or(OWN));
    }

    /// A guarded route and a public one, where the file has none.
    fn add_routes(&mut self, auth: &str) {
        let routes: Vec<&Map<String, Value>> =
            self.tree["routes"].as_array().into_iter().flatten().filter_map(Value::as_object).collect();
        let served = || routes.iter().filter(|route| route.contains_key("upstream"));
        let guarded = served().any(|route| route.contains_key("auth"));
        let public = served().any(|route| !route.contains_key("auth"));
        // Before which origins? Those of the first route, or the first that do not judge.
        let upstream = served().find_map(|route| text::word(route, "upstream")).map(str::to_owned);
        let upstream = upstream.or_else(|| self.first_upstream());
        let Some(upstream) = upstream else { return };
        if !guarded {
            self.note(format!("route {}: added, because no route is guarded", GUARDED.0));
            self.append(
                "routes",
                json!({
                    "name": GUARDED.0, "path": GUARDED.1, "upstream": upstream, "auth": auth,
                }),
            );
        }
        if !public {
            self.note(format!("route {}: added, because every route is guarded", PUBLIC.0));
            self.append("routes", json!({ "name": PUBLIC.0, "path": PUBLIC.1, "upstream": upstream }));
        }
    }

    fn first_upstream(&self) -> Option<String> {
        let upstreams = self.tree["upstreams"].as_array().into_iter().flatten();
        let mut names = upstreams.filter_map(|upstream| upstream["name"].as_str());
        names.find(|name| !self.services.iter().any(|service| service == name)).map(str::to_owned)
    }

    /// Upstreams that routes go to.
    fn routed(&self) -> Vec<String> {
        let routes = self.tree["routes"].as_array().into_iter().flatten();
        routes.filter_map(|route| route["upstream"].as_str()).map(str::to_owned).collect()
    }

    /// The auth of the first route that has one, or else the first auth.
    fn guards(&self) -> Option<String> {
        let name = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
        let list = |key: &str| self.tree[key].as_array().into_iter().flatten();
        let used = list("routes").find_map(|route| name(route, "auth"));
        used.or_else(|| list("auth").find_map(|auth| name(auth, "name")))
    }

    fn append(&mut self, key: &str, item: Value) {
        let Some(root) = self.tree.as_object_mut() else { return };
        match root.get_mut(key).and_then(Value::as_array_mut) {
            Some(items) => items.push(item),
            None => drop(root.insert(key.to_owned(), json!([item]))),
        }
        // A gateway without a table of its own has one from here on.
        table(root, "gateway");
    }
}
