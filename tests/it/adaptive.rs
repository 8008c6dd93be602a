//! The limit that finds itself: in `shadow` it refuses nobody and says what it would have, in `enforce` it holds a
//! slow upstream near its objective, a change of mode acts at once, and what was learned outlives it.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::load::Load;
use crate::support::operator::ask;
use crate::support::origins::{Behaviour, Origin};
use crate::support::{PATIENCE, wait_for, wait_until};
use serde_json::Value;
use std::time::Duration;

const U: [(&str, &str); 1] = [("upstream", "u")];
/// A load needs so long to be noticed on a busy machine.
const LONG: Duration = Duration::from_secs(20);

fn config(origin: &Origin, mode: &str, more: &str) -> Config {
    let lines = format!("adaptive_limit = \"{mode}\"\n{more}");
    Config::new().upstream("u", &[origin.address()], &lines).route("r", "/", "u", "")
}

fn slow(ms: u64) -> Origin {
    Origin::start(Behaviour::Delay(Duration::from_millis(ms)))
}

fn gauge(gateway: &Gateway, name: &str) -> f64 {
    let name = format!("tidegate_upstream_{name}");
    // A limit is worked out a moment after the start.
    wait_for(PATIENCE, &name, || gateway.metrics().get(&name, &U))
}

fn moves(gateway: &Gateway, reason: &str) -> f64 {
    let (name, labels) = ("tidegate_upstream_adaptive_moves_total", [U[0], ("reason", reason)]);
    // As with a gauge: nothing stands there until a limit was first worked out.
    wait_for(PATIENCE, name, || gateway.metrics().get(name, &labels))
}

fn events(gateway: &Gateway) -> Vec<Value> {
    let answer = ask(gateway.admin(), "GET", "/v1/events?follow=false&kinds=limit", &[], "");
    answer.json()["items"].as_array().expect("a list of items").clone()
}

#[test]
fn in_shadow_nobody_is_refused_and_what_would_have_been_is_counted() {
    let origin = slow(100);
    let gateway = Gateway::start(&config(&origin, "shadow", "max_in_flight = 64"));
    assert_eq!(gauge(&gateway, "shadow_shed_total"), 0.0);
    let load = Load::closed(gateway.edge(), "/", 40);
    wait_until(LONG, "some would have been refused", || gauge(&gateway, "shadow_shed_total") > 50.0);
    assert_eq!(gauge(&gateway, "limit"), 64.0, "the cap binds");
    assert_eq!(gauge(&gateway, "adaptive_enforced"), 0.0);
    load.stop().only(&[200]);
    assert_eq!(gateway.sheds("u"), 0.0);
    let adaptive = gateway.upstreams()[0]["adaptive"].clone();
    assert_eq!((&adaptive["mode"], adaptive["shadow_sheds"].as_u64() > Some(50)), (&"shadow".into(), true));
}

#[test]
fn enforced_a_limit_rises_while_answers_are_fast_and_says_why() {
    let origin = slow(20);
    let gateway =
        Gateway::start(&config(&origin, "enforce", "max_in_flight = 64\nqueue = { max_waiting = 0 }"));
    wait_until(PATIENCE, "it begins at eight", || gauge(&gateway, "adaptive_limit") == 8.0);
    assert_eq!(gauge(&gateway, "limit"), 8.0);
    let load = Load::paced(gateway.edge(), "/", 24, Duration::from_millis(20));
    wait_until(LONG, "there is room for all", || gauge(&gateway, "adaptive_limit") >= 24.0);
    let report = load.stop();
    report.only(&[200, 503]);
    assert!(report.count(503) > 0, "it stood in the way before");
    assert!(moves(&gateway, "wanted") > 3.0 && moves(&gateway, "failing") == 0.0);
    let view = gateway.upstreams()[0].clone();
    let moved = &view["adaptive"]["last_move"];
    assert_eq!(moved["reason"], "wanted", "{view}");
    assert!(moved["because"].as_str().is_some_and(|why| why.contains("ms on average")), "{view}");
    let status = String::from_utf8(gateway.cli(&["status"]).stdout).expect("text");
    assert!(status.contains("u limits itself to") && status.contains("objective 250ms"), "{status}");
}

