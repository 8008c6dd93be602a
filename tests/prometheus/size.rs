//! How large the metrics are: so many series for each name that is configured, none for what is asked, and none for a
//! name that is gone. Counts, not times: a scrape takes as long as its series do.

use crate::read;
use crate::scene::CHECKED;
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::Origin;
use crate::support::raw::{Answer, Raw, get};
use crate::support::{PATIENCE, wait_until};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

/// Series of a backend.
const BACKEND: usize = 16;
/// More where it is a name, and more where it is checked.
const NAMED: usize = 3;
const WATCHED: usize = 4;
/// Series of an upstream with a route of one class, at most: its gate, limit, queue, second tries and the route's
/// requests and times.
const UPSTREAM: usize = 95;
/// Series of a further route, and of a further class.
const ROUTE: usize = 27;
const CLASS: usize = 15;
/// What no name adds to, with two cores and a listener, at most.
const PROCESS: usize = 220;

/// Upstreams, and backends of each, that are stated in the documents.
const UPSTREAMS: usize = 100;
const BACKENDS: usize = 50;

/// Names and labels of what is exposed.
fn series(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').expect("a value").0.to_owned()).collect()
}

fn scraped(gateway: &Gateway) -> BTreeSet<String> {
    series(&gateway.admin_get("/metrics").text())
}

/// An upstream with these backends, lines and a route.
fn with(config: Config, name: &str, backends: &[&str], lines: &str) -> Config {
    let backends = backends.iter().enumerate().fold(String::new(), |mut text, (i, address)| {
        write!(text, "{{ name = \"{name}{i}\", address = \"{address}\" }},").expect("text grows");
        text
    });
    config.text(&format!("[[upstreams]]\nname = \"{name}\"\nbackends = [{backends}]\n{lines}")).route(
        name,
        &format!("/{name}"),
        name,
        "",
    )
}

#[test]
fn every_configured_name_costs_a_known_number_of_series_and_takes_them_with_it() {
    let gateway = Gateway::start(&with(Config::new(), "u", &["127.0.0.1:9"], ""));
    let first = scraped(&gateway);
    assert!(first.len() <= PROCESS + UPSTREAM + BACKEND, "{} series", first.len());

    gateway.change(&with(Config::new(), "u", &["127.0.0.1:9", "127.0.0.2:9"], ""));
    assert_eq!(scraped(&gateway).len(), first.len() + BACKEND, "one backend more");

    let route = |lines| with(Config::new(), "u", &["127.0.0.1:9"], "").route("more", "/more", "u", lines);
    gateway.change(&route(""));
    let now = || scraped(&gateway).len();
    wait_until(PATIENCE, "one route more, and the backend less", || now() == first.len() + ROUTE);
    gateway.change(&route("class = \"batch\""));
    wait_until(PATIENCE, "one class more", || now() == first.len() + ROUTE + CLASS);

    let one = with(Config::new(), "u", &["127.0.0.1:9"], "");
    gateway.change(&with(one, "v", &["localhost:9"], CHECKED));
    let more = || scraped(&gateway).len() - first.len();
    wait_until(PATIENCE, "the other backend is gone and the new one is checked", || {
        more() <= UPSTREAM + BACKEND + NAMED + WATCHED
            && scraped(&gateway).iter().any(|series| series.starts_with("tidegate_health_checks_total"))
    });

    gateway.change(&with(Config::new(), "u", &["127.0.0.1:9"], "max_in_flight = 7"));
    wait_until(PATIENCE, "nothing is left of what is configured no more", || {
        let hashless = |all: &BTreeSet<String>| -> BTreeSet<String> {
            all.iter().filter(|series| !series.contains("hash=")).cloned().collect()
        };
        hashless(&scraped(&gateway)) == hashless(&first)
    });
}

#[test]
fn nothing_that_clients_send_makes_a_series() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let before = scraped(&gateway);
    let mut raw = gateway.connect();
    for n in 0..50 {
        raw.ask(get(&format!("/path/{n}?query={n}")));
        raw.ask(format!("M{n} /status/{} HTTP/1.1\r\nHost: host{n}.test\r\nX-H{n}: {n}\r\n\r\n", 200 + n));
        raw.ask(format!(
            "GET / HTTP/1.1\r\nHost: edge.test\r\nx-request-id: id{n}\r\nuser-agent: a{n}\r\n\r\n"
        ));
    }
    gateway.settles(PATIENCE);
    let requests = gateway.metrics().value("tidegate_requests_total", &[]);
    assert!(requests >= 150.0, "{requests} are counted");
    let after = scraped(&gateway);
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// A hundred upstreams of fifty backends each, at addresses where nobody is, with a route each.
fn fleet() -> Config {
    (0..UPSTREAMS).fold(Config::new(), |config, u| {
        let backends: Vec<String> = (0..BACKENDS).map(|b| format!("127.{}.0.{}:9", u + 1, b + 1)).collect();
        let backends: Vec<&str> = backends.iter().map(String::as_str).collect();
        with(config, &format!("upstream-{u:02}-"), &backends, "max_in_flight = 64")
    })
}

/// The metrics, also where that takes long: a debug build on a busy machine puts down a hundred thousand series.
fn scrape(gateway: &Gateway, coding: &str) -> Answer {
    let host = gateway.admin();
    let mut raw = Raw::connect(host);
    raw.patience(Duration::from_secs(60));
    let answer = raw.ask(format!(
        "GET /metrics HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: {coding}\r\nConnection: close\r\n\r\n"
    ));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer
}

/// A bound in the example of a scrape.
fn stated(key: &str) -> usize {
    let config = read("deploy/prometheus/prometheus.yml");
    let value = config.lines().find_map(|line| line.trim().strip_prefix(key)).expect("it is stated");
    value.trim().trim_end_matches("MB").parse().expect("a number")
}

#[test]
fn a_hundred_upstreams_of_fifty_backends_stay_below_what_is_stated_and_hold_up_no_operator() {
    let gateway = Gateway::start(&fleet());
    let text = scrape(&gateway, "identity").text();
    let count = series(&text).len();
    let most = PROCESS + UPSTREAMS * (UPSTREAM + BACKENDS * BACKEND);
    assert!((80_000..=most).contains(&count), "{count} series, of {most} at most");
    // All of them names, and checked.
    let worst = most + UPSTREAMS * BACKENDS * (NAMED + WATCHED);
    assert!(worst <= stated("sample_limit:"), "{worst} series");
    let each = text.len() / count;
    assert!(each < 100, "{each} bytes a series");
    assert!(worst * each < stated("body_size_limit:") << 20);

    let answer = scrape(&gateway, "gzip");
    assert_eq!(answer.get("content-encoding"), Some("gzip"));
    let size = answer.body.len();
    assert!(size * 8 < text.len(), "{size} bytes packed, of {}", text.len());
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&*answer.body).read_to_string(&mut unpacked).expect("gzip");
    assert_eq!(series(&unpacked).len(), count);

    // While that is put down, the admin side answers as ever.
    let done = AtomicBool::new(false);
    let answered = std::thread::scope(|threads| {
        threads.spawn(|| {
            scrape(&gateway, "gzip");
            done.store(true, SeqCst);
        });
        let mut answered = 0;
        while !done.load(SeqCst) {
            assert_eq!(gateway.admin_get("/livez").status(), 200);
            answered += 1;
        }
        answered
    });
    assert!(answered >= 5, "asked {answered} times during one scrape");
}
