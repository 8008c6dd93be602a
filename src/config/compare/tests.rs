//! The room's promises, on whole texts: what is a difference and what is none, how risky and why, whom it reaches, and
//! that nothing which fills a placeholder is ever said.

mod fields;
mod properties;
mod reaches;
mod rules;
mod secrets;

use super::*;
use crate::config::interpolate::tests::Fake;
use crate::config::{Checked, check};
use std::path::Path;

/// A fleet with an auth service, two services, and a second person for high risk.
const FLEET: &str = r#"
[[listeners]]
name = "edge"
address = "127.0.0.1:8080"

[[upstreams]]
name = "orders"
backends = [
    { name = "a", address = "10.0.0.1:8080" },
    { name = "b", address = "10.0.0.2:8080" },
    { name = "c", address = "10.0.0.3:8080" },
]
max_in_flight = 128

[[upstreams]]
name = "users"
backends = [{ name = "a", address = "10.0.1.1:8080" }]

[[upstreams]]
name = "verify"
backends = [{ name = "a", address = "10.0.2.1:8080" }, { name = "b", address = "10.0.2.2:8080" }]

[[auth]]
name = "session"
upstream = "verify"
path = "/verify"

[[routes]]
name = "orders"
path_prefix = "/orders"
upstream = "orders"
auth = "session"
timeout = "4s"

[[routes]]
name = "users"
path_prefix = "/users"
upstream = "users"
timeout = "8s"

[rollout]
stages = ["1%", "50%", "100%"]
bake = "30s"
approve = "high"
promote_from = { environment = "staging", public_key = "WGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY=" }
"#;

/// A text that is valid.
fn valid(text: &str) -> Checked {
    filled(text, &Fake::default())
}

/// A text that is valid as it is filled.
fn filled(text: &str, env: &Fake) -> Checked {
    let checked = check(text, Path::new("/etc/tidegate/tidegate.toml"), env);
    assert!(!checked.is_refused(), "{}", checked.render(false));
    checked
}

fn compared(before: &str, after: &str) -> Comparison {
    compare(valid(before).side(), valid(after).side())
}

/// The fleet with one part replaced, which is in it.
fn edited(part: &str, by: &str) -> String {
    assert!(FLEET.contains(part), "{part} is in the fleet");
    FLEET.replacen(part, by, 1)
}

/// What differs when one part of the fleet is replaced: one difference.
fn only(part: &str, by: &str) -> Difference {
    let mut comparison = compared(FLEET, &edited(part, by));
    assert_eq!(comparison.differences.len(), 1, "{by}: {:#?}", comparison.differences);
    comparison.differences.remove(0)
}

#[test]
fn the_same_text_in_another_form_is_no_difference() {
    let formatted = FLEET
        .replace("timeout = \"4s\"", "timeout = \"4000ms\" # four seconds")
        .replace("bake = \"30s\"", "bake = \"0.5m\"")
        .replace("\n[[upstreams]]\nname = \"users\"", "# the users\n[[upstreams]]\n\nname = 'users'");
    let comparison = compared(FLEET, &formatted);
    assert_eq!(comparison, Comparison::default(), "{comparison:#?}");
}

#[test]
fn a_key_that_is_left_out_equals_its_default_written_out() {
    let written = edited(
        "max_in_flight = 128",
        "max_in_flight = 128\nkeepalive_idle = \"1m\"\nejection = { base = \"5s\" }",
    )
    .replace("path = \"/verify\"", "path = \"/verify\"\non_error = \"deny\"\nkind = \"external\"")
    .replace("name = \"edge\"", "name = \"edge\"\nmax_connections_per_source = 10000");
    let comparison = compared(FLEET, &written);
    assert!(comparison.is_empty(), "{comparison:#?}");
}

#[test]
fn the_order_of_tables_and_of_sets_decides_nothing() {
    let methods = edited("timeout = \"4s\"", "timeout = \"4s\"\nmethods = [\"GET\", \"POST\"]");
    let blocks: Vec<&str> = methods.split("\n\n").collect();
    let turned: Vec<&str> = blocks.iter().rev().copied().collect();
    let turned = turned.join("\n\n").replace("[\"GET\", \"POST\"]", "[\"POST\", \"GET\"]");
    let comparison = compare(valid(&methods).side(), valid(&turned).side());
    assert!(comparison.differences.is_empty(), "{comparison:#?}");
}

