//! Sick backends: those that fail are left out while the others serve, those that are well again come back, checks
//! find out without traffic, and nobody takes a whole service out.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin, refused};
use crate::support::{PATIENCE, wait_until};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

const FAILS: Behaviour = Behaviour::Says("HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n");
const QUICK_CHECKS: &str =
    "health = { interval = \"100ms\", timeout = \"500ms\", healthy = 2, unhealthy = 3 }";

fn origins(n: usize, behaviour: Behaviour) -> Vec<Origin> {
    (0..n).map(|_| Origin::start(behaviour)).collect()
}

fn service(origins: &[Origin], lines: &str, route: &str) -> Config {
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    Config::new().upstream("u", &addresses, lines).route("r", "/", "u", route)
}

fn backends(gateway: &Gateway, upstream: &str) -> Vec<Value> {
    gateway.upstream(upstream)["backends"].as_array().expect("its backends").clone()
}

fn states(gateway: &Gateway) -> Vec<String> {
    let state = |backend: &Value| backend["state"].as_str().expect("a state").to_owned();
    backends(gateway, "u").iter().map(state).collect()
}

/// Waits until the state of one backend has these words.
fn becomes(gateway: &Gateway, backend: usize, words: &[&str]) {
    wait_until(PATIENCE, &format!("u{backend} is {words:?}"), || {
        let state = states(gateway).swap_remove(backend);
        words.iter().all(|word| state.contains(word))
    });
}

fn of(gateway: &Gateway, metric: &str, backend: &str) -> f64 {
    gateway.metrics().value(metric, &[("upstream", "u"), ("backend", backend)])
}

fn checks(gateway: &Gateway, upstream: &str, backend: &str, outcome: &str) -> f64 {
    let labels = [("upstream", upstream), ("backend", backend), ("outcome", outcome)];
    gateway.metrics().value("tidegate_health_checks_total", &labels)
}

fn tells(gateway: &Gateway, what: &str) {
    wait_until(PATIENCE, &format!("an event {what}"), || {
        let events = gateway.admin_get("/v1/events?follow=false&kinds=ejection").json();
        events["items"].as_array().is_some_and(|items| items.iter().any(|event| event["what"] == what))
    });
}

#[test]
fn a_backend_that_fails_fast_is_ejected_and_the_rest_serve_also_across_a_reload() {
    let origins = origins(3, Behaviour::Delay(Duration::from_millis(2)));
    // The choice among backends avoids it after its first failure, so that five in a row may take their time.
    let config = service(&origins, "ejection = { consecutive_failures = 2, base = \"60s\" }", "");
    let gateway = Gateway::start(&config);
    let load = Load::closed(gateway.edge(), "/x", 24);
    origins[0].switch(FAILS);
    becomes(&gateway, 0, &["ejected for", "s: ", "(500)"]);
    load.stop();
    assert_eq!(of(&gateway, "tidegate_backend_up", "u0"), 0.0);
    assert_eq!(of(&gateway, "tidegate_backend_ejections_total", "u0"), 1.0);
    tells(&gateway, "ejected");
    let told = String::from_utf8(gateway.cli(&["status"]).stdout).expect("text");
    assert!(told.contains("! u/u0 ejected for"), "{told}");
    // The same backend under another version is as sick as before.
    gateway.change(&config.route("other", "/other", "u", ""));
    let before = origins[0].requests();
    let load = Load::closed(gateway.edge(), "/x", 6);
    let served = || origins[1].requests() + origins[2].requests();
    let until = served() + 500;
    wait_until(PATIENCE, "the others serve", || served() > until);
    load.stop().only(&[200]);
    assert_eq!(origins[0].requests(), before);
}

#[test]
fn a_backend_that_resets_is_ejected_for_that() {
    let origins = origins(3, Behaviour::WellBehaved);
    let lines = "ejection = { consecutive_failures = 1, base = \"60s\" }";
    let gateway = Gateway::start(&service(&origins, lines, ""));
    let load = Load::closed(gateway.edge(), "/x", 6);
    origins[1].switch(Behaviour::ClosesWithoutAnswer);
    becomes(&gateway, 1, &["ejected for", "(reset)"]);
    drop(load);
}

