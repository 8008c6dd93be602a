//! Whoever holds a slot is seen: by upstream, route, class, client, age and how far the exchange has come; at the
//! admin side and on the command line, also when nothing else moves.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::{Behaviour, Origin, SynBlackHole};
use crate::support::raw::Raw;
use crate::support::{PATIENCE, wait_for, wait_until};
use crate::tunnels::websocket;
use serde_json::Value;
use std::time::{Duration, Instant};

fn permits(gateway: &Gateway, query: &str) -> Value {
    let answer = gateway.admin_get(&format!("/v1/permits{query}"));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

/// The phase of the only holder of an upstream, once it is there.
fn phase_at(gateway: &Gateway, upstream: &str, phase: &str) -> Value {
    wait_for(PATIENCE, &format!("{upstream} is {phase}"), || {
        let view = permits(gateway, &format!("?upstream={upstream}&phase={phase}"));
        view["items"].as_array()?.first().cloned()
    })
}

#[test]
fn every_slot_names_its_holder_and_how_far_it_is() {
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let (drips, upgrades) =
        (Origin::start(Behaviour::DripsOneByteASecond), Origin::start(Behaviour::UpgradesAndEchoes));
    // It does not notice that its client has left.
    let thinks = Origin::start(Behaviour::Delay(Duration::from_secs(20)));
    let hole = SynBlackHole::start();
    let queue = "max_in_flight = 1\nqueue = { max_waiting = 4, max_wait = \"30s\" }";
    let patient = "timeout = \"60s\"\nmax_in_flight = 9";
    let config = Config::new()
        .upstream("sends", &[hung.address()], "")
        .upstream("waits", &[thinks.address()], "")
        .upstream("full", &[drips.address()], queue)
        .upstream("tunnels", &[upgrades.address()], "")
        .upstream("connects", &[hole.address()], "connect_timeout = \"60s\"");
    let config = ["sends", "waits", "full", "tunnels", "connects"]
        .into_iter()
        .fold(config, |config, name| config.route(&format!("r-{name}"), &format!("/{name}"), name, patient));
    let gateway = Gateway::start(&config);

    let (mut gathers, mut sends) = (gateway.connect(), gateway.connect());
    gathers.send("POST /sends HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 1000\r\n\r\nten bytes.");
    sends.send("POST /sends HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 200000\r\n\r\n");
    // More than the beginning that is waited for before it takes a slot.
    sends.send([b'x'; 100_000]);
    let waits = gateway.ask("/waits", 1);
    let receives = gateway.ask("/full", 1);
    let receiving = phase_at(&gateway, "full", "receiving");
    let queued = gateway.ask("/full", 1);
    let tunnel = websocket(&gateway, "/tunnels");
    let connects = gateway.ask("/connects", 1);

    assert_eq!((&receiving["route"], &receiving["class"]), (&"r-full".into(), &"default".into()));
    assert_eq!(receiving["client"], "127.0.0.1");
    assert!(receiving["age_seconds"].as_f64().is_some_and(|age| (0.0..60.0).contains(&age)), "{receiving}");
    phase_at(&gateway, "sends", "gathering");
    phase_at(&gateway, "sends", "sending");
    phase_at(&gateway, "waits", "waiting_for_backend");
    phase_at(&gateway, "full", "waiting");
    phase_at(&gateway, "tunnels", "tunnel");
    phase_at(&gateway, "connects", "connecting");

    let all = permits(&gateway, "");
    assert_eq!((&all["total"], &all["truncated"]), (&7.into(), &false.into()), "{all}");
    assert_eq!(all["unanswered"], Value::Array(vec![]));
    assert_eq!(all["summary"].as_array().map(Vec::len), Some(7));
    assert_eq!((&all["clients"][0]["client"], &all["clients"][0]["count"]), (&"127.0.0.1".into(), &7.into()));
    let ages: Vec<_> =
        all["items"].as_array().expect("items").iter().map(|i| i["age_seconds"].as_f64()).collect();
    assert!(ages.is_sorted_by(|a, b| a >= b), "the oldest come first: {ages:?}");

    // Whoever leaves with a reset cannot be waiting for the answer.
    waits.into_iter().for_each(Raw::abort);
    assert_eq!(phase_at(&gateway, "waits", "zombie")["client"], "127.0.0.1");
    drop((gathers, sends, receives, queued, tunnel, connects));
    wait_until(Duration::from_secs(30), "everybody is gone", || permits(&gateway, "")["total"] == 0);
    gateway.settles(PATIENCE);
}

#[test]
fn hundreds_of_holders_are_counted_and_the_oldest_listed() {
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let config = Config::new()
        .upstream("u", &[hung.address()], "max_in_flight = 300\nmax_in_flight_per_backend = 300")
        .route("r", "/", "u", "timeout = \"60s\"\nmax_in_flight = 300");
    let gateway = Gateway::start(&config);
    let held: Vec<Raw> = gateway.ask("/", 300);
    hung.holds(300);
    let started = Instant::now();
    let view = permits(&gateway, "?limit=7");
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!((&view["total"], &view["truncated"]), (&300.into(), &true.into()));
    assert_eq!(view["items"].as_array().map(Vec::len), Some(7));
    let group = &view["summary"][0];
    assert_eq!((&group["phase"], &group["count"]), (&"waiting_for_backend".into(), &300.into()));
    for (query, total) in [
        ("?route=r", 300),
        ("?route=x", 0),
        ("?class=default", 300),
        ("?client=127.0.0.1", 300),
        ("?client=::1", 0),
    ] {
        assert_eq!(permits(&gateway, query)["total"], total, "{query}");
    }
    for wrong in ["?limit=1001", "?limit=-1", "?client=me", "?upstraem=u"] {
        let answer = gateway.admin_get(&format!("/v1/permits{wrong}"));
        assert_eq!(
            (answer.status(), answer.get("content-type")),
            (400, Some("application/problem+json")),
            "{wrong}"
        );
    }
    let screen = gateway.cli(&["permits", "--upstream", "u", "--limit", "3"]);
    let text = String::from_utf8(screen.stdout).expect("text");
    assert!(
        screen.status.success() && text.contains("waiting_for_backend") && text.contains("300"),
        "{text}"
    );
    assert!(
        text.contains("and 297 younger ones") && text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    drop(held);
}

#[test]
fn a_client_behind_a_trusted_proxy_is_named_and_a_claim_is_not() {
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let asked = "GET / HTTP/1.1\r\nHost: edge.test\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n";
    for (trusted, client) in [("[\"127.0.0.1/32\"]", "192.0.2.7"), ("[]", "127.0.0.1")] {
        let config = Config::simple(hung.address()).gateway(&format!("trusted_proxies = {trusted}"));
        let gateway = Gateway::start(&config);
        let mut raw = gateway.connect();
        raw.send(asked);
        assert_eq!(phase_at(&gateway, "u", "waiting_for_backend")["client"], client);
    }
}

#[test]
fn a_herd_that_asks_is_told_to_come_again_and_the_rest_is_answered() {
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let gateway = Gateway::start(&Config::simple(hung.address()));
    let held = gateway.ask("/", 20);
    hung.holds(20);
    let request =
        format!("GET /v1/permits HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", gateway.admin());
    let mut herd: Vec<Raw> = (0..50).map(|_| Raw::connect(gateway.admin())).collect();
    herd.iter_mut().for_each(|raw| raw.send(&request));
    let started = Instant::now();
    assert_eq!(gateway.admin_get("/readyz").status(), 200);
    assert!(started.elapsed() < Duration::from_secs(2));
    let answers: Vec<u16> =
        herd.iter_mut().filter_map(|raw| Some(raw.try_answer(false).ok()?.status())).collect();
    assert!(
        answers.contains(&200) && answers.iter().all(|status| [200, 503].contains(status)),
        "{answers:?}"
    );
    assert_eq!(permits(&gateway, "")["total"], 20, "and the turns came back");
    drop(held);
}

#[test]
fn streams_are_seen_as_streams_tunnels_and_zombies() {
    let (drips, upgrades) =
        (Origin::start(Behaviour::DripsOneByteASecond), Origin::start(Behaviour::UpgradesAndEchoes));
    let config = Config::new()
        .upstream("events", &[drips.address()], "")
        .upstream("sockets", &[upgrades.address()], "")
        .route("r-events", "/events", "events", "streaming = true")
        .route("r-sockets", "/sockets", "sockets", "streaming = true");
    let gateway = Gateway::start(&config);
    let stream = gateway.ask("/events", 1);
    let streaming = phase_at(&gateway, "events", "streaming");
    assert_eq!((&streaming["route"], &streaming["client"]), (&"r-events".into(), &"127.0.0.1".into()));
    let tunnel = websocket(&gateway, "/sockets");
    phase_at(&gateway, "sockets", "tunnel");
    let status = gateway.status();
    assert_eq!((&status["in_flight"], &status["streams"]), (&0.into(), &2.into()), "each is seen once");
    assert_eq!(permits(&gateway, "")["total"], 2);

    stream.into_iter().for_each(Raw::abort);
    let zombie = phase_at(&gateway, "events", "zombie");
    assert_eq!((&zombie["route"], &zombie["client"]), (&"r-events".into(), &"127.0.0.1".into()));
    drop(tunnel);
    wait_until(Duration::from_secs(30), "everybody is gone", || permits(&gateway, "")["total"] == 0);
}