#[test]
fn sentences_are_the_operators() {
    for (part, by, path, what) in [
        (
            "b\", address = \"10.0.0.2:8080",
            "b\", address = \"10.0.0.9:8080",
            "upstreams.orders.backends.b.address",
            "upstream orders: backend b moves from 10.0.0.2:8080 to 10.0.0.9:8080",
        ),
        ("= 128", "= 256", "upstreams.orders.max_in_flight", "upstream orders: max_in_flight 128 → 256"),
        (
            "    { name = \"c\", address = \"10.0.0.3:8080\" },\n",
            "",
            "upstreams.orders.backends.c",
            "upstream orders: backend c at 10.0.0.3:8080 is removed",
        ),
        ("timeout = \"4s\"", "timeout = \"1m\"", "routes.orders.timeout", "route orders: timeout 4s → 1m"),
        ("auth = \"session\"\n", "", "routes.orders.auth", "route orders: auth is removed (it was session)"),
        (
            "max_in_flight = 128",
            "",
            "upstreams.orders.max_in_flight",
            "upstream orders: max_in_flight 128 is left to its rule, which makes it 192 now",
        ),
        (
            "name = \"edge\"",
            "name = \"edge\"\nidle_timeout = \"10s\"",
            "listeners.edge.idle_timeout",
            "listener edge: idle_timeout 75s → 10s",
        ),
        (
            "timeout = \"8s\"",
            "timeout = \"8s\"\nmethods = [\"GET\"]",
            "routes.users.methods",
            "route users: methods is set to GET",
        ),
        (
            "max_in_flight = 128",
            "max_in_flight = 128\nhealth = {}",
            "upstreams.orders.health",
            "upstream orders: health is added",
        ),
        (
            "timeout = \"8s\"",
            "timeout = \"8s\"\nresponse_headers = { set = { x-team = \"users\" } }",
            "routes.users.response_headers.set.x-team",
            "route users: response_headers.set.x-team is set to users",
        ),
        ("\"50%\", ", "", "rollout.stages", "rollout: stages 1%, 50%, 100% → 1%, 100%"),
    ] {
        let difference = only(part, by);
        assert_eq!((difference.path.as_str(), difference.what.as_str()), (path, what), "{by}");
        assert!(!difference.why.is_empty(), "{by}");
    }
}

#[test]
fn a_default_is_shown_as_it_is_and_not_as_what_stands_in_its_place_in_the_file() {
    let without = edited("stages = [\"1%\", \"50%\", \"100%\"]\n", "");
    let comparison = compared(&without, FLEET);
    assert_eq!(comparison.differences[0].what, "rollout: stages 5%, 100% → 1%, 50%, 100%", "{comparison:#?}");
    let ramped = edited(
        "max_in_flight = 128",
        "max_in_flight = 128\nramp = { steps = [\"10%\", \"100%\"], dwell = \"1m\" }",
    );
    let comparison = compared(FLEET, &ramped);
    let said: Vec<&str> = comparison.differences.iter().map(|difference| difference.what.as_str()).collect();
    let steps = "upstream orders: ramp.steps 25%, 50%, 75%, 100% → 10%, 100%";
    assert_eq!(said, [steps, "upstream orders: ramp.dwell 5s → 1m"]);
}

#[test]
fn the_riskiest_stands_first_and_the_whole_has_its_risk() {
    let text = edited("timeout = \"8s\"", "timeout = \"9s\"").replace("10.0.0.1:8080", "10.0.0.7:8080");
    let comparison = compared(FLEET, &text);
    let risks: Vec<Risk> = comparison.differences.iter().map(|difference| difference.risk).collect();
    assert_eq!((comparison.risk, risks), (Risk::High, vec![Risk::High, Risk::Medium]));
}

#[test]
fn more_differences_than_anyone_reads_are_counted_and_the_riskiest_kept() {
    let route = |at: usize, timeout: &str| {
        format!(
            "[[routes]]\nname = \"r{at}\"\npath = \"/r{at}\"\nupstream = \"users\"\ntimeout = \"{timeout}\"\n"
        )
    };
    let fleet = |timeout: &str| -> String {
        let routes: String = (0..MAX_DIFFERENCES + 5).map(|at| route(at, timeout)).collect();
        format!("{FLEET}\n{routes}")
    };
    let after = fleet("11s").replace("10.0.0.1:8080", "10.0.0.7:8080");
    let comparison = compared(&fleet("10s"), &after);
    assert_eq!((comparison.differences.len(), comparison.omitted), (MAX_DIFFERENCES, 6));
    assert_eq!((comparison.risk, comparison.differences[0].risk), (Risk::High, Risk::High));
}

#[test]
fn what_is_said_is_bounded_also_where_names_are_not() {
    let long = "x".repeat(100_000);
    let fleet = |timeout: &str| {
        let route =
            format!("name = \"${{NAME:{long}}}\"\npath = \"/${{NAME:{long}}}\"\ntimeout = \"{timeout}\"");
        edited("name = \"users\"\npath_prefix = \"/users\"", &route).replace("timeout = \"8s\"\n", "")
    };
    let with =
        |text: &str, name| filled(text, &Fake { variables: [("NAME", name)].into(), ..Fake::default() });
    let comparison = compare(with(&fleet("5s"), "one").side(), with(&fleet("6s"), "other").side());
    assert_eq!(comparison.differences.len(), 3, "{comparison:#?}");
    assert!(serde_json::to_string(&comparison).expect("plain data").len() < 5_000, "{comparison:#?}");
}

#[test]
fn it_is_data_that_reads_back() {
    let comparison = compared(FLEET, &edited("timeout = \"4s\"", "timeout = \"30s\""));
    let json = serde_json::to_value(&comparison).expect("it is plain data");
    assert_eq!((&json["risk"], &json["longest_timeout_seconds"]), (&"high".into(), &30.0.into()));
    assert_eq!(json["routes"], serde_json::json!([{ "name": "orders", "new": false, "removed": false }]));
    let again: Comparison = serde_json::from_value(json).expect("it reads back");
    assert_eq!(again.differences, comparison.differences);
}
