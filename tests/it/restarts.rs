//! Backends that restart come back by guarded steps, and nothing else is taken for a restart: real listeners that
//! close and open again, and boot ids that change.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin};
use crate::support::wait_until;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// Steps and references take seconds, on a busy machine more of them.
const PATIENCE: Duration = Duration::from_secs(30);
const TAKES: Duration = Duration::from_millis(5);
const FAILS: Behaviour = Behaviour::Says("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
/// Two steps, and dwells that a test can wait for.
const QUICK: &str = "ramp = { steps = [\"25%\", \"100%\"], dwell = \"1s\" }";
/// A first step that lasts for as long as a test does.
const LONG: &str = "ramp = { steps = [\"25%\", \"100%\"], dwell = \"10m\" }";

fn process(boot: u32) -> Behaviour {
    Behaviour::Process(boot, TAKES)
}

fn fleet(size: usize) -> Vec<Origin> {
    (0..size).map(|_| Origin::start(process(1))).collect()
}

fn service(origins: &[Origin], lines: &str) -> Config {
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    Config::new().upstream("u", &addresses, lines).route("r", "/", "u", "")
}

fn upstream(gateway: &Gateway) -> Value {
    gateway.upstream("u")
}

fn backend(gateway: &Gateway, index: usize) -> Value {
    upstream(gateway)["backends"][index].clone()
}

fn percent(gateway: &Gateway, backend: &str) -> f64 {
    gateway.metrics().value("tidegate_backend_ramp_percent", &[("upstream", "u"), ("backend", backend)])
}

fn incarnations(gateway: &Gateway) -> f64 {
    gateway.metrics().value("tidegate_backend_incarnations_total", &[("upstream", "u")])
}

fn told(gateway: &Gateway, what: &str) -> usize {
    let word = format!("\"what\":\"{what}\"");
    gateway.log().lines().filter(|line| line.contains(&word)).count()
}

/// Runs a verb that must succeed; its words.
fn verb(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.cli(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Connects to `u0` that failed.
fn refused(gateway: &Gateway) -> f64 {
    let labels = [("upstream", "u"), ("backend", "u0"), ("outcome", "failed")];
    gateway.metrics().get("tidegate_backend_connects_total", &labels).unwrap_or(0.0)
}

/// Waits until every backend is known: it has a reference, and one boot id for long enough.
fn learned(gateway: &Gateway) {
    wait_until(PATIENCE, "a reference was learned", || {
        let backends = upstream(gateway)["backends"].clone();
        backends
            .as_array()
            .is_some_and(|all| all.iter().all(|it| it["reference"]["source"] == "first_seconds"))
    });
}

/// Waits until every backend was found well by its checks.
fn learned_of_checks(gateway: &Gateway) {
    wait_until(PATIENCE, "all were checked", || {
        let labels = |backend| [("upstream", "u"), ("backend", backend), ("outcome", "ok")];
        ["u0", "u1"]
            .iter()
            .all(|it| gateway.metrics().get("tidegate_health_checks_total", &labels(it)).unwrap_or(0.0) > 0.0)
    });
}

#[test]
fn one_of_four_that_restarts_comes_back_by_percentage_and_nobody_else_fails() {
    let mut origins = fleet(4);
    let gateway = Gateway::start(&service(&origins, QUICK));
    let load = Load::paced(gateway.edge(), "/", 8, Duration::from_millis(15));
    learned(&gateway);
    // It really ends: its connections break, its port is closed, and later somebody else listens there.
    let address = origins.remove(0).die();
    wait_until(PATIENCE, "somebody was refused", || refused(&gateway) > 0.0);
    assert_eq!(percent(&gateway, "u0"), 100.0, "it is not back yet");
    let reborn = Origin::at(address, process(2));
    wait_until(PATIENCE, "it is ramped", || percent(&gateway, "u0") == 25.0);
    let seen = backend(&gateway, 0);
    assert_eq!((&seen["automatic"]["percent"], &seen["incarnations"]), (&25.0.into(), &1.into()), "{seen}");
    assert!((1..4).all(|peer| percent(&gateway, &format!("u{peer}")) == 100.0));
    wait_until(PATIENCE, "it is back", || backend(&gateway, 0)["automatic"].is_null());
    assert_eq!((percent(&gateway, "u0"), incarnations(&gateway)), (100.0, 1.0));
    assert!(reborn.requests() > 0 && told(&gateway, "done") == 1);
    let report = load.stop();
    report.only(&[200, 502]);
    assert!(report.count(502) <= 8, "at most what was in flight: {}", report.count(502));
}

#[test]
fn a_quiet_service_is_not_held_to_a_quarter_of_one_request() {
    let mut origins = fleet(1);
    let gateway = Gateway::start(&service(&origins, LONG));
    let _load = Load::paced(gateway.edge(), "/", 1, Duration::from_millis(400));
    learned(&gateway);
    let address = origins.remove(0).die();
    wait_until(PATIENCE, "somebody was refused", || refused(&gateway) > 0.0);
    let reborn = Origin::at(address, process(2));
    wait_until(PATIENCE, "it is served again", || reborn.requests() > 2 && incarnations(&gateway) >= 1.0);
    assert_eq!(
        (percent(&gateway, "u0"), told(&gateway, "incarnation") > 0),
        (100.0, true),
        "{}",
        gateway.log()
    );
    // Those that come together all find room.
    let clients = gateway.ask("/x", 3);
    wait_until(PATIENCE, "all are served", || reborn.requests() > 5);
    drop(clients);
    assert_eq!(gateway.sheds("u"), 0.0);
}

#[test]
fn whoever_restarts_on_its_way_back_goes_back_once_for_it() {
    let mut origins = fleet(3);
    let gateway = Gateway::start(&service(&origins, LONG));
    let _load = Load::paced(gateway.edge(), "/", 8, Duration::from_millis(15));
    learned(&gateway);
    origins[0].switch(process(2));
    wait_until(PATIENCE, "it is ramped", || percent(&gateway, "u0") == 25.0);
    // Whoever is gone fails, and is ejected for that; but it is one accident.
    let address = origins.remove(0).die();
    wait_until(PATIENCE, "it was ejected", || {
        let labels = [("upstream", "u"), ("backend", "u0")];
        gateway.metrics().value("tidegate_backend_ejections_total", &labels) > 0.0
    });
    let _reborn = Origin::at(address, process(3));
    wait_until(PATIENCE, "its restart was noticed", || incarnations(&gateway) == 2.0);
    wait_until(PATIENCE, "it went back", || percent(&gateway, "u0") < 25.0);
    assert_eq!((percent(&gateway, "u0"), told(&gateway, "back_off")), (12.5, 1), "{}", gateway.log());
}

#[test]
fn a_backend_that_accepts_and_is_silent_for_a_while_has_not_restarted() {
    let origins = fleet(2);
    let checked =
        "health = { kind = \"http\", path = \"/healthz\", interval = \"100ms\", timeout = \"100ms\" }";
    let gateway = Gateway::start(&service(&origins, &format!("{checked}\n{LONG}")));
    learned_of_checks(&gateway);
    origins[0].switch(Behaviour::AcceptsAndNeverAnswers);
    wait_until(PATIENCE, "it is down", || told(&gateway, "down") == 1);
    origins[0].switch(process(1));
    wait_until(PATIENCE, "it is up again", || told(&gateway, "up") == 1);
    wait_until(PATIENCE, "it serves", || {
        let before = origins[0].requests();
        (0..10).for_each(|_| drop(gateway.get("/")));
        origins[0].requests() > before
    });
    assert_eq!((incarnations(&gateway), percent(&gateway, "u0")), (0.0, 100.0), "{}", gateway.log());
}

#[test]
fn a_whole_fleet_that_restarts_is_let_up_together_and_low_classes_wait() {
    let origins = fleet(4);
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let config = Config::new()
        .upstream("u", &addresses, "ramp = { steps = [\"25%\", \"100%\"], dwell = \"3s\" }")
        .route("batch", "/batch", "u", "class = \"batch\"")
        .route("r", "/", "u", "");
    let gateway = Gateway::start(&config);
    let load = Load::paced(gateway.edge(), "/", 16, Duration::from_millis(20));
    learned(&gateway);
    assert_eq!(gateway.get("/batch").status(), 200);
    origins.iter().for_each(|origin| origin.switch(process(2)));
    wait_until(PATIENCE, "all are ramped", || (0..4).all(|it| percent(&gateway, &format!("u{it}")) == 25.0));
    // In flight is what binds: a quarter of what they held together, rounded up once.
    let seen = upstream(&gateway);
    let held: f64 = (0..4).filter_map(|it| seen["backends"][it]["reference"]["in_flight"].as_f64()).sum();
    assert_eq!(seen["limit"].as_f64(), Some((0.25 * held).ceil()), "{seen}");
    wait_until(PATIENCE, "low classes stay out", || {
        let answer = gateway.get("/batch");
        assert!(answer.status() == 503, "{}", answer.status());
        answer.reason() == Some("class_limit")
    });
    assert_eq!(told(&gateway, "fleet_ramp"), 1);
    wait_until(PATIENCE, "all are back", || (0..4).all(|it| backend(&gateway, it)["automatic"].is_null()));
    assert_eq!((gateway.get("/batch").status(), incarnations(&gateway)), (200, 4.0));
    load.stop().only(&[200, 503]);
}

#[test]
fn neither_start_nor_reload_nor_idle_closes_nor_a_late_backend_ramp_anybody() {
    let polite = Origin::start(Behaviour::ClosesIdleConnections);
    let eager = Origin::start(Behaviour::ClosesAfterEachAnswer);
    let absent = Origin::start(process(1)).die();
    let addresses = [polite.address(), eager.address(), absent];
    let config = Config::new().upstream("u", &addresses, "").route("r", "/", "u", "");
    let gateway = Gateway::start(&config);
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(40));
    let asked = |more: u64| {
        // One of them may be avoided for a while: a request that meets a close is a failure of it.
        let sum = || polite.requests() + eager.requests();
        let before = sum();
        wait_until(PATIENCE, "some were served", || sum() > before + more);
    };
    asked(40);
    // The third was never known to be up.
    let late = Origin::at(absent, process(1));
    wait_until(PATIENCE, "it is used", || late.requests() > 5);
    gateway.change(&config.clone().route("other", "/other", "u", ""));
    asked(40);
    drop(load);
    let gateway = gateway.restart(Launch::default());
    let _load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(40));
    asked(40);
    assert_eq!((incarnations(&gateway), told(&gateway, "incarnation")), (0.0, 0), "{}", gateway.log());
    assert!((0..3).all(|it| percent(&gateway, &format!("u{it}")) == 100.0));
}

#[test]
fn connections_that_end_with_a_goaway_are_no_restart() {
    let origins = [Origin::http2(100), Origin::http2(100)];
    origins.iter().for_each(|origin| origin.switch(Behaviour::ClosesIdleConnections));
    let gateway = Gateway::start(&service(&origins, &format!("protocol = \"http2\"\n{LONG}")));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(5));
    wait_until(PATIENCE, "many connections came and went", || {
        origins.iter().map(Origin::accepted).sum::<u64>() > 20
    });
    assert_eq!((incarnations(&gateway), told(&gateway, "incarnation")), (0.0, 0), "{}", gateway.log());
    assert!((0..2).all(|it| percent(&gateway, &format!("u{it}")) == 100.0));
    load.stop().only(&[200]);
}

