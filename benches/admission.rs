//! Taking all permits of a request and giving them back, through a route's real gate: without allocating, and
//! cheap where it is refused too. Then the count that all cores share, with another core at it. Run with
//! `cargo bench --bench admission`; `support/meter.rs` says how instructions are counted.

#[path = "support/house.rs"]
mod house;
#[path = "support/meter.rs"]
mod meter;

use futures_util::FutureExt;
use meter::Meter;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tidegate::admission::line::Line;
use tidegate::admission::{Granted, RouteGate};
use tidegate::reject::{Reason, Reject};
use tidegate::runtime::descriptors::Descriptors;

/// Three backends, one backend behind two routes, and one that has no address.
const CONFIGURATION: &str = r#"
[[listeners]]
name = "edge"
address = "127.0.0.1:0"

[[upstreams]]
name = "three"
backends = [
    { name = "a", address = "127.0.0.1:1" },
    { name = "b", address = "127.0.0.1:2" },
    { name = "c", address = "127.0.0.1:3" },
]

[[upstreams]]
name = "alone"
backends = [{ name = "a", address = "127.0.0.1:1" }]

[[upstreams]]
name = "gone"
backends = [{ name = "a", address = "gone.invalid:80" }]

[[routes]]
name = "three"
path_prefix = "/three"
upstream = "three"

[[routes]]
name = "alone"
path_prefix = "/alone"
upstream = "alone"

[[routes]]
name = "narrow"
path_prefix = "/narrow"
upstream = "alone"
max_in_flight = 1

[[routes]]
name = "gone"
path_prefix = "/gone"
upstream = "gone"
"#;

/// On whose behalf.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn main() {
    let meter = Meter::from_args();
    let descriptors = Arc::new(Descriptors::with_budget(16));
    let (station, plan) = house::station(CONFIGURATION, &descriptors);
    let deadline = Instant::now() + Duration::from_secs(3_600);
    let gate = |name: &str| {
        let index =
            plan.routes.iter().position(|(_, route)| &*route.name == name).expect("a route of this name");
        station.views().stable().choose(index).gate().expect("it has an upstream").clone()
    };

    for (case, route) in [("1 backend: admit, release", "alone"), ("3 backends: admit, release", "three")] {
        let gate = gate(route);
        meter.assert_free_of_allocations(case, |_| {
            admit(&gate, deadline).expect("there is room");
        });
    }
    let narrow = gate("narrow");
    let held = admit(&narrow, deadline).expect("there is room for one");
    refuse(&meter, "refused: route_limit", (&narrow, deadline), Reason::RouteLimit);
    drop(held);
    let gone = gate("gone");
    refuse(&meter, "refused: no_backend", (&gone, deadline), Reason::NoBackend);

    let line = Arc::new(Line::new(2));
    meter.assert_free_of_allocations("line: take, release", |_| pass(&line));
    if meter.measures() {
        contended(&meter, &line);
    }
}

/// Nobody waits here, so the answer is there at once.
fn admit(gate: &Rc<RouteGate>, deadline: Instant) -> Result<Granted, Reject> {
    gate.admit(deadline, CLIENT).now_or_never().expect("refused or admitted at once")
}

/// Never allocates, but that the stream of events is told once a second: a dozen times, over millions of calls.
fn refuse(meter: &Meter, case: &str, (gate, deadline): (&Rc<RouteGate>, Instant), reason: Reason) {
    meter.assert_allocations(case, 0.001, |calls| {
        for _ in 0..calls {
            let refused = admit(black_box(gate), deadline).map_err(|reject| reject.reason);
            assert_eq!(refused.err(), Some(reason));
        }
    });
}

fn pass(line: &Line) {
    assert!(line.in_flight.try_acquire(1_000));
    line.release();
}

/// The worst that two cores can do to each other: nothing but this.
fn contended(meter: &Meter, line: &Arc<Line>) {
    let stop = Arc::new(AtomicBool::new(false));
    let other = std::thread::spawn({
        let (line, stop) = (line.clone(), stop.clone());
        move || {
            while !stop.load(Relaxed) {
                pass(&line);
            }
        }
    });
    meter.assert_free_of_allocations("line: take, release, another core too", |_| pass(line));
    stop.store(true, Relaxed);
    other.join().expect("it only counts");
    assert_eq!(line.in_flight.get(), 0);
}
