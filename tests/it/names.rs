//! Backends by name, against a real name server (dnsmasq) and one that misbehaves: each address is a backend of its
//! own, addresses come and go without a failed request, and a name server's trouble is nobody's.

use crate::rig::name_server::{Manner, NameServer};
use crate::support::config::Config;
use crate::support::dnsmasq::Dnsmasq;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::operator::change;
use crate::support::origins::{Behaviour, Origin, refused};
use crate::support::raw::get;
use crate::support::tls::{Authority, quoted};
use crate::support::{PATIENCE, wait_until};
use serde_json::Value;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// A name is asked for every 5 s or so, and what comes of it acts within a second.
const NOTICED: Duration = Duration::from_secs(20);

/// One upstream for each name and its lines, behind the route of its own name.
fn named(resolver: SocketAddr, upstreams: &[(&str, String, &str)]) -> Config {
    let config = Config::new().gateway(&format!("resolver = [\"{resolver}\"]"));
    upstreams.iter().fold(config, |config, (name, address, lines)| {
        let backend = format!("{{ name = \"{name}\", address = \"{address}\" }}");
        config.text(&format!("[[upstreams]]\nname = \"{name}\"\nbackends = [{backend}]\n{lines}\n")).route(
            name,
            &format!("/{name}"),
            name,
            "",
        )
    })
}

fn ip(origin: &Origin) -> Ipv4Addr {
    match origin.address().ip() {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => unreachable!("origins have IPv4 addresses"),
    }
}

fn backend(gateway: &Gateway, upstream: &str) -> Value {
    gateway.upstream(upstream)["backends"][0].clone()
}

fn resolved(gateway: &Gateway, upstream: &str) -> Vec<String> {
    let list = backend(gateway, upstream)["resolved"].clone();
    serde_json::from_value(list).expect("a list of addresses")
}

fn state(gateway: &Gateway, upstream: &str) -> String {
    backend(gateway, upstream)["state"].as_str().expect("a state").to_owned()
}

#[test]
fn addresses_of_a_name_come_and_go_under_load_and_no_request_fails() {
    let origins = Origin::with_one_port(3);
    let port = origins[0].address().port();
    let pods = |these: &[usize]| these.iter().map(|i| (ip(&origins[*i]), "pods.test")).collect::<Vec<_>>();
    let Some(server) = Dnsmasq::start("", &pods(&[0, 1])) else { return };
    let config = named(server.address(), &[("pods", format!("pods.test:{port}"), "")]);
    let gateway = Gateway::start(&config);
    wait_until(NOTICED, "the name is resolved", || resolved(&gateway, "pods").len() == 2);
    let limit =
        |gateway: &Gateway| gateway.metrics().value("tidegate_upstream_limit", &[("upstream", "pods")]);
    wait_until(NOTICED, "both are backends", || limit(&gateway) == 128.0);

    let load = Load::paced(gateway.edge(), "/pods", 6, Duration::from_millis(3));
    wait_until(NOTICED, "both serve", || origins[..2].iter().all(|origin| origin.requests() > 50));
    let view = backend(&gateway, "pods");
    let members = view["addresses"].as_array().expect("addresses");
    assert_eq!(members.len(), 2, "{view:#}");
    assert!(members.iter().all(|it| it["state"] == "ready" && it["max_in_flight"] == 64), "{view:#}");
    assert_eq!(view["max_in_flight"], 128, "{view:#}");
    let version = gateway.status()["version"].clone();

    // One goes, one comes.
    server.change(&pods(&[1, 2]));
    wait_until(NOTICED, "the new one serves", || origins[2].requests() > 50);
    wait_until(NOTICED, "the old one is let go", || origins[0].open() == 0);
    let before = origins[0].requests();
    let more = origins[2].requests() + 100;
    wait_until(NOTICED, "the others serve", || origins[2].requests() > more);
    assert_eq!(origins[0].requests(), before, "nothing new is sent to an address that went");
    load.stop().only(&[200]);

    assert_eq!(gateway.status()["version"], version, "it is the same version");
    let metrics = gateway.metrics();
    let labels = metrics.labels("tidegate_backend_requests_total", "backend");
    assert!(labels.iter().all(|label| *label == "pods"), "one label for the name: {labels:?}");
    assert_eq!(metrics.value("tidegate_backend_addresses", &[("upstream", "pods")]), 2.0);
    let sent: u64 = origins.iter().map(Origin::requests).sum();
    let counted =
        metrics.value("tidegate_backend_requests_total", &[("upstream", "pods"), ("outcome", "ok")]);
    assert_eq!(counted, sent as f64, "what went is still counted");
    gateway.settles(PATIENCE);
    let events = gateway.admin_get("/v1/events?follow=false&kinds=name").json();
    let told = events["items"]
        .as_array()
        .expect("events")
        .iter()
        .any(|event| event.to_string().contains(&origins[2].address().to_string()));
    assert!(told, "{events:#}");
}