#[test]
fn several_servers_behind_one_address_are_told_of_and_never_ramped() {
    let origins = [Origin::start(process(0)), Origin::start(process(1))];
    let gateway = Gateway::start(&service(&origins, LONG));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(10));
    wait_until(PATIENCE, "it is told", || told(&gateway, "shared") == 1);
    let served = origins[0].requests();
    wait_until(PATIENCE, "there was load", || origins[0].requests() > served + 300);
    assert_eq!((percent(&gateway, "u0"), incarnations(&gateway), told(&gateway, "shared")), (100.0, 0.0, 1));
    let reasons = gateway.status()["reasons"].to_string();
    assert!(reasons.contains("u/u0") && reasons.contains("share"), "{reasons}");
    load.stop().only(&[200]);
}

#[test]
fn a_backend_that_fails_after_its_restart_goes_back_until_it_is_well() {
    let origins = fleet(1);
    let gateway = Gateway::start(&service(&origins, QUICK));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(10));
    learned(&gateway);
    origins[0].switch(process(2));
    wait_until(PATIENCE, "it is ramped", || percent(&gateway, "u0") == 25.0);
    origins[0].switch(FAILS);
    wait_until(PATIENCE, "it went back", || percent(&gateway, "u0") == 12.5);
    let why = backend(&gateway, 0)["automatic"]["reason"].clone();
    assert!(why.as_str().is_some_and(|why| why.contains("went back 1 times")), "{why}");
    let told_why =
        gateway.log().lines().any(|line| line.contains("\"back_off\"") && line.contains("% fail ("));
    assert!(told_why, "{}", gateway.log());
    origins[0].switch(process(2));
    wait_until(PATIENCE, "it is back", || backend(&gateway, 0)["automatic"].is_null());
    load.stop().only(&[200, 500, 503]);
}

