//! More than there is room for: short bursts wait and are served, what is too much is refused at once, and
//! what is admitted is served in time.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{Raw, get};
use crate::support::{PATIENCE, wait_until};
use std::time::{Duration, Instant};

fn gateway(origin: &Origin, upstream: &str) -> Gateway {
    let config = Config::new().upstream("u", &[origin.address()], &format!("max_in_flight = 8\n{upstream}"));
    Gateway::start(&config.route("r", "/", "u", "max_in_flight = 8"))
}

#[test]
fn a_short_burst_waits_and_is_served() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_millis(20)));
    let gateway = gateway(&origin, "queue = { max_waiting = 16, max_wait = \"2s\" }");
    // The gate has released something before, as it has wherever there is traffic.
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    let mut burst: Vec<Raw> = (0..20).map(|_| gateway.connect()).collect();
    burst.iter_mut().for_each(|raw| raw.send(get("/")));
    for raw in &mut burst {
        assert_eq!(raw.answer(false).status(), 200);
    }
    assert!(origin.peak() <= 8);
    assert_eq!(gateway.sheds("u"), 0.0);
    let waits = gateway.metrics().value("tidegate_upstream_queue_wait_seconds_count", &[("upstream", "u")]);
    assert!(waits >= 8.0, "{waits} have waited");
}

#[test]
fn nobody_waits_where_waiting_is_switched_off() {
    let origin = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let gateway = gateway(&origin, "queue = { max_waiting = 0 }");
    let mut held: Vec<Raw> = (0..8).map(|_| gateway.connect()).collect();
    held.iter_mut().for_each(|raw| raw.send(get("/")));
    origin.holds(8);
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(gateway.get("/").status(), 503);
    }
    assert!(started.elapsed() < Duration::from_secs(1), "{:?} for twenty refusals", started.elapsed());
    assert_eq!(gateway.metrics().value("tidegate_upstream_queue_depth", &[("upstream", "u")]), 0.0);
}

#[test]
fn a_waiter_that_leaves_makes_room_in_the_queue() {
    let origin = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let gateway = gateway(&origin, "queue = { max_waiting = 4, max_wait = \"20s\" }");
    let mut held: Vec<Raw> = (0..8).map(|_| gateway.connect()).collect();
    held.iter_mut().for_each(|raw| raw.send(get("/")));
    origin.holds(8);
    let mut waiting: Vec<Raw> = (0..4).map(|_| gateway.connect()).collect();
    waiting.iter_mut().for_each(|raw| raw.send(get("/")));
    let depth = || gateway.metrics().value("tidegate_upstream_queue_depth", &[("upstream", "u")]);
    wait_until(PATIENCE, "four wait", || depth() == 4.0);
    assert_eq!(gateway.get("/").status(), 503, "a fifth does not");
    waiting.into_iter().for_each(Raw::abort);
    wait_until(PATIENCE, "nobody waits", || depth() == 0.0);
    assert_eq!(origin.peak(), 8);
}

#[test]
fn under_four_times_too_much_the_admitted_are_served_in_time() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_millis(20)));
    let gateway = gateway(&origin, "");
    // 8 at once, 20 ms each: 400 a second are possible; 1,600 are asked for.
    let load = Load::paced(gateway.edge(), "/", 64, Duration::from_millis(40));
    wait_until(PATIENCE, "it has begun", || origin.requests() > 50);
    let (started, before) = (Instant::now(), origin.requests());
    wait_until(PATIENCE, "there was load", || started.elapsed() > Duration::from_secs(4));
    let served = origin.requests() - before;
    let report = load.stop();
    report.only(&[200, 503]);
    assert!(report.count(503) > 0, "it was too much");
    assert!(served > 4 * 400 / 2, "the upstream is kept busy: {served} in four seconds");
    assert!(report.percentile(200, 95) < Duration::from_millis(400), "{:?}", report.percentile(200, 95));
    assert!(report.percentile(503, 50) < Duration::from_millis(100), "{:?}", report.percentile(503, 50));
    assert!(origin.peak() <= 8);
}
