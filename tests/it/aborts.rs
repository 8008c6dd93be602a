//! Clients that ask and leave, again and again: they cost themselves further requests, and nobody else.

use crate::support::client::Http2;
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{Answer, Raw, get};
use crate::support::{PATIENCE, run, wait_until};
use std::time::Duration;

/// How long a slot may outlive its client, and a look around.
const ZOMBIES_END: Duration = Duration::from_secs(20);
/// An origin that works for so long, whoever has left.
const WORKS: Behaviour = Behaviour::Delay(Duration::from_secs(8));

fn gateway(origin: &Origin, route: &str) -> Gateway {
    let config = Config::new()
        .gateway("trusted_proxies = [\"127.0.0.9/32\"]")
        .upstream("u", &[origin.address()], "max_in_flight = 40")
        .route("r", "/", "u", &format!("max_in_flight = 40\n{route}"));
    Gateway::start(&config)
}

fn zombies(gateway: &Gateway) -> f64 {
    gateway.metrics().value("tidegate_zombies", &[("upstream", "u")])
}

/// `n` requests of one client that are given up as soon as the origin has them.
fn abort(gateway: &Gateway, origin: &Origin, client: [u8; 4], n: u64) {
    let before = origin.requests();
    let asked: Vec<Raw> = (0..n)
        .map(|_| {
            let mut raw = Raw::connect_from(client, gateway.edge());
            raw.send(get("/"));
            raw
        })
        .collect();
    wait_until(PATIENCE, "the origin works on them", || origin.requests() == before + n);
    asked.into_iter().for_each(Raw::abort);
}

fn ask(gateway: &Gateway, client: [u8; 4]) -> Answer {
    Raw::connect_from(client, gateway.edge()).ask(get("/"))
}

