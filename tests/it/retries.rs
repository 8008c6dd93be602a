//! Second tries: only of what may be sent twice, only as many as successes pay for, never of a refusal, and never
//! where they would take the place of first ones.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::operator::change;
use crate::support::origins::exchange::header_seen;
use crate::support::origins::{Behaviour, Origin, SynBlackHole, refused};
use crate::support::raw::{get, post};
use crate::support::{PATIENCE, wait_until};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Closes each connection when it has read a request, without an answer.
const RESETS: Behaviour = Behaviour::ClosesWithoutAnswer;

const UNAVAILABLE: Behaviour =
    Behaviour::Says("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy");

fn over(backends: &[SocketAddr], lines: &str) -> Gateway {
    let config = Config::new().workers(1).upstream("u", backends, lines).route("r", "/", "u", "");
    Gateway::start(&config)
}

fn outcome(gateway: &Gateway, outcome: &str) -> f64 {
    gateway.metrics().value("tidegate_retries_total", &[("upstream", "u"), ("outcome", outcome)])
}

/// Second tries that were made.
fn made(gateway: &Gateway) -> f64 {
    outcome(gateway, "succeeded") + outcome(gateway, "failed")
}

#[test]
fn an_idempotent_request_without_a_body_survives_a_backend_that_breaks_off() {
    for broken in [RESETS, Behaviour::SendsGarbage] {
        let (bad, good) = (Origin::start(broken), Origin::well_behaved());
        let gateway = over(&[bad.address(), good.address()], "");
        // Both are tried sooner or later: whoever has failed is drawn less.
        let mut asked = 0;
        wait_until(PATIENCE, "the bad one was asked", || {
            assert_eq!(gateway.get("/x").status(), 200);
            asked += 1;
            bad.requests() > 0 || asked > 50
        });
        assert_eq!(made(&gateway), bad.requests() as f64, "{broken:?}");
        // It may begin at the bad one itself, and then it is our own word that is passed on.
        let echo =
            gateway.connect().ask("DELETE /x HTTP/1.1\r\nHost: edge.test\r\nx-tidegate-attempt: 7\r\n\r\n");
        let seen = echo.json();
        let attempt = header_seen(&seen, "x-tidegate-attempt");
        assert!(matches!(attempt, None | Some("1")), "strangers' words are not passed on: {attempt:?}");
    }
}

#[test]
fn a_retry_says_which_attempt_it_is_and_comes_after_a_pause() {
    let good = Origin::well_behaved();
    // Both backends fail at first; the bad one is asked in every try that begins at it.
    let mut seen = None;
    for _ in 0..20 {
        let bad = Origin::start(RESETS);
        let gateway = over(&[bad.address(), good.address()], "");
        let started = Instant::now();
        let echo = gateway.get("/x").json();
        if bad.requests() == 1 {
            seen = Some((header_seen(&echo, "x-tidegate-attempt").map(str::to_owned), started.elapsed()));
            break;
        }
    }
    let (attempt, took) = seen.expect("one of twenty begins at the bad one");
    assert_eq!(attempt.as_deref(), Some("1"));
    assert!(took >= Duration::from_millis(25), "{took:?}");
}

#[test]
fn what_a_backend_may_have_acted_on_is_not_sent_again() {
    let origins = [Origin::start(RESETS), Origin::start(RESETS)];
    let gateway = over(&origins.each_ref().map(Origin::address), "");
    let body = [post("/x", b"pay"), post("/x", b"")];
    let upgrade = "GET /x HTTP/1.1\r\nHost: edge.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let put = "PUT /x HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 3\r\n\r\nnew";
    for (n, request) in [&*body[0], &*body[1], upgrade.as_bytes(), put.as_bytes()].into_iter().enumerate() {
        let answer = gateway.connect().ask(request);
        assert_eq!((answer.status(), answer.reason()), (502, Some("reset")));
        assert_eq!(origins.iter().map(Origin::requests).sum::<u64>(), n as u64 + 1, "request {n}");
    }
    assert_eq!(made(&gateway), 0.0);
}

#[test]
fn a_backend_that_breaks_everything_is_not_asked_much_more_for_it() {
    let origins: Vec<Origin> =
        (0..3).map(|_| Origin::start(Behaviour::Delay(Duration::from_millis(1)))).collect();
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    let gateway = over(&addresses, "");
    let load = Load::paced(gateway.edge(), "/", 20, Duration::from_millis(20));
    let asked = || origins.iter().map(Origin::requests).sum::<u64>();
    wait_until(PATIENCE, "there were successes", || asked() > 300);
    origins.iter().for_each(|origin| origin.switch(RESETS));
    let (started, before) = (Instant::now(), asked());
    wait_until(PATIENCE, "there were failures", || asked() > before + 150);
    let report = load.stop();
    let seconds = started.elapsed().as_secs_f64();
    // Whoever fails so is left out, but for one request at a time.
    report.only(&[200, 502, 503]);
    let (retries, successes) = (made(&gateway), report.count(200) as f64);
    let most = successes * 0.1 + 3.0 * (seconds + 2.0);
    assert!(retries <= most, "{retries} retries, {successes} successes, {seconds} s");
    assert!(retries >= 3.0, "and some are made: {retries}");
    assert!(outcome(&gateway, "no_budget") > 30.0, "the others are told why");
    let upstream = gateway.upstream("u");
    assert!(upstream["retries"]["outcomes"]["no_budget"].as_u64().is_some_and(|n| n > 30), "{upstream}");
}

