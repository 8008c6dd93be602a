//! What the admin side answers is what its OpenAPI document says: every member is described, nothing that it promises is
//! missing, and methods that it does not have are refused.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::operator::{ask, change};
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::get;
use crate::support::{PATIENCE, wait_until};
use serde_json::{Value, json};

const JSON: [&str; 1] = ["content-type: application/json"];

/// What in `value` is not as `schema` says; `at` is where. Stricter than a client should be: what is not described is a
/// fault, so that the document stays complete.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().expect("a name");
        return faults(document, &document["components"]["schemas"][name], value, at);
    }
    if let Some(either) = schema["anyOf"].as_array() {
        let tried: Vec<_> = either.iter().map(|schema| faults(document, schema, value, at)).collect();
        // The first alternative is the one that has more to say than null.
        return if tried.iter().any(Vec::is_empty) {
            Vec::new()
        } else {
            tried.into_iter().next().unwrap_or_default()
        };
    }
    if let Some(words) = schema["enum"].as_array() {
        return if words.contains(value) {
            Vec::new()
        } else {
            vec![format!("{at}: {value} is none of {words:?}")]
        };
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        // Anything.
        _ => return Vec::new(),
    };
    if !kinds.iter().any(|kind| is_a(kind, value)) {
        return vec![format!("{at}: {value} is no {}", kinds.join(" or "))];
    }
    match value {
        Value::Array(items) => {
            let of = |(n, item)| faults(document, &schema["items"], item, &format!("{at}[{n}]"));
            items.iter().enumerate().flat_map(of).collect()
        }
        Value::Object(members) => object(document, schema, members, at),
        _ => Vec::new(),
    }
}

fn object(
    document: &Value,
    schema: &Value,
    members: &serde_json::Map<String, Value>,
    at: &str,
) -> Vec<String> {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut faults_here: Vec<_> = required
        .filter(|name| !members.contains_key(*name))
        .map(|name| format!("{at}: no {name}, which deploy/openapi.json requires"))
        .collect();
    for (name, value) in members {
        let at = format!("{at}.{name}");
        let inner = match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Object(_)) => &schema["additionalProperties"],
            (Value::Null, Value::Bool(true)) => continue,
            (Value::Null, _) if schema["properties"].is_null() => continue,
            (Value::Null, _) => {
                faults_here
                    .push(format!("{at}: deploy/openapi.json does not describe it: add it to `properties`"));
                continue;
            }
            (known, _) => known,
        };
        faults_here.extend(faults(document, inner, value, &at));
    }
    faults_here
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("no kind {other}"),
    }
}

/// A gateway with something to tell at every path: a backend that hangs, an auth, a ramp, a drain, two versions,
/// a sink that nobody can reach, a page for everyone.
fn busy() -> (Gateway, [Origin; 2]) {
    let origins = [Origin::start(Behaviour::AcceptsAndNeverAnswers), Origin::well_behaved()];
    let address = origins[1].address();
    let auth = "[[auth]]\nname = \"login\"\nkind = \"external\"\nupstream = \"users\"\npath = \"/check\"\ncache = {}\n";
    let config = Config::under("[rollout]\nrequired = false\nenvironment = \"staging\"\n")
        .upstream("orders", &[origins[0].address()], "")
        .upstream("users", &[address, origins[0].address()], "")
        .route("orders", "/orders", "orders", "")
        .route("users", "/users", "users", "auth = \"login\"\n")
        .text(auth)
        .text("[status_page]\naddress = \"127.0.0.1:0\"\n[[notify]]\nname = \"hook\"\nurl = \"http://127.0.0.1:9/\"\n");
    (Gateway::start(&config), origins)
}

/// A path of the document with the names of the gateway.
fn real(path: &str) -> String {
    let path = path.replace("{name}", "hook:test").replace("{id}", "1");
    path.replace("{upstream}", "users").replace("{backend}", "users0").replace("{number}", "1")
}

#[test]
fn every_answer_of_the_admin_side_is_as_its_document_says() {
    let (gateway, _origins) = busy();
    let served = gateway.admin_get("/v1/openapi.json");
    assert_eq!((served.status(), served.get("content-type")), (200, Some("application/json")));
    let document = served.json();
    let ramp = json!({ "percent": 50, "then": 100, "after": "1h", "reason": "drill" });
    for path in ["/v1/upstreams/users/ramp", "/v1/upstreams/users/backends/users0/ramp"] {
        let set = change(gateway.admin(), "PUT", path, &ramp);
        assert_eq!(set.status(), 200, "{}", set.text());
    }
    let incident =
        json!({ "title": "Orders are slow", "upstreams": ["orders"], "text": "We look.", "freeze": true });
    assert_eq!(change(gateway.admin(), "POST", "/v1/incidents", &incident).status(), 201);
    let mut held = gateway.connect();
    held.send(get("/orders/1"));
    wait_until(PATIENCE, "a slot is held", || gateway.status()["in_flight"] == 1);
    let mut looked = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        let answers = &item["get"]["responses"]["200"]["content"];
        let schema = &answers["application/json"]["schema"];
        if schema.is_null() || answers.get("text/event-stream").is_some() && path != "/v1/events" {
            continue;
        }
        let query = if path == "/v1/events" { "?follow=false" } else { "" };
        let answer = gateway.admin_get(&format!("{}{query}", real(path)));
        if answer.status() != 200 {
            // Nothing of that here: a first version has nothing before it, and no receipt yet.
            let problem = &document["components"]["schemas"]["Problem"];
            assert_eq!(faults(&document, problem, &answer.json(), path), Vec::<String>::new());
            continue;
        }
        assert_eq!(faults(&document, schema, &answer.json(), path), Vec::<String>::new(), "{path}");
        looked += 1;
    }
    assert!(looked >= 18, "only {looked} answers looked at");
}

#[test]
fn the_document_finds_what_it_does_not_describe() {
    let (gateway, _origins) = busy();
    let document = gateway.admin_get("/v1/openapi.json").json();
    let schema = &document["components"]["schemas"]["Gateway"];
    let mut status = gateway.status();
    assert_eq!(faults(&document, schema, &status, "it"), Vec::<String>::new());
    status["colour"] = "red".into();
    status["ready"] = 1.into();
    status.as_object_mut().expect("an object").remove("version");
    let found = faults(&document, schema, &status, "it").join("\n");
    for part in
        ["it: no version", "it.colour: deploy/openapi.json does not describe it", "it.ready: 1 is no boolean"]
    {
        assert!(found.contains(part), "{found}");
    }
}

#[test]
fn what_the_document_takes_is_taken_and_nothing_else() {
    let (gateway, _origins) = busy();
    let document = gateway.admin_get("/v1/openapi.json").json();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in ["GET", "PUT", "POST", "DELETE"] {
            if method == "GET"
                && item["get"]["responses"]["200"]["content"].get("text/event-stream").is_some()
            {
                continue;
            }
            // Nothing understands this, so nothing is changed by asking.
            let body = if method == "GET" { "" } else { "{\"colour\":\"red\"}" };
            let answer = ask(gateway.admin(), method, &real(path), &JSON, body);
            let described = !item[method.to_lowercase()].is_null();
            assert_eq!(answer.status() != 405, described, "{method} {path}: {}", answer.text());
        }
    }
}