#[test]
fn a_request_at_an_address_that_goes_finishes_there() {
    let origins = Origin::with_one_port(2);
    let port = origins[0].address().port();
    let Some(server) = Dnsmasq::start("", &[(ip(&origins[0]), "pods.test")]) else { return };
    let config = named(server.address(), &[("pods", format!("pods.test:{port}"), "")]);
    let gateway = Gateway::start(&config);
    wait_until(NOTICED, "it serves", || gateway.serves("/pods"));
    // Longer than it takes until other addresses act, and shorter than the route's timeout.
    origins[0].switch(Behaviour::Delay(Duration::from_secs(8)));
    let mut slow = gateway.connect();
    slow.send(get("/pods"));
    origins[0].holds(1);
    server.change(&[(ip(&origins[1]), "pods.test")]);
    let only = [origins[1].address().to_string()];
    wait_until(NOTICED, "the other address acts", || resolved(&gateway, "pods") == only);
    assert_eq!(origins[0].in_flight(), 1, "it goes on where it is");
    assert_eq!(backend(&gateway, "pods")["in_flight"], 0, "and is no load of the others");
    assert_eq!(slow.answer(false).status(), 200);
    let new = &backend(&gateway, "pods")["addresses"][0]["came_seconds"];
    assert!(new.as_f64().is_some_and(|seconds| seconds < 60.0), "it came while the gateway ran: {new}");
}

#[test]
fn a_dead_address_of_a_name_costs_no_request_and_levers_of_the_name_move_all() {
    let mut origins = Origin::with_one_port(3);
    let port = origins[0].address().port();
    let hosts: Vec<_> = origins.iter().map(|origin| (ip(origin), "pods.test")).collect();
    let Some(server) = Dnsmasq::start("", &hosts) else { return };
    drop(origins.pop());
    let config = named(server.address(), &[("pods", format!("pods.test:{port}"), "")]);
    let gateway = Gateway::start(&config);
    wait_until(NOTICED, "all are backends", || {
        backend(&gateway, "pods")["addresses"].as_array().is_some_and(|all| all.len() == 3)
    });
    let load = Load::paced(gateway.edge(), "/pods", 4, Duration::from_millis(3));
    wait_until(NOTICED, "the living serve", || origins.iter().map(Origin::requests).sum::<u64>() > 200);
    load.stop().only(&[200]);

    // A reference is of the whole name, whatever its addresses.
    let ramp = serde_json::json!({ "percent": 50, "reference": 30, "reason": "careful" });
    assert_eq!(change(gateway.admin(), "PUT", "/v1/upstreams/pods/backends/pods/ramp", &ramp).status(), 200);
    let view = backend(&gateway, "pods");
    assert_eq!((&view["reference"]["in_flight"], &view["cap"]), (&30.0.into(), &15.into()), "{view:#}");
    assert!(view["addresses"].as_array().is_some_and(|all| all.iter().all(|it| it["cap"] == 5)), "{view:#}");

    let lever = serde_json::json!({ "state": "drain", "reason": "a new rack" });
    let drained = change(gateway.admin(), "PUT", "/v1/upstreams/pods/backends/pods/state", &lever);
    assert_eq!(drained.status(), 200, "{}", drained.text());
    assert_eq!(gateway.get("/pods").reason(), Some("ramp"));
    wait_until(PATIENCE, "all of it is drained", || state(&gateway, "pods") == "drained");
}

#[test]
fn a_service_is_found_by_its_srv_records_with_their_weights() {
    // So slow that what the machine adds is not taken for a difference between them.
    let slow = || Origin::start(Behaviour::Delay(Duration::from_millis(20)));
    let (heavy, light, spare) = (slow(), slow(), slow());
    let record = |origin: &Origin, priority, weight| {
        format!("srv-host=_http._tcp.shop.test,one.test,{},{priority},{weight}\n", origin.address().port())
    };
    let lines = [record(&heavy, 10, 75), record(&light, 10, 25), record(&spare, 20, 100)].concat();
    let Some(server) = Dnsmasq::start(&lines, &[(Ipv4Addr::LOCALHOST, "one.test")]) else { return };
    let service = "_http._tcp.shop.test".to_owned();
    let gateway = Gateway::start(&named(
        server.address(),
        &[("shop", service, "host = \"backend\"\nretry = { max_retries = 0 }")],
    ));
    wait_until(NOTICED, "its records are found", || {
        backend(&gateway, "shop")["addresses"].as_array().is_some_and(|all| all.len() == 2)
    });
    let load = Load::closed(gateway.edge(), "/shop", 16);
    wait_until(NOTICED, "both serve", || heavy.requests() + light.requests() > 800);
    load.stop().only(&[200]);
    assert_eq!(spare.requests(), 0, "a higher priority is for when the lower is gone");
    assert!(heavy.requests() > 2 * light.requests(), "{} {}", heavy.requests(), light.requests());
    assert!(light.requests() > 40, "{}", light.requests());
    let seen = gateway.get("/shop").text();
    assert!(
        seen.contains(&format!("shop.test:{}", heavy.address().port())) || seen.contains("shop.test:"),
        "{seen}"
    );
}