#[test]
fn a_hung_backend_of_three_is_ejected_tried_and_comes_back_when_it_answers() {
    let origins = origins(3, Behaviour::WellBehaved);
    let lines = "ejection = { consecutive_failures = 3, base = \"300ms\", max = \"600ms\" }";
    let gateway = Gateway::start(&service(&origins, lines, "timeout = \"200ms\""));
    origins[2].switch(Behaviour::AcceptsAndNeverAnswers);
    let load = Load::closed(gateway.edge(), "/x", 12);
    wait_until(PATIENCE, "it is ejected more than once", || {
        of(&gateway, "tidegate_backend_ejections_total", "u2") >= 2.0
    });
    tells(&gateway, "probing");
    origins[2].switch(Behaviour::WellBehaved);
    becomes(&gateway, 2, &["ready"]);
    tells(&gateway, "returned");
    drop(load);
    assert_eq!(of(&gateway, "tidegate_backend_up", "u2"), 1.0);
}

#[test]
fn when_all_fail_each_holds_one_probe_and_they_recover_by_themselves() {
    let origins = origins(3, FAILS);
    let gateway = Gateway::start(&service(&origins, "", ""));
    let load = Load::closed(gateway.edge(), "/x", 6);
    wait_until(PATIENCE, "all are on trial", || {
        states(&gateway).iter().all(|state| state.starts_with("probing"))
    });
    load.stop().only(&[500, 503]);
    origins.iter().for_each(|origin| origin.switch(Behaviour::Delay(Duration::from_secs(1))));
    let clients = gateway.ask("/x", 20);
    wait_until(PATIENCE, "the others are refused", || gateway.sheds("u") >= 17.0);
    assert!(origins.iter().all(|origin| origin.in_flight() <= 1), "{:?}", states(&gateway));
    origins.iter().for_each(|origin| origin.holds(1));
    (0..3).for_each(|backend| becomes(&gateway, backend, &["ready"]));
    drop(clients);
}

#[test]
fn a_backend_that_is_merely_overloaded_is_not_ejected() {
    let origins = origins(2, Behaviour::WellBehaved);
    let gateway = Gateway::start(&service(&origins, "", ""));
    origins[0].switch(Behaviour::Says("HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"));
    let load = Load::closed(gateway.edge(), "/x", 4);
    let busy = origins[0].requests();
    wait_until(PATIENCE, "it refuses several, and the other serves", || {
        origins[1].requests() > 500 && origins[0].requests() > busy
    });
    let report = load.stop();
    assert_eq!(states(&gateway)[0], "ready");
    assert!(report.count(503) * 4 < report.answers(), "it attracts no traffic: {}", report.count(503));
}

#[test]
fn clients_that_keep_their_bodies_back_get_no_backend_ejected() {
    let origins = origins(2, Behaviour::WellBehaved);
    let gateway = Gateway::start(&service(&origins, "", "timeout = \"400ms\""));
    // More than is waited for before the backend is asked.
    let body = "x".repeat(100_000);
    let begun = format!("POST / HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 1000000\r\n\r\n{body}");
    let mut clients: Vec<_> = (0..16).map(|_| gateway.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(&begun));
    for client in &mut clients {
        assert_eq!(client.answer(false).reason(), Some("timeout"));
    }
    // Also after a tick in which that would be noticed.
    let ticks = gateway.status()["uptime_seconds"].as_f64().expect("a time") + 0.5;
    wait_until(PATIENCE, "it was looked at", || {
        gateway.status()["uptime_seconds"].as_f64().is_some_and(|now| now > ticks)
    });
    assert_eq!(states(&gateway), ["ready", "ready"]);
}

#[test]
fn a_check_takes_a_backend_out_and_brings_it_back() {
    let origins = origins(2, Behaviour::WellBehaved);
    let gateway = Gateway::start(&service(&origins, QUICK_CHECKS, ""));
    wait_until(PATIENCE, "it is checked", || checks(&gateway, "u", "u0", "ok") >= 2.0);
    origins[0].switch(Behaviour::FailsChecks);
    becomes(&gateway, 0, &["down: ", "checks failed (404)"]);
    tells(&gateway, "down");
    let labels = [("upstream", "u"), ("backend", "u0")];
    let before = gateway.metrics().value("tidegate_backend_requests_total", &labels);
    (0..20).for_each(|_| assert_eq!(gateway.get("/x").status(), 200));
    let metrics = gateway.metrics();
    assert_eq!(metrics.value("tidegate_backend_requests_total", &labels), before);
    assert_eq!(metrics.value("tidegate_backend_up", &labels), 0.0);
    origins[0].switch(Behaviour::WellBehaved);
    becomes(&gateway, 0, &["ready"]);
    tells(&gateway, "up");
}

