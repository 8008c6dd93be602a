//! A hung dependency stays where it is: it may accept and never answer, stall, drip or not even accept, and
//! every other route keeps its success rate; what cannot be served is refused at once and says why.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin, SynBlackHole};
use crate::support::raw::{Raw, get};
use crate::support::{PATIENCE, wait_until};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const CAP: u64 = 32;

/// `good` beside `bad`, whose one route may use all of it.
fn beside(good: SocketAddr, bad: SocketAddr, upstream: &str, route: &str) -> Config {
    Config::new()
        .upstream("good", &[good], "")
        .upstream("bad", &[bad], &format!("max_in_flight = {CAP}\n{upstream}"))
        .route("good", "/good", "good", "")
        .route("bad", "/bad", "bad", &format!("max_in_flight = {CAP}\ntimeout = \"30s\"\n{route}"))
}

/// Clients that ask for `/bad` and do not wait.
fn ask_for_bad(gateway: &Gateway, n: u64) -> Vec<Raw> {
    let ask = |_| {
        let mut raw = gateway.connect();
        raw.send(get("/bad"));
        raw
    };
    (0..n).map(ask).collect()
}

#[test]
fn a_hung_upstream_leaves_its_neighbour_alone_and_refuses_at_once() {
    let (good, bad) = (Origin::well_behaved(), Origin::start(Behaviour::AcceptsAndNeverAnswers));
    let gateway = Gateway::start(&beside(good.address(), bad.address(), "", ""));
    let held = ask_for_bad(&gateway, CAP);
    bad.holds(CAP);
    // The queue's patience is 50 ms: once nothing was released for so long, nobody waits in vain.
    wait_until(PATIENCE, "the gate knows that nothing is released", || {
        refused_in(&gateway) < Duration::from_millis(40)
    });
    let load = Load::paced(gateway.edge(), "/good", 4, Duration::from_millis(2));
    for _ in 0..50 {
        let answer = gateway.get("/bad");
        assert_eq!(answer.status(), 503);
        let reason = answer.reason().expect("a refusal says why");
        assert!(
            ["upstream_limit", "route_limit", "queue_full", "queue_timeout"].contains(&reason),
            "{reason}"
        );
        let seconds: u32 =
            answer.get("retry-after").expect("when to come back").parse().expect("whole seconds");
        assert!((1..=30).contains(&seconds), "{seconds}");
    }
    wait_until(PATIENCE, "there was load", || good.requests() > 500);
    load.stop().only(&[200]);
    let metrics = gateway.metrics();
    assert_eq!(metrics.value("tidegate_upstream_inflight", &[("upstream", "bad")]), CAP as f64);
    assert_eq!(metrics.value("tidegate_upstream_limit", &[("upstream", "bad")]), CAP as f64);
    assert!(metrics.value("tidegate_shed_total", &[("upstream", "bad")]) >= 50.0);
    assert_eq!(metrics.value("tidegate_shed_total", &[("upstream", "good")]), 0.0);
    assert_eq!(bad.peak(), CAP, "a refusal costs the upstream nothing");
    drop(held);
}

fn refused_in(gateway: &Gateway) -> Duration {
    let started = Instant::now();
    assert_eq!(gateway.get("/bad").status(), 503);
    started.elapsed()
}

#[test]
fn a_healed_upstream_is_used_again() {
    let (good, bad) = (Origin::well_behaved(), Origin::start(Behaviour::AcceptsAndNeverAnswers));
    let gateway = Gateway::start(&beside(good.address(), bad.address(), "", ""));
    let held = ask_for_bad(&gateway, CAP);
    bad.holds(CAP);
    assert_eq!(gateway.get("/bad").status(), 503);
    bad.switch(Behaviour::WellBehaved);
    drop(held);
    wait_until(Duration::from_secs(20), "it serves again", || gateway.serves("/bad"));
    gateway.settles(Duration::from_secs(15));
}

#[test]
fn a_request_to_a_hung_upstream_ends_at_its_timeout() {
    let bad = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let config =
        Config::new().upstream("u", &[bad.address()], "").route("r", "/", "u", "timeout = \"300ms\"");
    let gateway = Gateway::start(&config);
    let started = Instant::now();
    let answer = gateway.get("/");
    assert_eq!((answer.status(), answer.reason()), (504, Some("timeout")));
    assert!(started.elapsed() >= Duration::from_millis(300) && started.elapsed() < Duration::from_secs(3));
    gateway.settles(Duration::from_secs(15));
    assert_eq!(bad.in_flight(), 0);
}

#[test]
fn a_backend_that_answers_no_syn_costs_its_connect_timeout_and_no_neighbour() {
    let (good, hole) = (Origin::well_behaved(), SynBlackHole::start());
    let gateway = Gateway::start(&beside(good.address(), hole.address(), "connect_timeout = \"300ms\"", ""));
    let load = Load::paced(gateway.edge(), "/good", 4, Duration::from_millis(2));
    let bad = Load::closed(gateway.edge(), "/bad", 8);
    wait_until(PATIENCE, "there was load", || good.requests() > 1_000);
    load.stop().only(&[200]);
    let bad = bad.stop();
    bad.only(&[502, 503, 504]);
    assert!(bad.percentile(502, 50) < Duration::from_secs(2), "a dial ends at its timeout");
    gateway.settles(Duration::from_secs(15));
}

#[test]
fn an_answer_that_stalls_after_its_head_ends_at_body_idle() {
    let bad = Origin::start(Behaviour::StallsAfterHeaders);
    let good = Origin::well_behaved();
    let gateway = Gateway::start(&beside(good.address(), bad.address(), "", "body_idle = \"1s\""));
    let mut raw = gateway.connect();
    let started = Instant::now();
    raw.send(get("/bad"));
    let head = raw.head().expect("the head passes at once");
    assert_eq!(head.status, 200);
    assert!(started.elapsed() < Duration::from_millis(900), "the head did not wait for the body");
    assert!(raw.body_of(head, false).is_err(), "the client can tell that the answer is not whole");
    assert!(started.elapsed() < Duration::from_secs(8), "body_idle is one second");
    gateway.settles(Duration::from_secs(15));
    assert_eq!(bad.in_flight(), 0);
}

#[test]
fn a_backend_that_drips_holds_its_own_slots_only() {
    let bad = Origin::start(Behaviour::DripsOneByteASecond);
    let good = Origin::well_behaved();
    let gateway = Gateway::start(&beside(good.address(), bad.address(), "", ""));
    let held = ask_for_bad(&gateway, CAP);
    bad.holds(CAP);
    assert_eq!(gateway.get("/bad").status(), 503);
    let load = Load::closed(gateway.edge(), "/good", 2);
    wait_until(PATIENCE, "there was load", || good.requests() > 500);
    load.stop().only(&[200]);
    drop(held);
}

#[test]
fn a_slow_client_does_not_hold_the_backend() {
    let origin = Origin::well_behaved();
    let config =
        Config::new().upstream("u", &[origin.address()], "max_in_flight = 4").route("r", "/", "u", "");
    let gateway = Gateway::start(&config);
    // Small answers fit into buffers: the exchange with the backend is over though nobody reads.
    let unread: Vec<Raw> = (0..16)
        .map(|n| {
            let mut raw = gateway.connect();
            raw.send(get("/bytes/4000"));
            wait_until(PATIENCE, "the backend is done", || origin.requests() > n && origin.in_flight() == 0);
            raw
        })
        .collect();
    assert_eq!(gateway.get("/").status(), 200);
    assert_eq!(gateway.sheds("u"), 0.0);
    drop(unread);
}
