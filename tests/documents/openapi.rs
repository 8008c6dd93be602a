//! The OpenAPI document of the admin API has every path and method of the router and no other, and its references lead
//! somewhere. That answers are as it says is tested at the door (`tests/it/openapi.rs`).

use super::read;
use serde_json::Value;
use std::collections::BTreeSet;

const METHODS: [&str; 4] = ["get", "put", "post", "delete"];
/// The web page, which is not for programs.
const PAGE: [&str; 2] = ["/", "/assets/"];

fn document() -> Value {
    serde_json::from_str(&read("deploy/openapi.json")).expect("it is JSON")
}

/// Method and path of every operation.
fn operations(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().expect("paths").iter();
    let of = |(path, item): (&String, &Value)| {
        let methods: Vec<_> = item.as_object().expect("methods").keys().cloned().collect();
        methods.into_iter().map(|method| (method, path.clone())).collect::<Vec<_>>()
    };
    paths.flat_map(of).collect()
}

/// What stands between the bracket that a text begins after and the one that closes it.
fn inside(text: &str) -> &str {
    let mut depth = 1;
    let end = text.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    });
    &text[..end.expect("brackets are closed")]
}

/// The texts in quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

/// Whether a router's call makes something answer to a method: `get(…)`, not `ramps::get(…)`.
fn takes(call: &str, method: &str) -> bool {
    call.match_indices(&format!("{method}("))
        .any(|(at, _)| !call[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

/// Method and path of everything that the router answers, read from its source.
fn routes(source: &str) -> BTreeSet<(String, String)> {
    let roots: Vec<_> =
        source.split("levers(").skip(1).filter_map(|call| quoted(inside(call)).next()).collect();
    let mut routes = BTreeSet::new();
    for call in source.split(".route(").skip(1).map(inside) {
        let path = quoted(call).next().expect("a route has a path");
        let paths = match path.strip_prefix("{path}") {
            Some(rest) => roots.iter().map(|root| format!("{root}{rest}")).collect(),
            None => vec![path.to_owned()],
        };
        let methods: Vec<_> = METHODS.into_iter().filter(|method| takes(call, method)).collect();
        assert!(!methods.is_empty(), "{path} takes no method that is known here");
        for path in paths.into_iter().filter(|path| path != PAGE[0] && !path.starts_with(PAGE[1])) {
            routes.extend(methods.iter().map(|method| ((*method).to_owned(), path.clone())));
        }
    }
    routes
}

#[test]
fn the_api_document_has_every_path_and_method_of_the_router_and_no_other() {
    let routes = routes(&read("src/admin/api.rs"));
    assert!(routes.len() > 30, "only {} routes found", routes.len());
    let described = operations(&document());
    let missing: Vec<_> = routes.difference(&described).collect();
    assert!(
        missing.is_empty(),
        "deploy/openapi.json lacks {missing:?}. Add under `paths`, for each path and method:\n  \"PATH\": {{ \
         \"METHOD\": {{ \"operationId\": \"METHOD_v1_…\", \"summary\": \"…\", \"x-role\": \
         \"viewer|operator|admin\", \"responses\": {{ \"200\": {{ \"description\": \"…\", \"content\": {{ \
         \"application/json\": {{ \"schema\": {{ \"$ref\": \"#/components/schemas/NAME\" }} }} }} }}, \"default\": \
         … as elsewhere }} }} }}\nand the schema NAME under `components`; `parameters` for what stands in braces"
    );
    let left: Vec<_> = described.difference(&routes).collect();
    assert!(left.is_empty(), "deploy/openapi.json has {left:?}, which the router does not answer");
}

#[test]
fn every_operation_is_described_and_every_reference_leads_to_a_schema() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(entries) => {
                found.extend(entries.get("$ref").and_then(Value::as_str));
                entries.values().for_each(|inner| references(inner, found));
            }
            Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let known: BTreeSet<_> = schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
    let found: BTreeSet<_> = found.into_iter().map(str::to_owned).collect();
    assert_eq!(found.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "references to nothing");
    assert_eq!(known.difference(&found).collect::<Vec<_>>(), Vec::<&String>::new(), "schemas of nothing");
    let mut ids = BTreeSet::new();
    for (method, path) in operations(&document) {
        let operation = &document["paths"][&path][&method];
        let id = operation["operationId"].as_str().expect("an id");
        assert!(ids.insert(id.to_owned()), "{id} twice");
        assert!(operation["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{method} {path}");
        let role = operation["x-role"].as_str().expect("a role");
        assert!(["anyone", "viewer", "operator", "admin"].contains(&role), "{method} {path}: {role}");
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        for part in path.split('{').skip(1).filter_map(|part| part.split('}').next()) {
            let found = parameters.iter().any(|it| it["name"] == part && it["in"] == "path");
            assert!(found, "{method} {path} does not describe {part}");
        }
    }
}