#[test]
fn an_operator_can_stop_the_clock_of_an_automatic_ramp_and_end_it() {
    let origins = fleet(2);
    let gateway = Gateway::start(&service(&origins, QUICK));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(10));
    learned(&gateway);
    assert_eq!(gateway.cli(&["ramp", "pause", "u/u1"]).status.code(), Some(1), "there is none");
    origins[1].switch(process(2));
    wait_until(PATIENCE, "it is ramped", || percent(&gateway, "u1") == 25.0);
    verb(&gateway, &["ramp", "pause", "u/u1"]);
    assert_eq!(gateway.cli(&["ramp", "pause", "u/u1"]).status.code(), Some(1), "it is paused already");
    let served = origins[1].requests();
    wait_until(PATIENCE, "it would have gone up", || origins[1].requests() > served + 300);
    assert_eq!(percent(&gateway, "u1"), 25.0);
    for shown in [verb(&gateway, &["ramp", "show"]), verb(&gateway, &["status"])] {
        assert!(shown.contains("u/u1") && shown.contains("paused") && shown.contains("boot_id"), "{shown}");
    }
    verb(&gateway, &["ramp", "resume", "u/u1"]);
    wait_until(PATIENCE, "it is back", || backend(&gateway, 1)["automatic"].is_null());
    // And what is ended acts no more at once.
    origins[1].switch(process(3));
    wait_until(PATIENCE, "it is ramped again", || percent(&gateway, "u1") == 25.0);
    verb(&gateway, &["ramp", "clear", "u/u1"]);
    assert_eq!(percent(&gateway, "u1"), 100.0);
    load.stop().only(&[200, 503]);
}