#[test]
fn when_every_check_fails_the_checks_are_doubted_and_traffic_decides() {
    let origins = origins(2, Behaviour::FailsChecks);
    let gateway = Gateway::start(&service(&origins, QUICK_CHECKS, ""));
    tells(&gateway, "checks_doubted");
    let load = Load::closed(gateway.edge(), "/x", 4);
    for backend in 0..2 {
        becomes(&gateway, backend, &["ready, though", "checks failed (404)"]);
    }
    load.stop();
    (0..10).for_each(|_| assert_eq!(gateway.get("/x").status(), 200));
}

#[test]
fn slow_checks_under_load_take_out_no_more_than_their_bound() {
    let origins = origins(4, Behaviour::WellBehaved);
    let gateway = Gateway::start(&service(&origins, QUICK_CHECKS, ""));
    let load = Load::closed(gateway.edge(), "/x", 8);
    wait_until(PATIENCE, "there is load", || origins.iter().all(|origin| origin.requests() > 50));
    origins.iter().for_each(|origin| origin.switch(Behaviour::NeverAnswersChecks));
    wait_until(2 * PATIENCE, "every backend is found slow", || {
        (0..4).all(|backend| checks(&gateway, "u", &format!("u{backend}"), "slow") >= 4.0)
    });
    let out = states(&gateway).iter().filter(|state| state.starts_with("down")).count();
    assert_eq!(out, 1, "{:?}", states(&gateway));
    load.stop().only(&[200]);
}

#[test]
fn checks_by_connection_and_by_grpc_tell_who_is_there() {
    let (http, grpc) = (Origin::well_behaved(), [Origin::http2(100), Origin::http2(100)]);
    let kind = |kind: &str| QUICK_CHECKS.replace("{ ", &format!("{{ kind = \"{kind}\", "));
    let config = Config::new()
        .upstream("u", &[http.address(), refused()], &kind("tcp"))
        .upstream(
            "g",
            &[grpc[0].address(), grpc[1].address()],
            &format!("protocol = \"http2\"\n{}", kind("grpc")),
        )
        .route("r", "/", "u", "")
        .route("g", "/g", "g", "");
    let gateway = Gateway::start(&config);
    becomes(&gateway, 1, &["down: ", "(connection refused)"]);
    grpc[1].switch(Behaviour::FailsChecks);
    let state = |backend: usize| backends(&gateway, "g")[backend]["state"].as_str().unwrap_or("").to_owned();
    wait_until(PATIENCE, "one does not serve", || state(1).contains("(NOT_SERVING)"));
    assert_eq!((state(0).as_str(), states(&gateway)[0].as_str()), ("ready", "ready"));
    grpc[1].switch(Behaviour::WellBehaved);
    wait_until(PATIENCE, "it serves again", || state(1) == "ready");
}

#[test]
fn a_health_target_that_never_answers_holds_up_no_other_check() {
    let (hung, well) = (origins(8, Behaviour::AcceptsAndNeverAnswers), Origin::well_behaved());
    let addresses: Vec<SocketAddr> = hung.iter().map(Origin::address).collect();
    let config = Config::new()
        .upstream("hung", &addresses, &QUICK_CHECKS.replace("500ms", "60s"))
        .upstream("v", &[well.address()], QUICK_CHECKS)
        .route("hung", "/hung", "hung", "")
        .route("r", "/", "v", "");
    let gateway = Gateway::start(&config);
    wait_until(PATIENCE, "the hung ones hold their checks", || {
        hung.iter().all(|origin| origin.in_flight() == 1)
    });
    let before = checks(&gateway, "v", "v0", "ok");
    wait_until(PATIENCE, "the neighbour is checked on", || checks(&gateway, "v", "v0", "ok") >= before + 5.0);
    assert!(gateway.serves("/x"));
    // A backend that is gone from the file is asked nothing more.
    gateway.change(&Config::new().upstream("v", &[well.address()], "").route("r", "/", "v", ""));
    wait_until(PATIENCE, "checks end with their backend", || hung.iter().all(|origin| origin.open() == 0));
}