#[test]
fn a_backend_by_name_is_verified_by_the_name_that_is_configured_and_not_by_what_the_records_say() {
    let authority = Authority::new();
    let own = authority.server_config(&authority.server(&["shop.test"]), false);
    let (origin, stranger) = (
        Origin::tls(Behaviour::WellBehaved, own),
        Origin::tls(Behaviour::WellBehaved, authority.server_config(&authority.server(&["one.test"]), false)),
    );
    let record = |service: &str, origin: &Origin| {
        format!("srv-host=_http._tcp.{service}.test,one.test,{},1,1\n", origin.address().port())
    };
    let lines = [record("shop", &origin), record("trap", &stranger)].concat();
    let hosts = [(Ipv4Addr::LOCALHOST, "one.test"), (Ipv4Addr::LOCALHOST, "shop.test")];
    let Some(server) = Dnsmasq::start(&lines, &hosts) else { return };
    let tls = format!("tls = {{ ca = {} }}", quoted(&authority.ca()));
    let named = named(
        server.address(),
        &[
            ("host", format!("shop.test:{}", origin.address().port()), &tls),
            ("service", "_http._tcp.shop.test".to_owned(), &tls),
            ("trap", "_http._tcp.trap.test".to_owned(), &tls),
        ],
    );
    let gateway = Gateway::start(&named);
    wait_until(NOTICED, "both are spoken to", || gateway.serves("/host") && gateway.serves("/service"));
    wait_until(NOTICED, "the third is found", || resolved(&gateway, "trap").len() == 1);
    let answer = gateway.get("/trap");
    assert_eq!(
        (answer.status(), answer.reason()),
        (502, Some("connect_failed")),
        "it is one.test, and not trap.test"
    );
}

#[test]
fn aliases_and_answers_too_long_for_udp_are_followed_and_bounded() {
    let hosts: Vec<_> = (1..=90).map(|last| (Ipv4Addr::new(127, 0, 2, last), "many.test")).collect();
    let Some(server) = Dnsmasq::start("cname=alias.test,many.test\n", &hosts) else { return };
    let gateway = Gateway::start(&named(server.address(), &[("many", "alias.test:9".to_owned(), "")]));
    wait_until(NOTICED, "as many as are used", || resolved(&gateway, "many").len() == 64);
    let metrics = gateway.metrics();
    assert_eq!(metrics.value("tidegate_backend_addresses", &[("upstream", "many")]), 64.0);
    assert_eq!(metrics.value("tidegate_backend_addresses_unused", &[("upstream", "many")]), 26.0);
}

#[test]
fn a_name_server_in_trouble_takes_nothing_away_and_one_that_denies_is_believed_as_its_policy_says() {
    let origin = Origin::well_behaved();
    let port = origin.address().port();
    let server = NameServer::start(Manner::Says(vec![Ipv4Addr::LOCALHOST]));
    let name = |name: &str| format!("{name}.test:{port}");
    let config = named(
        server.address(),
        &[
            ("silent", name("silent"), "on_nxdomain = \"drop\""),
            ("fails", name("fails"), "on_nxdomain = \"drop\""),
            ("refuses", name("refuses"), "on_nxdomain = \"drop\""),
            ("garbage", name("garbage"), "on_nxdomain = \"drop\""),
            ("kept", name("gone-kept"), "on_nxdomain = \"keep\""),
            ("default", name("gone-default"), ""),
            ("dropped", name("gone-dropped"), "on_nxdomain = \"drop\""),
            ("later", name("empty-later"), "keep_for = \"2s\""),
        ],
    );
    let gateway = Gateway::start(&config);
    let all = ["silent", "fails", "refuses", "garbage", "kept", "default", "dropped", "later"];
    wait_until(NOTICED, "all are there", || all.iter().all(|name| gateway.serves(&format!("/{name}"))));

    let manners = [
        ("silent", Manner::Silent),
        ("fails", Manner::Fails),
        ("refuses", Manner::Refuses),
        ("garbage", Manner::Garbage),
        ("gone", Manner::NoSuchName),
        ("empty", Manner::Empty),
    ];
    let stay = ["silent", "fails", "refuses", "garbage", "kept", "default"];
    let load: Vec<_> = stay
        .map(|name| Load::paced(gateway.edge(), &format!("/{name}"), 1, Duration::from_millis(20)))
        .into();
    manners.into_iter().for_each(|(prefix, manner)| server.behaves(prefix, manner));
    wait_until(NOTICED, "it is seen that they are old", || {
        stay.iter().all(|name| state(&gateway, name).starts_with("ready; old addresses"))
    });
    for name in ["dropped", "later"] {
        wait_until(NOTICED, "it is believed", || {
            let answer = gateway.get(&format!("/{name}"));
            (answer.status(), answer.reason()) == (503, Some("no_backend"))
        });
    }
    load.into_iter().for_each(|load| load.stop().only(&[200]));
    assert!(state(&gateway, "default").contains("dropped in "), "{}", state(&gateway, "default"));
    assert_eq!(gateway.metrics().value("tidegate_backend_lookup_failing", &[("upstream", "silent")]), 1.0);

    // What is said again is there again.
    server.behaves("", Manner::Says(vec![Ipv4Addr::LOCALHOST]));
    wait_until(2 * NOTICED, "they are back", || gateway.serves("/dropped") && gateway.serves("/later"));
}