#[test]
fn a_client_that_keeps_leaving_is_refused_while_others_are_served() {
    let origin = Origin::start(WORKS);
    let gateway = gateway(&origin, "");
    let (leaves, stays) = ([127, 0, 0, 2], [127, 0, 0, 3]);
    abort(&gateway, &origin, leaves, 2);
    wait_until(PATIENCE, "both linger", || zombies(&gateway) == 2.0);
    // Two are free: the third reaches the origin too.
    abort(&gateway, &origin, leaves, 1);
    wait_until(PATIENCE, "the third lingers", || zombies(&gateway) == 3.0);
    origin.switch(Behaviour::WellBehaved);
    let before = origin.requests();
    let refused = ask(&gateway, leaves);
    assert_eq!((refused.status(), refused.reason()), (429, Some("client_aborts")));
    let seconds: u32 = refused.get("retry-after").expect("when to come back").parse().expect("whole seconds");
    assert!((1..=10).contains(&seconds), "{seconds}");
    let grpc = Raw::connect_from(leaves, gateway.edge()).ask(
        "POST /a.B/C HTTP/1.1\r\nHost: edge.test\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!((grpc.status(), grpc.get("grpc-status")), (200, Some("8")));
    assert_eq!(origin.requests(), before, "a refusal costs the backend nothing");
    assert_eq!(ask(&gateway, stays).status(), 200, "another client of the same route");
    let refusals = gateway.metrics().value("tidegate_refusals_total", &[("reason", "client_aborts")]);
    assert_eq!(refusals, 2.0);

    wait_until(ZOMBIES_END, "the zombies end", || zombies(&gateway) == 0.0);
    assert_eq!(ask(&gateway, leaves).status(), 200, "it may come again");
    gateway.settles(ZOMBIES_END);
}

#[test]
fn a_client_whose_own_deadlines_leave_work_behind_is_one_that_keeps_leaving() {
    let origin = Origin::start(WORKS);
    let gateway = gateway(&origin, "");
    let hurried = |from, line: &str| {
        let mut raw = Raw::connect_from(from, gateway.edge());
        let request = format!("GET / HTTP/1.1\r\nHost: edge.test\r\n{line}\r\n\r\n");
        let asked: Vec<_> = (0..20).map(|_| raw.ask(&request).status()).collect();
        asked.iter().filter(|status| **status == 429).count()
    };
    let (hurries, stays, proxy) = ([127, 0, 0, 2], [127, 0, 0, 3], [127, 0, 0, 9]);
    assert!(hurried(hurries, "grpc-timeout: 40m") >= 10);
    assert!(zombies(&gateway) <= 3.0, "two are free");
    assert_eq!(hurried(proxy, "x-request-deadline: 40"), 0, "a proxy speaks for many");
    origin.switch(Behaviour::WellBehaved);
    assert_eq!(ask(&gateway, stays).status(), 200);
    gateway.settles(ZOMBIES_END);
}

#[test]
fn behind_a_trusted_proxy_it_is_the_client_that_counts() {
    let origin = Origin::start(WORKS);
    let gateway = gateway(&origin, "");
    let proxy = [127, 0, 0, 9];
    let behind =
        |client: &str| format!("GET / HTTP/1.1\r\nHost: edge.test\r\nX-Forwarded-For: {client}\r\n\r\n");
    let asked: Vec<Raw> = (0..3)
        .map(|_| {
            let mut raw = Raw::connect_from(proxy, gateway.edge());
            raw.send(behind("192.0.2.1"));
            raw
        })
        .collect();
    origin.holds(3);
    asked.into_iter().for_each(Raw::abort);
    wait_until(PATIENCE, "they linger", || zombies(&gateway) == 3.0);
    origin.switch(Behaviour::WellBehaved);
    let mut raw = Raw::connect_from(proxy, gateway.edge());
    assert_eq!(raw.ask(behind("192.0.2.1")).status(), 429);
    assert_eq!(raw.ask(behind("192.0.2.2")).status(), 200);
    assert_eq!(
        Raw::connect_from([127, 0, 0, 2], gateway.edge()).ask(behind("192.0.2.1")).status(),
        200,
        "a lie"
    );
}

#[test]
fn nobody_makes_another_address_count() {
    let origin = Origin::start(WORKS);
    let gateway = gateway(&origin, "");
    let (leaves, named) = ([127, 0, 0, 2], [127, 0, 0, 3]);
    let asked: Vec<Raw> = (0..4)
        .map(|_| {
            let mut raw = Raw::connect_from(leaves, gateway.edge());
            raw.send("GET / HTTP/1.1\r\nHost: edge.test\r\nX-Forwarded-For: 127.0.0.3\r\nX-Real-IP: 127.0.0.3\r\nForwarded: for=127.0.0.3\r\n\r\n");
            raw
        })
        .collect();
    wait_until(PATIENCE, "the origin works on them", || origin.requests() == 4);
    asked.into_iter().for_each(Raw::abort);
    wait_until(PATIENCE, "they linger", || zombies(&gateway) == 4.0);
    origin.switch(Behaviour::WellBehaved);
    assert_eq!(ask(&gateway, named).status(), 200, "it was only named");
    assert_eq!(ask(&gateway, leaves).reason(), Some("client_aborts"));
}

#[test]
fn a_deadline_is_not_the_clients_fault() {
    let origin = Origin::start(WORKS);
    let gateway = gateway(&origin, "timeout = \"300ms\"");
    for _ in 0..5 {
        let late = ask(&gateway, [127, 0, 0, 2]);
        assert_eq!((late.status(), late.reason()), (504, Some("timeout")));
    }
    assert!(zombies(&gateway) > 2.0, "more than are free to abort");
    origin.switch(Behaviour::WellBehaved);
    assert_eq!(ask(&gateway, [127, 0, 0, 2]).status(), 200);
}

#[test]
fn a_backend_that_breaks_the_rules_is_not_the_clients_fault() {
    let unclear = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
    let unasked = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    for answer in [unclear, unasked] {
        let origin = Origin::start(Behaviour::SaysAndStays(answer));
        let gateway = gateway(&origin, "");
        for _ in 0..6 {
            let told = ask(&gateway, [127, 0, 0, 2]);
            assert_eq!((told.status(), told.reason()), (502, Some("bad_response")));
        }
    }
}

#[test]
fn clients_whose_patience_ends_at_a_hung_upstream_are_told_that_it_is_full() {
    let origin = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let gateway = gateway(&origin, "");
    let held = gateway.ask("/", 40);
    origin.holds(40);
    // They end their connections in order: perhaps they only have nothing more to ask.
    drop(held);
    for _ in 0..20 {
        assert_eq!(gateway.get("/").status(), 503);
    }
}

#[test]
fn streams_of_http2_that_are_reset_count_where_they_leave_a_zombie() {
    let origin = Origin::start(WORKS);
    let gateway = gateway(&origin, "");
    run(async {
        let client = Http2::connect(gateway.edge()).await;
        let mut calls = Vec::new();
        for _ in 0..3 {
            let mut client = client.clone();
            let task = tokio::spawn(async move { client.get("/").await.is_ok() });
            calls.push(task);
        }
        while origin.in_flight() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        calls.iter().for_each(tokio::task::JoinHandle::abort);
        while zombies(&gateway) < 3.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        origin.switch(Behaviour::WellBehaved);
        let mut client = client;
        assert_eq!(client.get("/").await.expect("an answer").status, 429);
    });
    assert_eq!(ask(&gateway, [127, 0, 0, 2]).status(), 200);
}

#[test]
fn a_zombie_of_a_backend_whose_times_are_known_keeps_its_slot_for_a_moment_only() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_millis(5)));
    let config = Config::new().upstream("u", &[origin.address()], "max_in_flight = 10").route(
        "r",
        "/",
        "u",
        "max_in_flight = 10\ntimeout = \"60s\"",
    );
    let gateway = Gateway::start(&config);
    // Each core learns that the backend answers within some milliseconds.
    (0..60).for_each(|_| assert_eq!(gateway.get("/").status(), 200));
    origin.switch(Behaviour::AcceptsAndNeverAnswers);
    let clients = (2..7u8).map(|n| Raw::connect_from([127, 0, 9, n], gateway.edge()));
    let clients: Vec<Raw> = clients
        .map(|mut raw| {
            raw.send(get("/"));
            raw
        })
        .collect();
    origin.holds(5);
    clients.into_iter().for_each(Raw::abort);
    // Ten seconds are for backends of which nothing is known.
    wait_until(Duration::from_secs(5), "their slots are free", || {
        let metrics = gateway.metrics();
        metrics.value("tidegate_upstream_inflight", &[("upstream", "u")]) == 0.0
    });
}

