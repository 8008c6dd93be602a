//! A refusal is fast and says why: it costs the upstream nothing, tells when to come back, is never tried
//! again by the gateway, and hits the lowest class first.

use crate::support::client::Http2;
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{Raw, get};
use crate::support::{PATIENCE, run, wait_until};
use std::collections::BTreeSet;
use std::time::Duration;

/// An upstream with four places and nobody waiting.
fn without_queue(origin: &Origin) -> Gateway {
    let upstream = "max_in_flight = 4\nqueue = { max_waiting = 0 }";
    let config = Config::new().upstream("u", &[origin.address()], upstream);
    Gateway::start(&config.route("r", "/", "u", "max_in_flight = 4"))
}

fn ask(gateway: &Gateway, path: &str) -> Raw {
    let mut raw = gateway.connect();
    raw.send(get(path));
    raw
}

#[test]
fn a_shed_says_why_and_when_to_come_back_and_never_reaches_the_backend() {
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let gateway = without_queue(&hung);
    let held: Vec<Raw> = (0..4).map(|_| ask(&gateway, "/")).collect();
    hung.holds(4);
    let mut raw = gateway.connect();
    let mut waits = BTreeSet::new();
    for _ in 0..200 {
        let answer = raw.ask(get("/"));
        assert_eq!(answer.status(), 503);
        assert!(
            matches!(answer.reason(), Some("upstream_limit" | "route_limit" | "queue_full")),
            "{:?}",
            answer.reason()
        );
        assert_eq!(answer.get("content-type"), Some("application/problem+json"));
        let seconds = answer.get("retry-after").and_then(|s| s.parse::<u32>().ok());
        waits.insert(seconds.unwrap_or_else(|| panic!("whole seconds in {answer:?}")));
    }
    assert!(waits.iter().all(|seconds| (1..=30).contains(seconds)), "{waits:?}");
    assert!(waits.len() > 1, "they do not all come back at once: {waits:?}");
    assert_eq!((hung.requests(), hung.accepted()), (4, 4), "a shed costs the upstream nothing");
    drop(held);
}

#[test]
fn under_load_sheds_are_quick_and_none_is_tried_again() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_millis(10)));
    let gateway = without_queue(&origin);
    let load = Load::closed(gateway.edge(), "/", 16);
    wait_until(PATIENCE, "there was load", || origin.requests() > 300);
    let report = load.stop();
    report.only(&[200, 503]);
    assert!(report.count(503) > 300, "{} were shed", report.count(503));
    assert!(report.percentile(503, 99) < Duration::from_millis(500), "{:?}", report.percentile(503, 99));
    assert_eq!(origin.requests(), report.count(200) as u64, "what reached the backend was answered by it");
    gateway.settles(PATIENCE);
    assert_eq!(gateway.sheds("u"), report.count(503) as f64, "each is counted once");
    assert_eq!(gateway.metrics().value("tidegate_retries_total", &[("upstream", "u")]), 0.0);
}

#[test]
fn a_shed_grpc_call_is_told_when_to_come_back() {
    let hung = Origin::http2(100);
    hung.switch(Behaviour::AcceptsAndNeverAnswers);
    let config = Config::new()
        .upstream(
            "u",
            &[hung.address()],
            "protocol = \"http2\"\nmax_in_flight = 1\nqueue = { max_waiting = 0 }",
        )
        .route("r", "/", "u", "");
    let gateway = Gateway::start(&config);
    let held = ask(&gateway, "/held");
    hung.holds(1);
    run(async {
        let mut client = Http2::connect(gateway.edge()).await;
        for _ in 0..10 {
            let answer = client.grpc("/echo.Echo/Unary", b"x").await.expect("an answer");
            assert_eq!((answer.status, answer.grpc_status()), (200, Some("14")), "{answer:?}");
            let pushback = answer.get("grpc-retry-pushback-ms").and_then(|ms| ms.parse::<u32>().ok());
            assert!(pushback.is_some_and(|ms| (1_000..=30_000).contains(&ms)), "{answer:?}");
        }
        let other = client.get("/").await.expect("an answer");
        assert_eq!((other.status, other.get("grpc-retry-pushback-ms")), (503, None));
        assert!(other.get("retry-after").is_some());
    });
    assert_eq!(hung.requests(), 1);
    drop(held);
}

/// Two routes with these classes on one upstream of twenty places, and how many of the lower one's entered.
fn entered(gateway: &Gateway, hung: &Origin, path: &str) -> (u64, Vec<Raw>) {
    let before = hung.in_flight();
    let mut inside = Vec::new();
    loop {
        let raw = ask(gateway, path);
        let expected = before + inside.len() as u64 + 1;
        let mut refused = false;
        wait_until(PATIENCE, "it is inside or refused", || {
            refused = gateway.sheds("u") > 0.0;
            refused || hung.in_flight() == expected
        });
        if refused {
            return (hung.in_flight() - before, inside);
        }
        inside.push(raw);
    }
}

#[test]
fn the_lowest_class_is_shed_first_and_the_highest_in_use_loses_nothing() {
    for (high, expected) in [("critical", 8), ("default", 8), ("batch", 20)] {
        let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
        let config = Config::new()
            .upstream("u", &[hung.address()], "max_in_flight = 20\nqueue = { max_waiting = 0 }")
            .route("high", "/high", "u", &format!("class = \"{high}\"\nmax_in_flight = 20"))
            .route("low", "/low", "u", "class = \"batch\"\nmax_in_flight = 20");
        let gateway = Gateway::start(&config);
        let (low, held) = entered(&gateway, &hung, "/low");
        assert_eq!(low, expected, "beside {high}");
        if low < 20 {
            assert_eq!(gateway.get("/low").reason(), Some("class_limit"), "beside {high}");
        }
        let more: Vec<Raw> = (low..20).map(|_| ask(&gateway, "/high")).collect();
        hung.holds(20);
        assert_ne!(gateway.get("/high").reason(), Some("class_limit"), "no class is above {high}");
        drop((held, more));
    }
}