#[test]
fn a_thousand_names_that_nobody_resolves_hold_up_neither_a_change_nor_a_request() {
    let good = Origin::well_behaved();
    let server = NameServer::start(Manner::Silent);
    let with = |addresses: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        for i in 0..100_usize {
            let backend = |j| format!("{{ name = \"b{j}\", address = \"{}\" }}", addresses(10 * i + j));
            let backends: Vec<_> = (0..10).map(backend).collect();
            writeln!(text, "[[upstreams]]\nname = \"u{i}\"\nbackends = [{}]", backends.join(", "))
                .expect("text");
            writeln!(text, "[[routes]]\nname = \"u{i}\"\npath_prefix = \"/u{i}\"\nupstream = \"u{i}\"")
                .expect("text");
        }
        Config::new()
            .gateway(&format!("resolver = [\"{}\"]", server.address()))
            .upstream("good", &[good.address()], "")
            .route("good", "/good", "good", "")
            .text(&text)
    };
    let dead = refused().port();
    let gateway = Gateway::start(&with(&|i| format!("127.1.{}.{}:{dead}", i / 200, i % 200 + 1)));
    let timed = |config: &Config| {
        let started = Instant::now();
        gateway.change(config);
        started.elapsed()
    };
    let with_addresses = timed(&with(&|i| format!("127.2.{}.{}:{dead}", i / 200, i % 200 + 1)));
    let load = Load::paced(gateway.edge(), "/good", 2, Duration::from_millis(5));
    let with_names = timed(&with(&|i| format!("n{i}.test:80")));
    assert!(with_names < 3 * with_addresses + Duration::from_secs(1), "{with_names:?} {with_addresses:?}");

    let started = Instant::now();
    let answer = gateway.get("/u42");
    assert_eq!((answer.status(), answer.reason()), (503, Some("no_backend")));
    assert!(started.elapsed() < Duration::from_millis(2_100), "a new name fails at once");
    wait_until(NOTICED, "lookups end in time", || {
        gateway.metrics().value("tidegate_name_lookups_total", &[("outcome", "failed")]) >= 32.0
    });
    let metrics = gateway.metrics();
    assert!(metrics.value("tidegate_name_lookups_inflight", &[]) <= 16.0);
    assert!(metrics.value("tidegate_name_lookups_waiting", &[]) > 900.0, "the others wait");
    // A lookup takes 2 s then: in less, no slot sees more than the end of one and the beginning of another.
    let most = server.most_names_within(Duration::from_millis(1_900));
    assert!((16..=32).contains(&most), "{most}");
    load.stop().only(&[200]);
}

#[test]
fn a_new_name_server_in_the_file_is_asked_without_a_restart() {
    let origin = Origin::well_behaved();
    let (dead, alive) =
        (NameServer::start(Manner::Silent), NameServer::start(Manner::Says(vec![ip(&origin)])));
    let config = |server: &NameServer| {
        named(server.address(), &[("u", format!("u.test:{}", origin.address().port()), "")])
    };
    let gateway = Gateway::start(&config(&dead));
    wait_until(NOTICED, "it is seen that nobody answers", || {
        state(&gateway, "u").contains("no answer within")
    });
    gateway.change(&config(&alive));
    wait_until(NOTICED, "the other one is asked", || gateway.serves("/u"));
}
