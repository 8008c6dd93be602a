//! Which backend serves: the load is shared, slow ones get less, names are resolved in the background, and
//! what has no address is refused at once.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin, refused};
use crate::support::{PATIENCE, wait_until};
use std::time::{Duration, Instant};

#[test]
fn equal_backends_share_the_load() {
    let origins: Vec<Origin> =
        (0..3).map(|_| Origin::start(Behaviour::Delay(Duration::from_millis(3)))).collect();
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    let gateway = Gateway::start(&Config::new().upstream("u", &addresses, "").route("r", "/", "u", ""));
    let load = Load::closed(gateway.edge(), "/", 12);
    wait_until(PATIENCE, "there was load", || origins.iter().map(Origin::requests).sum::<u64>() > 1_500);
    load.stop().only(&[200]);
    let total: u64 = origins.iter().map(Origin::requests).sum();
    for origin in &origins {
        let share = origin.requests() as f64 / total as f64;
        assert!((0.2..0.47).contains(&share), "a third each, about: {share}");
    }
}

#[test]
fn a_slow_backend_gets_less_and_a_hung_one_nearly_nothing() {
    let quick = Origin::start(Behaviour::Delay(Duration::from_millis(2)));
    let slow = Origin::start(Behaviour::Delay(Duration::from_millis(40)));
    let addresses = [quick.address(), slow.address()];
    let gateway = Gateway::start(&Config::new().upstream("u", &addresses, "").route("r", "/", "u", ""));
    let load = Load::closed(gateway.edge(), "/", 10);
    wait_until(PATIENCE, "there was load", || quick.requests() + slow.requests() > 1_500);
    load.stop().only(&[200]);
    assert!(
        slow.requests() * 4 < quick.requests(),
        "{} of the slow, {} of the quick",
        slow.requests(),
        quick.requests()
    );
    slow.switch(Behaviour::AcceptsAndNeverAnswers);
    let load = Load::closed(gateway.edge(), "/", 60);
    let before = quick.requests();
    wait_until(PATIENCE, "the quick one serves on", || quick.requests() > before + 2_000);
    // In a closed loop a backend that never answers collects clients until it holds as many as its peer.
    assert!(slow.in_flight() <= 33, "half of the clients at least are served: {}", slow.in_flight());
    drop(slow);
    // Those that the hung one held are answered 502 now; how many is not what this is about.
    load.stop().only(&[200, 502, 504]);
}

#[test]
fn names_are_resolved_and_one_that_is_not_leaves_its_neighbours_alone() {
    let origin = Origin::well_behaved();
    let port = origin.address().port();
    let names = format!(
        "[[upstreams]]\nname = \"named\"\nbackends = [{{ name = \"a\", address = \"localhost:{port}\" }}]\n\n\
         [[upstreams]]\nname = \"lost\"\nbackends = [{{ name = \"a\", address = \"no-such-name.invalid:80\" }}]\n"
    );
    let config =
        Config::new().text(&names).route("named", "/named", "named", "").route("lost", "/lost", "lost", "");
    let gateway = Gateway::start(&config);
    wait_until(PATIENCE, "the name is resolved", || gateway.serves("/named"));
    for _ in 0..10 {
        let started = Instant::now();
        let answer = gateway.get("/lost");
        assert_eq!((answer.status(), answer.reason()), (503, Some("no_backend")));
        assert!(answer.get("retry-after").is_some());
        assert!(started.elapsed() < Duration::from_millis(500), "nobody waits for a name");
        assert_eq!(gateway.get("/named").status(), 200);
    }
    assert_eq!(gateway.metrics().value("tidegate_backend_up", &[("upstream", "lost")]), 0.0);
    wait_until(PATIENCE, "operators see why", || {
        let lost = gateway.upstream("lost");
        lost["backends"][0]["state"]
            .as_str()
            .is_some_and(|why| why.starts_with("the name has not resolved: "))
    });
}

#[test]
fn a_dead_backend_beside_a_live_one_costs_no_request() {
    let (live, dying) = (Origin::well_behaved(), Origin::well_behaved());
    let addresses = [live.address(), dying.address()];
    let gateway = Gateway::start(&Config::new().upstream("u", &addresses, "").route("r", "/", "u", ""));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(3));
    wait_until(PATIENCE, "both serve", || live.requests() > 100 && dying.requests() > 100);
    let report = load.stop();
    report.only(&[200]);
    drop(dying);
    let before = live.requests();
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(3));
    wait_until(PATIENCE, "the live one serves", || live.requests() > before + 300);
    load.stop().only(&[200]);
}

#[test]
fn a_dead_backend_does_not_cost_its_peer_its_connections() {
    let alive = Origin::well_behaved();
    let addresses = [refused(), alive.address()];
    let gateway = Gateway::start(&Config::new().upstream("u", &addresses, "").route("r", "/", "u", ""));
    for _ in 0..200 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    // One or two a core, however often the dead one was tried first.
    assert!(alive.accepted() <= 4, "{} connections for 200 requests", alive.accepted());
}