#[test]
fn a_flood_of_aborts_from_many_addresses_stays_within_the_caps_and_ends() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_millis(200)));
    let config = Config::new().upstream("u", &[origin.address()], "max_in_flight = 20").route(
        "r",
        "/",
        "u",
        "max_in_flight = 20",
    );
    let gateway = Gateway::start(&config);
    for round in 0..4u8 {
        for n in 2..102u8 {
            let mut raw = Raw::connect_from([127, 0, round, n], gateway.edge());
            raw.send(get("/"));
            raw.patience(Duration::from_millis(3));
            let _ = raw.exactly(1);
            raw.abort();
        }
        // A core that takes a zombie in is counted before it lets the oldest go.
        wait_until(PATIENCE, "a tenth is free of zombies", || {
            let metrics = gateway.metrics();
            let of = |gauge: &str| metrics.value(gauge, &[("upstream", "u")]);
            assert!(of("tidegate_upstream_inflight") <= 20.0, "the cap holds at every moment");
            of("tidegate_zombies") <= 18.0
        });
    }
    wait_until(ZOMBIES_END, "no zombie is left", || zombies(&gateway) == 0.0);
    gateway.settles(ZOMBIES_END);
    for n in 2..12 {
        assert_eq!(ask(&gateway, [127, 0, 0, n]).status(), 200, "everything was given back");
    }
}