#[test]
fn what_cannot_be_reached_is_dialled_three_times_a_second_more_and_not_twice_as_often() {
    let dead = [(); 3].map(|()| refused());
    let gateway = over(&dead, "");
    let load = Load::paced(gateway.edge(), "/", 10, Duration::from_millis(20));
    let started = Instant::now();
    wait_until(PATIENCE, "there were failures", || outcome(&gateway, "no_budget") > 30.0);
    load.stop().only(&[502, 503]);
    let (retries, seconds) = (made(&gateway), started.elapsed().as_secs_f64());
    assert!((1.0..=3.0 * (seconds + 2.0)).contains(&retries), "{retries} in {seconds} s");
    assert_eq!(gateway.metrics().value("tidegate_retry_budget", &[("upstream", "u")]), 0.0);
}

#[test]
fn a_budget_lives_through_a_change_of_the_configuration() {
    let origins = [Origin::well_behaved(), Origin::well_behaved()];
    let addresses = origins.each_ref().map(Origin::address);
    let gateway = over(&addresses, "");
    let tokens = || gateway.metrics().value("tidegate_retry_budget", &[("upstream", "u")]);
    let mut raw = gateway.connect();
    (0..40).for_each(|_| assert_eq!(raw.ask(get("/x")).status(), 200));
    assert!((3.9..4.1).contains(&tokens()), "{}", tokens());
    let changed = Config::new().workers(1).upstream("u", &addresses, "").route("other", "/", "u", "");
    gateway.change(&changed);
    assert!((3.9..4.1).contains(&tokens()), "{}", tokens());
}

#[test]
fn a_refusal_of_a_backend_passes_through_once() {
    let origins = [Origin::start(UNAVAILABLE), Origin::start(UNAVAILABLE)];
    let gateway = over(&origins.each_ref().map(Origin::address), "");
    let mut raw = gateway.connect();
    for n in 1..=20 {
        let answer = raw.ask(get("/x"));
        assert_eq!((answer.status(), answer.get("retry-after"), answer.reason()), (503, Some("7"), None));
        assert_eq!(origins.iter().map(Origin::requests).sum::<u64>(), n);
    }
    assert_eq!(made(&gateway), 0.0);
}

#[test]
fn whoever_leaves_meanwhile_is_not_tried_again_for() {
    let origins = [Origin::well_behaved(), Origin::well_behaved()];
    let gateway = over(&origins.each_ref().map(Origin::address), "");
    let asked = || origins.iter().map(Origin::requests).sum::<u64>();
    let mut paying = gateway.connect();
    (0..200).for_each(|_| assert_eq!(paying.ask(get("/x")).status(), 200));
    origins.iter().for_each(|origin| origin.switch(RESETS));
    // The connections that are kept are replaced first.
    (0..3).for_each(|_| assert_eq!(paying.ask(get("/x")).status(), 502));
    let before = made(&gateway);
    for _ in 0..10 {
        let (mut raw, seen) = (gateway.connect(), asked());
        raw.send(get("/x"));
        wait_until(PATIENCE, "it was tried", || asked() > seen);
        raw.abort();
        gateway.settles(PATIENCE);
    }
    // Some may have been tried again before the machine came round to leaving.
    assert!(made(&gateway) - before <= 5.0, "{} of ten", made(&gateway) - before);
}

#[test]
fn a_timeout_is_not_tried_again() {
    let origins = [(); 2].map(|()| Origin::start(Behaviour::AcceptsAndNeverAnswers));
    let addresses = origins.each_ref().map(Origin::address);
    let config = Config::new().upstream("u", &addresses, "").route("r", "/", "u", "timeout = \"200ms\"");
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.get("/x").reason(), Some("timeout"));
    assert_eq!(origins.iter().map(Origin::requests).sum::<u64>(), 1);
}

#[test]
fn nothing_is_tried_again_while_a_backend_is_ramped_and_a_drain_is_no_ramp() {
    let origins: Vec<Origin> = (0..3).map(|_| Origin::start(RESETS)).collect();
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    let gateway = over(&addresses, "");
    let asked = || origins.iter().map(Origin::requests).sum::<u64>();
    let ramp = json!({ "percent": 50, "reference": 100, "reason": "test" });
    let set = change(gateway.admin(), "PUT", "/v1/upstreams/u/backends/u0/ramp", &ramp);
    assert_eq!(set.status(), 200, "{}", set.text());
    for n in 1..=5 {
        assert_eq!(gateway.get("/x").reason(), Some("reset"));
        assert_eq!(asked(), n);
    }
    assert_eq!((outcome(&gateway, "ramp"), made(&gateway)), (5.0, 0.0));
    let cleared = change(gateway.admin(), "DELETE", "/v1/upstreams/u/backends/u0/ramp", &json!({}));
    assert!(cleared.status() < 300, "{}", cleared.text());
    let drain = json!({ "state": "drain", "reason": "test" });
    let drained = change(gateway.admin(), "PUT", "/v1/upstreams/u/backends/u0/state", &drain);
    assert_eq!(drained.status(), 200, "{}", drained.text());
    assert_eq!(gateway.get("/x").reason(), Some("reset"));
    assert_eq!((asked(), made(&gateway)), (7, 1.0), "once more, at the other that is not drained");
}

