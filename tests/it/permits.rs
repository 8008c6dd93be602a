//! What is taken is given back, and a limit is a limit: whenever a client leaves, whatever the backend does,
//! and on however many cores.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{Raw, get, post};
use crate::support::{PATIENCE, wait_until};
use std::time::Duration;

/// How long a slot may outlive its client, and a look around.
const ZOMBIES_END: Duration = Duration::from_secs(20);

#[test]
fn permits_and_gauges_return_to_zero_after_a_thousand_aborted_requests() {
    let quick = Origin::well_behaved();
    let slow = Origin::start(Behaviour::Delay(Duration::from_millis(15)));
    let stalls = Origin::start(Behaviour::StallsAfterHeaders);
    let config = Config::new()
        .upstream("quick", &[quick.address()], "")
        .upstream("slow", &[slow.address()], "max_in_flight = 16")
        .upstream("stalls", &[stalls.address()], "")
        .route("quick", "/quick", "quick", "")
        .route("slow", "/slow", "slow", "")
        .route("stalls", "/stalls", "stalls", "");
    let gateway = Gateway::start(&config);
    let abort_some = |seed: u64| {
        let edge = gateway.edge();
        std::thread::spawn(move || {
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..250 {
                // Of many clients: one alone would be refused for its aborts.
                let client = [127, 1, random.u8(..), random.u8(1..255)];
                abort_at_random(&mut random, Raw::connect_from(client, edge));
            }
        })
    };
    let clients: Vec<_> = (0..4).map(|n| abort_some(0x5eed + n)).collect();
    clients.into_iter().for_each(|client| client.join().expect("a client does not panic"));
    gateway.settles(ZOMBIES_END);
    assert_eq!(gateway.metrics().get("tidegate_zombies", &[]), Some(0.0));
    wait_until(PATIENCE, "no connection is left", || {
        gateway.metrics().value("tidegate_connections", &[("listener", "edge")]) == 0.0
    });
    wait_until(PATIENCE, "no origin holds a request", || {
        [&quick, &slow, &stalls].iter().all(|origin| origin.in_flight() == 0)
    });
    for path in ["/quick", "/slow"] {
        assert_eq!(gateway.get(path).status(), 200, "{path}");
    }
}

/// Sends a request up to a random byte, reads up to a random byte of its answer, and is gone.
fn abort_at_random(random: &mut fastrand::Rng, mut raw: Raw) {
    let path =
        random.choice(["/quick/bytes/200000", "/quick/chunked/50000", "/slow", "/stalls"]).expect("one");
    let body = vec![b'b'; random.usize(0..60_000)];
    let request = if random.bool() { get(path).into_bytes() } else { post(path, &body) };
    let sent = random.usize(0..=request.len());
    raw.patience(Duration::from_millis(random.u64(1..40)));
    // The gateway may already have refused and closed; leaving is all that matters.
    if raw.try_send(&request[..sent]).is_ok() && sent == request.len() {
        let _ = raw.exactly(random.usize(1..2_000));
    }
    if random.bool() {
        raw.abort();
    }
}

#[test]
fn a_limit_is_never_exceeded_at_the_origin_on_one_core_or_two() {
    for workers in [1, 2] {
        let origin = Origin::start(Behaviour::Delay(Duration::from_millis(5)));
        let config = Config::new()
            .workers(workers)
            .upstream("u", &[origin.address()], "max_in_flight = 7")
            .route("r", "/", "u", "max_in_flight = 7");
        let gateway = Gateway::start(&config);
        let load = Load::closed(gateway.edge(), "/", 40);
        wait_until(PATIENCE, "there was load", || origin.requests() > 1_500);
        let report = load.stop();
        report.only(&[200, 503]);
        assert!(report.count(200) > 1_000 && report.count(503) > 0, "it was full: {workers} workers");
        assert!(origin.peak() <= 7, "{} at once, {workers} workers", origin.peak());
        assert!(origin.peak() >= 6, "a limit that is there is also used: {} at once", origin.peak());
    }
}

