//! Steering by hand, with the levers that an operator has: a percentage is one of what was, also when everything
//! is ramped; it acts at once, survives reload and restart, and says what it costs.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{Raw, get};
use crate::support::{PATIENCE, wait_until};
use crate::tunnels::websocket;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What takes eight seconds where nothing else runs may take three times that.
const LONG: Duration = Duration::from_secs(30);

const HANGS: Behaviour = Behaviour::AcceptsAndNeverAnswers;
const HEALTHY: Behaviour = Behaviour::Delay(Duration::from_millis(5));

/// Four backends behind one route.
fn four(behaviour: Behaviour) -> Vec<Origin> {
    (0..4).map(|_| Origin::start(behaviour)).collect()
}

fn service(origins: &[Origin]) -> Config {
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let bounds = "max_in_flight_per_backend = 128\nmax_in_flight = 512\nramp = { guard = false }";
    Config::new().upstream("u", &addresses, bounds).route("r", "/", "u", "timeout = \"60s\"")
}

/// Runs a verb that must succeed; its words.
fn told(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.cli(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn upstream(gateway: &Gateway) -> Value {
    gateway.upstream("u")
}

fn ramp_of(gateway: &Gateway, backend: &str) -> f64 {
    gateway.metrics().value("tidegate_backend_ramp_percent", &[("upstream", "u"), ("backend", backend)])
}

fn ramp_sheds(gateway: &Gateway) -> f64 {
    let labels = [("upstream", "u"), ("class", "default"), ("reason", "ramp")];
    gateway.metrics().value("tidegate_shed_total", &labels)
}

/// Waits for a line of the process's log that holds all of these.
fn log_line(gateway: &Gateway, words: &[&str]) {
    wait_until(PATIENCE, &format!("a line of {words:?}"), || {
        gateway.log().lines().any(|line| words.iter().all(|word| line.contains(word)))
    });
}

fn held(origins: &[Origin]) -> u64 {
    origins.iter().map(Origin::in_flight).sum()
}

#[test]
fn a_fleet_at_25_percent_holds_a_quarter_together_at_4_in_flight_as_at_400() {
    for (reference, quarter, asked) in [("4", 1, 12), ("400", 100, 140)] {
        let origins = four(HANGS);
        let gateway = Gateway::start(&service(&origins));
        told(&gateway, &["ramp", "set", "u", "25", "--reference", reference, "--reason", "cold caches"]);
        let clients = gateway.ask("/x", asked);
        let refused = asked as f64 - quarter as f64;
        wait_until(PATIENCE, "everybody is in or refused", || {
            held(&origins) + ramp_sheds(&gateway) as u64 >= asked as u64
        });
        assert_eq!((held(&origins), ramp_sheds(&gateway)), (quarter, refused), "of {reference}");
        // Also what comes later, on other connections.
        let answer = gateway.get("/x");
        assert_eq!((answer.status(), answer.reason()), (503, Some("ramp")));
        let seconds: u64 = answer.get("retry-after").and_then(|text| text.parse().ok()).expect("a time");
        assert!((1..=30).contains(&seconds));
        assert_eq!(origins.iter().map(Origin::peak).sum::<u64>(), quarter);
        drop(clients);
    }
}

#[test]
fn one_backend_at_25_percent_holds_its_share_and_its_neighbours_take_what_their_caps_allow() {
    for (reference, share) in [("1", 1), ("100", 25)] {
        let origins = four(HANGS);
        let gateway = Gateway::start(&service(&origins));
        told(&gateway, &["ramp", "set", "u/u0", "25%", "--reference", reference]);
        // Nothing was learned yet: neighbours may take half of their cap each.
        let room = share + 3 * 64;
        let _clients = gateway.ask("/x", 300);
        wait_until(PATIENCE, "all room is taken", || held(&origins) == room);
        wait_until(PATIENCE, "and the rest is refused", || gateway.sheds("u") >= 300.0 - room as f64);
        assert_eq!(origins[0].peak(), share, "of {reference}");
        assert_eq!(origins[1..].iter().map(Origin::peak).collect::<Vec<_>>(), [64, 64, 64]);
    }
}

#[test]
fn a_backend_at_25_percent_gets_a_quarter_of_what_a_peer_gets_and_nothing_is_lost() {
    let origins = four(HEALTHY);
    let gateway = Gateway::start(&service(&origins));
    let load = Load::paced(gateway.edge(), "/x", 8, Duration::from_millis(20));
    wait_until(LONG, "a reference was learned", || {
        upstream(&gateway)["backends"]
            .as_array()
            .is_some_and(|all| all.iter().all(|backend| backend["reference"]["source"] == "first_seconds"))
    });
    told(&gateway, &["ramp", "set", "u/u0", "25"]);
    let before: Vec<u64> = origins.iter().map(Origin::requests).collect();
    wait_until(LONG, "its peers have served a few hundred", || origins[1].requests() > before[1] + 400);
    let since: Vec<u64> =
        origins.iter().zip(before).map(|(origin, before)| origin.requests() - before).collect();
    let share = since[0] as f64 * 3.0 / since[1..].iter().sum::<u64>() as f64;
    assert!((0.1..=0.4).contains(&share), "{share}: {since:?}");
    load.stop().only(&[200]);
}

#[test]
fn a_ramp_survives_reload_and_restart_and_takes_its_next_step() {
    let origins = four(HEALTHY);
    let gateway = Gateway::start(&service(&origins));
    told(&gateway, &["ramp", "set", "u", "25", "--then", "100", "--after", "10m", "--reason", "restart"]);
    gateway.change(&service(&origins).route("other", "/other", "u", ""));
    assert_eq!(upstream(&gateway)["ramp"]["percent"], 25.0);
    let gateway = gateway.restart(Launch::default());
    let ramp = upstream(&gateway)["ramp"].clone();
    assert_eq!(
        (&ramp["percent"], &ramp["then"]["percent"], &ramp["reason"]),
        (&25.0.into(), &100.0.into(), &"restart".into())
    );
    let left = ramp["then"]["in_seconds"].as_f64().expect("a time");
    assert!((1.0..=600.0).contains(&left), "{left}");
    assert_eq!(gateway.metrics().value("tidegate_upstream_ramp_percent", &[("upstream", "u")]), 25.0);
    // And it holds there too.
    assert_eq!(ramp_of(&gateway, "u3"), 25.0);
    told(&gateway, &["ramp", "set", "u", "25", "--then", "100", "--after", "1s"]);
    wait_until(PATIENCE, "the step is taken", || ramp_of(&gateway, "u3") == 100.0);
    assert_eq!(upstream(&gateway)["ramp"], Value::Null);
    log_line(&gateway, &["\"what\":\"step\"", "\"percent\":100"]);
}

#[test]
fn a_ramp_holds_at_the_backends_after_a_reload_and_after_a_restart() {
    let origins = four(HANGS);
    let gateway = Gateway::start(&service(&origins));
    told(&gateway, &["ramp", "set", "u", "25", "--reference", "40"]);
    gateway.change(&service(&origins).route("other", "/other", "u", ""));
    let full = |gateway: &Gateway| {
        let _clients = gateway.ask("/x", 25);
        wait_until(PATIENCE, "everybody is in or refused", || {
            held(&origins) + ramp_sheds(gateway) as u64 >= 25
        });
        assert_eq!((held(&origins), ramp_sheds(gateway)), (10, 15.0));
    };
    full(&gateway);
    let gateway = gateway.restart(Launch::default());
    wait_until(PATIENCE, "those of before are gone", || held(&origins) == 0);
    full(&gateway);
}

#[test]
fn a_paused_ramp_stays_also_over_a_restart_and_goes_on_when_told() {
    let origins = four(HEALTHY);
    let gateway = Gateway::start(&service(&origins));
    told(&gateway, &["ramp", "set", "u/u1", "50", "--then", "100", "--after", "2s"]);
    told(&gateway, &["ramp", "pause", "u/u1"]);
    assert_eq!(gateway.cli(&["ramp", "pause", "u/u1"]).status.code(), Some(1), "it is paused already");
    let gateway = gateway.restart(Launch::default());
    let then = upstream(&gateway)["backends"][1]["ramp"]["then"].clone();
    assert_eq!(then["paused"], true, "{then}");
    told(&gateway, &["ramp", "resume", "u/u1"]);
    wait_until(PATIENCE, "it is over", || ramp_of(&gateway, "u1") == 100.0);
    assert_eq!(gateway.cli(&["ramp", "clear", "u/u1"]).status.code(), Some(1), "nothing is left to clear");
}

#[test]
fn clearing_a_ramp_lets_everybody_in_at_once() {
    let origins = four(HEALTHY);
    let gateway = Gateway::start(&service(&origins));
    told(&gateway, &["ramp", "set", "u", "0", "--reason", "stop"]);
    assert_eq!(gateway.get("/x").reason(), Some("ramp"));
    told(&gateway, &["ramp", "clear", "u"]);
    assert_eq!(gateway.get("/x").status(), 200);
}

#[test]
fn a_backend_is_drained_and_brought_back_under_load_without_a_failed_request() {
    let origins = four(HEALTHY);
    let gateway = Gateway::start(&service(&origins));
    let load = Load::closed(gateway.edge(), "/x", 6);
    wait_until(PATIENCE, "every backend has work", || origins.iter().all(|origin| origin.requests() > 20));
    told(&gateway, &["drain", "u/u2", "--reason", "new disk"]);
    wait_until(PATIENCE, "it is empty", || upstream(&gateway)["backends"][2]["state"] == "drained");
    let (then, others) = (origins[2].requests(), origins[0].requests());
    wait_until(PATIENCE, "the others go on", || origins[0].requests() > others + 200);
    assert_eq!(origins[2].requests(), then);
    let drain = upstream(&gateway)["backends"][2]["drain"].clone();
    assert_eq!(drain["reason"], "new disk", "{drain}");
    told(&gateway, &["ready", "u/u2"]);
    wait_until(PATIENCE, "it has work again", || origins[2].requests() > then + 20);
    load.stop().only(&[200]);
}

#[test]
fn a_backend_is_drained_only_when_its_last_tunnel_is_closed() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let tunnel = websocket(&gateway, "/x");
    told(&gateway, &["drain", "u/u0"]);
    let backend = || upstream(&gateway)["backends"][0].clone();
    wait_until(PATIENCE, "no request is there", || backend()["in_flight"] == 0);
    let before = backend();
    assert_eq!((&before["state"], &before["streams"]), (&"draining".into(), &1.into()), "{before}");
    tunnel.abort();
    wait_until(PATIENCE, "it is empty", || backend()["state"] == "drained");
}

#[test]
fn what_an_edited_file_changes_under_a_lever_is_told() {
    let (origins, spare) = (four(HEALTHY), Origin::start(HEALTHY));
    let gateway = Gateway::start(&service(&origins));
    told(&gateway, &["ramp", "set", "u/u3", "50", "--reason", "slow disk"]);
    let mut addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    addresses[3] = spare.address();
    let with = |addresses: &[SocketAddr]| Config::new().upstream("u", addresses, "").route("r", "/", "u", "");
    gateway.change(&with(&addresses));
    log_line(&gateway, &["u/u3 is at 50 %", "address", &spare.address().to_string()]);
    assert_eq!(ramp_of(&gateway, "u3"), 50.0, "levers belong to names");
    gateway.change(&with(&addresses[..3]));
    let reasons = gateway.status()["reasons"].to_string();
    assert!(reasons.contains("u/u3") && reasons.contains("no such name"), "{reasons}");
    gateway.change(&with(&addresses));
    assert_eq!(ramp_of(&gateway, "u3"), 50.0);
    assert!(gateway.status()["reasons"].as_array().is_some_and(Vec::is_empty));
    told(&gateway, &["ramp", "clear", "u/u3"]);
}

#[test]
fn what_a_ramp_will_shed_is_told_before_it_happens() {
    let origins = four(Behaviour::Delay(Duration::from_millis(50)));
    let gateway = Gateway::start(&service(&origins));
    let load = Load::paced(gateway.edge(), "/x", 24, Duration::from_millis(60));
    wait_until(PATIENCE, "what is asked for is known", || {
        upstream(&gateway)["backends"][0]["reference"]["source"] == "first_seconds"
    });
    let words = told(&gateway, &["ramp", "set", "u", "25"]);
    let forecast = upstream(&gateway)["ramp"]["forecast"].clone();
    let shed = forecast["shed_percent"].as_f64().expect("a percentage");
    assert!((50.0..=95.0).contains(&shed), "{forecast}");
    assert!(words.contains('%') && words.contains("shed"), "{words}");
    // And so it comes: of those who ask at a pace, about so many are shed, by what was learned.
    let before: u64 = origins.iter().map(Origin::requests).sum();
    let sheds = ramp_sheds(&gateway);
    let in_flight = || origins.iter().map(Origin::in_flight).sum::<u64>();
    wait_until(PATIENCE, "those of before are done", || in_flight() <= 8);
    wait_until(PATIENCE, "hundreds were shed", || {
        assert!(in_flight() <= 8, "a quarter of what was learned, which is 24 and a little");
        ramp_sheds(&gateway) - sheds > 500.0
    });
    let served = origins.iter().map(Origin::requests).sum::<u64>() - before;
    let shed = ramp_sheds(&gateway) - sheds;
    let share = 100.0 * shed / (shed + served as f64);
    let told = forecast["shed_percent"].as_f64().expect("a percentage");
    assert!((share - told).abs() < 20.0, "{share} % were shed, {forecast} was told");
    load.stop().only(&[200, 503]);
}

#[test]
fn a_ramped_upstream_sheds_at_once_and_lower_classes_first() {
    let origins = four(HANGS);
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let config = Config::new()
        .upstream("u", &addresses, "")
        .route("urgent", "/urgent", "u", "class = \"critical\"\ntimeout = \"60s\"")
        .route("batch", "/batch", "u", "class = \"batch\"\ntimeout = \"60s\"");
    let gateway = Gateway::start(&config);
    told(&gateway, &["ramp", "set", "u", "50", "--reference", "20"]);
    let _batch = gateway.ask("/batch", 8);
    // What was let in may still be on its way when the others have been refused.
    wait_until(PATIENCE, "batch has its share: four tenths of ten", || {
        assert!(held(&origins) <= 4 && gateway.sheds("u") <= 4.0);
        (held(&origins), gateway.sheds("u")) == (4, 4.0)
    });
    let _urgent = gateway.ask("/urgent", 6);
    wait_until(PATIENCE, "urgent requests have the rest", || held(&origins) == 10);
    let mut raw = gateway.connect();
    let answer = raw.ask(get("/urgent"));
    assert_eq!(answer.reason(), Some("ramp"));
    // Not after the queue's 50 ms, which only room that comes free is worth.
    wait_until(PATIENCE, "one refusal comes in less than a wait", || {
        let asked = Instant::now();
        raw.ask(get("/urgent"));
        asked.elapsed() < Duration::from_millis(40)
    });
}

/// One request in flight that is never answered, at the last of `origins`, and one that waits behind it for up to
/// half a minute.
fn one_waits(gateway: &Gateway, origins: &[Origin]) -> (Raw, Raw) {
    let ask = || {
        let mut raw = gateway.connect();
        raw.send(get("/x"));
        raw
    };
    let first = ask();
    wait_until(PATIENCE, "the first is there", || origins.last().is_some_and(|last| last.in_flight() == 1));
    let second = ask();
    let depth = || gateway.metrics().value("tidegate_upstream_queue_depth", &[("upstream", "u")]);
    wait_until(PATIENCE, "the second waits", || depth() == 1.0);
    (first, second)
}

fn patient(origins: &[Origin], lines: &str) -> Config {
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let queue = "queue = { max_wait = \"30s\" }\nmax_in_flight_per_backend = 1";
    Config::new().upstream("u", &addresses, &format!("{queue}\n{lines}")).route(
        "r",
        "/",
        "u",
        "timeout = \"60s\"",
    )
}

#[test]
fn a_backend_that_is_brought_back_takes_those_who_wait_at_once() {
    let origins = [Origin::start(HEALTHY), Origin::start(HANGS)];
    let gateway = Gateway::start(&patient(&origins, ""));
    told(&gateway, &["drain", "u/u0"]);
    let (_first, mut second) = one_waits(&gateway, &origins);
    let before = Instant::now();
    told(&gateway, &["ready", "u/u0"]);
    assert_eq!(second.answer(false).status(), 200);
    assert!(before.elapsed() < PATIENCE);
}

#[test]
fn who_waits_when_the_last_backend_is_drained_is_refused_at_once() {
    for full in ["", "max_in_flight = 1"] {
        let origins = [Origin::start(HANGS)];
        let gateway = Gateway::start(&patient(&origins, full));
        let (_first, mut second) = one_waits(&gateway, &origins);
        let before = Instant::now();
        told(&gateway, &["drain", "u/u0"]);
        let answer = second.answer(false);
        assert_eq!((answer.status(), answer.reason()), (503, Some("ramp")), "{full}");
        assert!(before.elapsed() < PATIENCE, "{full}");
        // And whoever comes now does not wait for a release that helps nobody.
        let before = Instant::now();
        assert_eq!(gateway.get("/x").reason(), Some("ramp"), "{full}");
        assert!(before.elapsed() < PATIENCE, "{full}");
    }
}

#[test]
fn a_stream_that_is_refused_for_a_ramp_is_told_when_to_come_again_like_any_request() {
    let origins = four(HEALTHY);
    let gateway = Gateway::start(&service(&origins).route("s", "/s", "u", "streaming = true"));
    told(&gateway, &["ramp", "set", "u", "0", "--then", "100", "--after", "25s"]);
    for path in ["/x", "/s"] {
        let answer = gateway.get(path);
        let seconds: u64 = answer.get("retry-after").and_then(|text| text.parse().ok()).expect("a time");
        assert_eq!((answer.status(), answer.reason()), (503, Some("ramp")), "{path}");
        assert!((15..=30).contains(&seconds), "{path}: {seconds}");
    }
}
