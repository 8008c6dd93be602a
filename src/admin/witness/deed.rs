//! What a request wants, in the words of the audit: an action, a target, and what was asked of it.

use crate::control::audit::Entry;
use axum::extract::Query;
use http::{Method, Uri};
use serde_json::Value;

/// Paths that are asked by POST and change nothing.
const QUESTIONS: [&str; 2] = ["/v1/config:check", "/v1/config:plan"];

/// What of a query or a body is shown. Others may hold anything, and an audit is kept for long.
const SHOWN: [&str; 14] = [
    "percent",
    "then",
    "after",
    "reference",
    "state",
    "stages",
    "bake",
    "confirm",
    "status",
    "force",
    "incident",
    "severity",
    "freeze",
    "public",
];

/// A request, for the audit.
#[derive(Debug)]
pub(super) struct Deed {
    /// It changes nothing.
    pub(super) only_reads: bool,
    /// `GET` and the like, for paths that are not known.
    method: Method,
    path: String,
    query: Vec<(String, String)>,
}

impl Deed {
    /// What this request wants.
    pub(super) fn of(method: &Method, uri: &Uri) -> Self {
        let path = uri.path().to_owned();
        let reads = *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS;
        let only_reads = reads || QUESTIONS.contains(&&*path);
        // A query that cannot be read is refused by whoever reads it.
        let query = Query::<Vec<(String, String)>>::try_from_uri(uri).map(|Query(pairs)| pairs);
        Deed { only_reads, method: method.clone(), path, query: query.unwrap_or_default() }
    }

    /// The word for it.
    pub(super) fn action(&self, body: &Value) -> String {
        let (path, last) = (self.path.as_str(), self.path.rsplit('/').next().unwrap_or_default());
        if self.only_reads {
            return "read".to_owned();
        }
        if let Some(verb) = path.strip_prefix("/v1/rollout:") {
            return verb.to_owned();
        }
        let word = match (&self.method, path, last) {
            (&Method::POST, "/v1/versions", _) => "apply",
            (&Method::POST, "/v1/rollback", _) => "rollback",
            (&Method::POST, "/v1/incidents", _) => "incident.open",
            (&Method::PUT, _, _) if path.starts_with("/v1/incidents/") => match body["state"].as_str() {
                Some("closed") => "incident.close",
                Some("open") => "incident.publish",
                _ => "incident.update",
            },
            (&Method::POST, _, test) if path.starts_with("/v1/notify/") && test.ends_with(":test") => {
                "notify.test"
            }
            (&Method::PUT, _, "ramp") => "ramp.set",
            (&Method::DELETE, _, "ramp") => "ramp.clear",
            (&Method::POST, _, "ramp:pause") => "ramp.pause",
            (&Method::POST, _, "ramp:resume") => "ramp.resume",
            (&Method::PUT, _, "state") => match body["state"].as_str() {
                Some("drain") => "drain",
                Some("ready") => "ready",
                _ => "backend.state",
            },
            _ => "unknown",
        };
        word.to_owned()
    }

    /// To what, how, and why.
    pub(super) fn describe(&self, body: &Value, entry: &mut Entry) {
        entry.target = self.target();
        entry.reason = self.given("reason").map(str::to_owned).or_else(|| text(body, "reason"));
        entry.version =
            self.given("version").and_then(|text| text.parse().ok()).or_else(|| body["version"].as_u64());
        let shown = |name: &&str| {
            let value = self.given(name).map(str::to_owned).or_else(|| text(body, name))?;
            Some(format!("{name}={value}"))
        };
        let asked: Vec<String> = SHOWN.iter().filter_map(shown).collect();
        entry.asked = (!asked.is_empty()).then(|| asked.join(" "));
        let is_on = |name: &str| self.given(name) == Some("true") || body[name] == Value::Bool(true);
        let switches = ["break_glass", "now"].into_iter().filter(|name| is_on(name)).map(str::to_owned);
        let risk = self.given("ack_risk").map(str::to_owned).or_else(|| text(body, "ack_risk"));
        entry.acknowledgements =
            risk.map(|risk| format!("risk={risk}")).into_iter().chain(switches).collect();
    }