#[test]
fn a_ramp_in_progress_goes_on_over_a_reload_and_a_killed_gateway() {
    let origins = fleet(2);
    let config = service(&origins, LONG);
    let gateway = Gateway::start(&config);
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(10));
    learned(&gateway);
    origins[0].switch(process(2));
    wait_until(PATIENCE, "it is ramped", || percent(&gateway, "u0") == 25.0);
    let reference = backend(&gateway, 0)["reference"]["in_flight"].clone();
    gateway.change(&config.clone().route("other", "/other", "u", ""));
    assert_eq!(percent(&gateway, "u0"), 25.0);
    let file = gateway.folder().join("state/steering.json");
    wait_until(PATIENCE, "it is on disk", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("boot_id"))
    });
    drop(load);
    let gateway = gateway.restart(Launch::default());
    let seen = backend(&gateway, 0);
    assert_eq!((percent(&gateway, "u0"), percent(&gateway, "u1")), (25.0, 100.0), "{seen}");
    assert_eq!(seen["reference"]["in_flight"], reference, "what it is a percentage of is frozen");
    assert_eq!(gateway.get("/").status(), 200);
}

#[test]
fn an_operators_next_step_goes_by_the_guarded_ones() {
    let origins = fleet(2);
    let ramp = "ramp = { steps = [\"25%\", \"60%\", \"100%\"], dwell = \"1s\" }";
    let gateway = Gateway::start(&service(&origins, ramp));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(10));
    learned(&gateway);
    verb(&gateway, &["ramp", "set", "u/u0", "25", "--then", "100", "--after", "1s"]);
    wait_until(PATIENCE, "the guarded steps are entered", || percent(&gateway, "u0") == 60.0);
    let seen = backend(&gateway, 0);
    assert!(
        seen["ramp"].is_null()
            && seen["automatic"]["reason"].as_str().is_some_and(|it| it.contains("operator"))
    );
    wait_until(PATIENCE, "it is back", || backend(&gateway, 0)["automatic"].is_null());
    assert_eq!((percent(&gateway, "u0"), incarnations(&gateway)), (100.0, 0.0));
    load.stop().only(&[200, 503]);
}

#[test]
fn a_listener_that_moved_in_the_same_process_is_no_restart() {
    let mut origins = fleet(2);
    let gateway = Gateway::start(&service(&origins, LONG));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(10));
    learned(&gateway);
    let address = origins.remove(0).die();
    wait_until(PATIENCE, "somebody was refused", || refused(&gateway) > 0.0);
    // By its boot id it is who it was, which its first answer says.
    let same = Origin::at(address, process(1));
    wait_until(PATIENCE, "it is taken back", || told(&gateway, "withdrawn") == 1);
    assert_eq!((percent(&gateway, "u0"), percent(&gateway, "u1")), (100.0, 100.0));
    assert!(same.requests() > 0);
    load.stop().only(&[200, 502, 503]);
}

#[test]
fn a_backend_that_is_gone_again_on_its_way_back_waits_for_it_and_begins_lower() {
    let mut origins = fleet(2);
    let gateway = Gateway::start(&service(&origins, LONG));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(10));
    learned(&gateway);
    let address = origins.remove(0).die();
    wait_until(PATIENCE, "somebody was refused", || refused(&gateway) > 0.0);
    let first = Origin::at(address, process(2));
    wait_until(PATIENCE, "it is ramped", || percent(&gateway, "u0") == 25.0);
    wait_until(PATIENCE, "it has answered", || first.requests() > 3);
    let before = refused(&gateway);
    let address = first.die();
    wait_until(PATIENCE, "somebody was refused again", || refused(&gateway) > before + 1.0);
    assert_eq!(percent(&gateway, "u0"), 25.0, "what is away is not judged");
    let _second = Origin::at(address, process(3));
    wait_until(PATIENCE, "it begins lower", || percent(&gateway, "u0") == 12.5);
    assert!(told(&gateway, "back_off") == 1 && gateway.log().contains("it restarted again"));
    load.stop().only(&[200, 502, 503]);
}