#[test]
fn a_limit_holds_at_the_origin_while_clients_leave() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_millis(30)));
    let config = Config::new().upstream("u", &[origin.address()], "max_in_flight = 8").route(
        "r",
        "/",
        "u",
        "max_in_flight = 8",
    );
    let gateway = Gateway::start(&config);
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..400 {
        let client = [127, 1, random.u8(..), random.u8(1..255)];
        let mut raw = Raw::connect_from(client, gateway.edge());
        raw.patience(Duration::from_millis(random.u64(1..8)));
        raw.send(get("/"));
        let _ = raw.exactly(1);
        raw.abort();
    }
    assert!(
        origin.peak() <= 8,
        "a slot outlives its client while the backend works: {} at once",
        origin.peak()
    );
    gateway.settles(ZOMBIES_END);
}

#[test]
fn a_backend_is_let_go_when_its_client_leaves() {
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let gateway = Gateway::start(&Config::simple(hung.address()));
    for leave in [Raw::abort, drop::<Raw>] {
        let mut raw = gateway.connect();
        raw.send(get("/"));
        hung.holds(1);
        leave(raw);
        wait_until(ZOMBIES_END, "the backend is let go", || hung.in_flight() == 0);
    }
    gateway.settles(ZOMBIES_END);
}

#[test]
fn each_backend_has_its_own_bound() {
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let config = Config::new()
        .upstream("u", &[hung.address()], "max_in_flight = 100\nmax_in_flight_per_backend = 5")
        .route("r", "/", "u", "");
    let gateway = Gateway::start(&config);
    let held: Vec<Raw> = gateway.ask("/", 5);
    hung.holds(5);
    let answer = gateway.get("/");
    assert_eq!(answer.status(), 503);
    assert!(
        matches!(answer.reason(), Some("backend_limit" | "queue_full" | "queue_timeout")),
        "{:?}",
        answer.reason()
    );
    assert_eq!(hung.peak(), 5);
    let backend = &gateway.upstreams()[0]["backends"][0];
    assert_eq!((&backend["in_flight"], &backend["cap"]), (&5.into(), &5.into()));
    drop(held);
}

#[test]
fn the_process_has_a_bound_and_a_route_takes_half() {
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let good = Origin::well_behaved();
    let config = Config::new()
        .gateway("max_in_flight = 40")
        .upstream("hung", &[hung.address()], "max_in_flight = 20")
        .upstream("good", &[good.address()], "max_in_flight = 10")
        .route("a", "/a", "hung", "")
        .route("b", "/b", "hung", "")
        .route("good", "/good", "good", "");
    let gateway = Gateway::start(&config);
    let ask = |path: &str| {
        let mut raw = gateway.connect();
        raw.send(get(path));
        raw
    };
    let held: Vec<Raw> = (0..10).map(|_| ask("/a")).collect();
    hung.holds(10);
    let answer = gateway.get("/a");
    assert_eq!(
        (answer.status(), answer.reason()),
        (503, Some("route_limit")),
        "half of the upstream's is a route's"
    );
    let more: Vec<Raw> = (0..10).map(|_| ask("/b")).collect();
    hung.holds(20);
    assert_eq!(gateway.get("/b").status(), 503);
    assert_eq!(gateway.get("/good").status(), 200);
    wait_until(PATIENCE, "only the held ones are left", || gateway.status()["in_flight"] == 20);
    drop((held, more));
}

#[test]
fn lower_classes_are_shed_first() {
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let config = Config::new()
        .upstream("u", &[hung.address()], "max_in_flight = 20")
        .route("high", "/high", "u", "class = \"critical\"\nmax_in_flight = 20")
        .route("low", "/low", "u", "class = \"batch\"\nmax_in_flight = 20");
    let gateway = Gateway::start(&config);
    let ask = |path: &str| {
        let mut raw = gateway.connect();
        raw.send(get(path));
        raw
    };
    let low: Vec<Raw> = (0..8).map(|_| ask("/low")).collect();
    hung.holds(8);
    let answer = gateway.get("/low");
    assert_eq!((answer.status(), answer.reason()), (503, Some("class_limit")));
    let high: Vec<Raw> = (0..12).map(|_| ask("/high")).collect();
    hung.holds(20);
    assert_eq!(gateway.get("/high").status(), 503);
    let metrics = gateway.metrics();
    let batch = [("upstream", "u"), ("class", "batch"), ("reason", "class_limit")];
    assert_eq!(metrics.value("tidegate_shed_total", &batch), 1.0);
    drop((low, high));
}