#[test]
fn what_was_not_sent_goes_elsewhere_also_while_a_backend_is_ramped() {
    let (good, held) = (Origin::well_behaved(), Origin::well_behaved());
    let gateway = over(&[refused(), good.address(), held.address()], "");
    let ramp = json!({ "percent": 50, "reference": 100, "reason": "test" });
    let set = change(gateway.admin(), "PUT", "/v1/upstreams/u/backends/u2/ramp", &ramp);
    assert_eq!(set.status(), 200, "{}", set.text());
    // As in a deploy that takes one after the other: one is gone while the one before it is on its way back.
    wait_until(PATIENCE, "the one that is gone was asked", || {
        assert_eq!(gateway.get("/x").status(), 200);
        made(&gateway) > 0.0
    });
    assert_eq!(outcome(&gateway, "ramp"), 0.0);
}

#[test]
fn nothing_is_tried_again_while_the_upstream_is_limited() {
    let (hole, good) = (SynBlackHole::start(), Origin::well_behaved());
    let bounds = "max_in_flight = 1\nqueue = { max_waiting = 0 }\nconnect_timeout = \"300ms\"";
    let gateway = over(&[hole.address(), good.address()], bounds);
    // Whenever one of them waits for the dead backend, the others are refused.
    let load = Load::closed(gateway.edge(), "/x", 3);
    wait_until(PATIENCE, "a second try was wanted", || outcome(&gateway, "limited") > 0.0);
    let made = made(&gateway);
    // From here on nobody is refused any more.
    load.stop().only(&[200, 502, 503]);
    assert_eq!(made, 0.0);
}

#[test]
fn a_connection_that_died_while_idle_is_replaced_for_nothing() {
    let origin = Origin::start(Behaviour::ClosesIdleConnections);
    let gateway = over(&[origin.address()], "retry = { max_retries = 0 }");
    let mut raw = gateway.connect();
    for n in 0..20 {
        assert_eq!(raw.ask(get("/x")).status(), 200, "request {n}");
    }
    assert!(outcome(&gateway, "replaced") > 0.0);
    let tried = gateway.metrics();
    let labels = [("upstream", "u"), ("outcome", "failed")];
    assert_eq!(tried.value("tidegate_backend_requests_total", &labels), 0.0, "nobody is to blame");
}

#[test]
fn whoever_tries_again_behind_a_trusted_proxy_comes_after_first_attempts() {
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let config = Config::new()
        .gateway("trusted_proxies = [\"127.0.0.1/32\"]")
        .upstream("u", &[hung.address()], "max_in_flight = 9\nqueue = { max_waiting = 0 }")
        .route("r", "/", "u", "max_in_flight = 9");
    let gateway = Gateway::start(&config);
    let held = gateway.ask("/held", 7);
    hung.holds(7);
    let again =
        |attempt| format!("GET /x HTTP/1.1\r\nHost: edge.test\r\nx-tidegate-attempt: {attempt}\r\n\r\n");
    // Of nine places seven are for what counts as sheddable beside default.
    assert_eq!(gateway.connect().ask(again(1)).reason(), Some("class_limit"));
    let mut first = gateway.connect();
    first.send(again(0));
    hung.holds(8);
    assert_eq!(gateway.metrics().value("tidegate_shed_total", &[("class", "sheddable")]), 1.0);
    drop((held, first));
}

#[test]
fn a_trusted_proxys_attempt_is_passed_on_and_not_tried_again_here() {
    let origins = [(); 2].map(|()| Origin::well_behaved());
    let addresses = origins.each_ref().map(Origin::address);
    let config = Config::new()
        .gateway("trusted_proxies = [\"127.0.0.1/32\"]")
        .upstream("u", &addresses, "")
        .route("r", "/", "u", "");
    let gateway = Gateway::start(&config);
    let again = "GET /x HTTP/1.1\r\nHost: edge.test\r\nx-tidegate-attempt: 2\r\n\r\n";
    let echo = gateway.connect().ask(again).json();
    assert_eq!(header_seen(&echo, "x-tidegate-attempt"), Some("2"));
    origins.iter().for_each(|origin| origin.switch(RESETS));
    let before: u64 = origins.iter().map(Origin::requests).sum();
    // The connection that is kept is replaced, which is no second try of ours.
    assert_eq!(gateway.connect().ask(again).reason(), Some("reset"));
    let after: u64 = origins.iter().map(Origin::requests).sum();
    assert!((before + 1..=before + 2).contains(&after), "{before} and then {after}");
    assert_eq!(made(&gateway), 0.0);
}