    fn given(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// An upstream, or a backend of one; or the path that is not known.
    fn target(&self) -> Option<String> {
        let mut parts = self.path.strip_prefix('/').unwrap_or(&self.path).split('/');
        let five = [parts.next(), parts.next(), parts.next(), parts.next(), parts.next()];
        match five {
            [Some("v1"), Some("upstreams"), Some(upstream), Some("backends"), Some(backend)] => {
                Some(format!("{upstream}/{backend}"))
            }
            [Some("v1"), Some("upstreams"), Some(upstream), Some(_), _] => Some(upstream.to_owned()),
            [Some("v1"), Some("incidents"), id, ..] => id.map(str::to_owned),
            [Some("v1"), Some("notify"), Some(sink), ..] if !self.only_reads => {
                Some(sink.trim_end_matches(":test").to_owned())
            }
            _ if self.action(&Value::Null) == "unknown" || self.only_reads => {
                Some(format!("{} {}", self.method, self.path))
            }
            _ => None,
        }
    }
}

/// A text, a number or a switch of a body.
fn text(body: &Value, name: &str) -> Option<String> {
    match &body[name] {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(switch) => Some(switch.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deed(method: Method, uri: &str, body: &Value) -> (String, Entry) {
        let deed = Deed::of(&method, &uri.parse().expect("a target"));
        let action = deed.action(body);
        let mut entry = Entry::new("ops", &*action);
        deed.describe(body, &mut entry);
        (action, entry)
    }

    #[test]
    fn every_path_of_the_contract_has_its_word() {
        let none = Value::Null;
        let drain = json!({ "state": "drain" });
        for (method, path, body, action, target) in [
            (Method::POST, "/v1/versions?reason=x", &none, "apply", None),
            (Method::POST, "/v1/rollback", &none, "rollback", None),
            (Method::POST, "/v1/rollout:promote", &none, "promote", None),
            (Method::POST, "/v1/rollout:approve", &none, "approve", None),
            (Method::PUT, "/v1/upstreams/orders/ramp", &none, "ramp.set", Some("orders")),
            (Method::DELETE, "/v1/upstreams/orders/backends/a/ramp", &none, "ramp.clear", Some("orders/a")),
            (Method::POST, "/v1/upstreams/orders/ramp:pause", &none, "ramp.pause", Some("orders")),
            (
                Method::POST,
                "/v1/upstreams/orders/backends/a/ramp:resume",
                &none,
                "ramp.resume",
                Some("orders/a"),
            ),
            (Method::PUT, "/v1/upstreams/orders/backends/a/state", &drain, "drain", Some("orders/a")),
            (Method::POST, "/v1/incidents", &none, "incident.open", None),
            (Method::PUT, "/v1/incidents/7", &none, "incident.update", Some("7")),
            (Method::POST, "/v1/notify/oncall:test", &none, "notify.test", Some("oncall")),
            (Method::POST, "/v1/status", &none, "unknown", Some("POST /v1/status")),
            (Method::GET, "/v1/status", &none, "read", Some("GET /v1/status")),
        ] {
            let (is, entry) = deed(method, path, body);
            assert_eq!((is.as_str(), entry.target.as_deref()), (action, target), "{path}");
        }
        assert!(Deed::of(&Method::POST, &"/v1/config:plan".parse().expect("a target")).only_reads);
    }

    #[test]
    fn what_was_asked_is_shown_and_nothing_else() {
        let body =
            json!({ "percent": 25, "then": 100, "after": "10m", "reason": "cold", "password": "hunter2" });
        let (_, entry) = deed(Method::PUT, "/v1/upstreams/orders/ramp", &body);
        assert_eq!(entry.asked.as_deref(), Some("percent=25 then=100 after=10m"));
        assert_eq!(entry.reason.as_deref(), Some("cold"));
        let query =
            "/v1/versions?reason=the+fleet&ack_risk=high&break_glass=true&now=true&stages=1%25&token=x";
        let (_, entry) = deed(Method::POST, query, &Value::Null);
        assert_eq!(entry.acknowledgements, ["risk=high", "break_glass", "now"]);
        assert_eq!((entry.reason.as_deref(), entry.asked.as_deref()), (Some("the fleet"), Some("stages=1%")));
        assert_eq!(deed(Method::POST, "/v1/rollback", &json!({ "version": 7 })).1.version, Some(7));
    }
}