#[test]
fn enforced_the_limit_refuses_as_the_upstreams_and_is_never_exceeded() {
    let origin = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let gateway = Gateway::start(&config(&origin, "enforce", "max_in_flight = 64"));
    wait_until(PATIENCE, "it begins at eight", || gauge(&gateway, "limit") == 8.0);
    let held = gateway.ask("/", 8);
    origin.holds(8);
    // Once it is known that nothing comes out nobody waits any more.
    wait_until(PATIENCE, "it is the upstream's limit", || {
        let refused = gateway.get("/");
        assert!(refused.status() == 503 && refused.get("retry-after").is_some());
        refused.get("x-tidegate-reason") == Some("upstream_limit")
    });
    drop(held);
    assert_eq!(origin.peak(), 8);
}

#[test]
fn what_is_slow_by_nature_raises_the_objective_and_is_told() {
    let origin = slow(120);
    let gateway = Gateway::start(&config(&origin, "enforce", "latency_objective = \"40ms\""));
    let load = Load::closed(gateway.edge(), "/", 16);
    wait_until(LONG, "cutting was futile", || moves(&gateway, "futile") > 0.0);
    wait_until(LONG, "all find room", || gauge(&gateway, "adaptive_limit") >= 16.0);
    assert!(gauge(&gateway, "latency_objective_seconds") > 0.1);
    let raised = wait_for(PATIENCE, "it is told", || {
        events(&gateway).into_iter().find(|event| event["what"] == "objective_raised")
    });
    assert_eq!((&raised["upstream"], &raised["mode"]), (&"u".into(), &"enforce".into()));
    assert!(raised["because"].as_str().is_some_and(|why| why.contains("not the load")), "{raised}");
    load.stop().only(&[200, 503]);
}

#[test]
fn a_change_of_mode_acts_at_once_and_keeps_what_was_learned() {
    let origin = slow(20);
    let with = |mode| config(&origin, mode, "max_in_flight = 64\nqueue = { max_waiting = 0 }");
    let gateway = Gateway::start(&with("enforce"));
    let load = Load::closed(gateway.edge(), "/", 24);
    wait_until(LONG, "it has learned", || gauge(&gateway, "adaptive_limit") >= 16.0);
    load.stop();
    gateway.change(&with("shadow"));
    assert!(gauge(&gateway, "limit") == 64.0 && gauge(&gateway, "adaptive_limit") >= 16.0);
    gateway.change(&with("off"));
    assert_eq!(gauge(&gateway, "limit"), 64.0);
    assert_eq!(gateway.metrics().get("tidegate_upstream_adaptive_limit", &U), None);
    assert_eq!(gateway.upstreams()[0]["adaptive"], Value::Null);
    gateway.change(&with("enforce"));
    let (limit, learned) = (gauge(&gateway, "limit"), gauge(&gateway, "adaptive_limit"));
    assert!(limit == learned && (16.0..64.0).contains(&learned), "{limit} {learned}");
}

#[test]
fn a_restart_goes_on_with_the_limit_that_was_learned() {
    let origin = slow(20);
    let text = config(&origin, "enforce", "max_in_flight = 64\nqueue = { max_waiting = 0 }");
    let mut gateway = Gateway::start(&text.gateway("drain_delay = \"0s\""));
    let load = Load::closed(gateway.edge(), "/", 24);
    wait_until(LONG, "it has learned", || gauge(&gateway, "adaptive_limit") >= 16.0);
    load.stop();
    gateway.term();
    assert!(gateway.exit(PATIENCE).success());
    let gateway = gateway.restart(Launch::default());
    wait_until(PATIENCE, "it is known", || {
        gateway.metrics().get("tidegate_upstream_adaptive_limit", &U).is_some_and(|limit| limit >= 16.0)
    });
}

#[test]
fn a_few_clients_that_leave_move_nobodys_limit() {
    let origin = slow(400);
    let gateway = Gateway::start(&config(&origin, "enforce", "latency_objective = \"50ms\""));
    wait_until(PATIENCE, "it begins at eight", || gauge(&gateway, "adaptive_limit") == 8.0);
    for _ in 0..6 {
        gateway.ask("/", 3).into_iter().for_each(crate::support::raw::Raw::abort);
    }
    gateway.settles(PATIENCE);
    assert_eq!(gauge(&gateway, "adaptive_limit"), 8.0);
}
