//! The walk end to end in process: a request from the socket through the whole gateway to a backend, and its
//! answer back to the client. Client, gateway and origin share one thread and one runtime of the kind that a core
//! has, so that nothing waits for another thread: times and instructions are those of all three. The cases "no
//! gateway" do without it; what lies above them is the gateway's. Client and origin do not allocate but where they
//! connect, so the allocations are the gateway's; `counts.toml` has how many there may be.
//!
//! Left out: TLS, large uploads. Run with `cargo bench --bench walk`; `support/meter.rs` says how instructions are
//! counted.

#[path = "support/edge.rs"]
mod edge;
#[path = "support/frames.rs"]
mod frames;
#[path = "support/house.rs"]
mod house;
#[path = "support/meter.rs"]
mod meter;
#[path = "support/street.rs"]
mod street;
#[path = "support/visits.rs"]
mod visits;

use edge::Edge;
use meter::Meter;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use tidegate::runtime::clock::TICK;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::Notify;
use visits::{CROWD, Visit, Visitor, Way};

/// Requests that open connections and fill buffers before anything is measured.
const WARM_UP: usize = 100;

fn main() {
    let meter = Meter::from_args();
    let runtime =
        Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).expect("a runtime");
    let origin = runtime.block_on(street::origin());
    let open = |log, tick| runtime.block_on(Edge::open(&visits::configuration(origin.address, log), tick));
    let quiet = open("off", TICK);
    let logging = open("/dev/null", TICK);
    // Every tick looks at everyone: seldom, so that how long the crowd waits to be parked is not counted.
    let seldom = open("off", TICK * 10);
    let _held = meter.wants("refused: ").then(|| runtime.block_on(visits::hold(quiet.address, &origin)));

    for visit in beside_the_gateway() {
        exchange(&runtime, &meter, origin.address, visit);
    }
    for visit in visits::main_paths() {
        match visit.way {
            Way::Parked => parked(&runtime, &meter, &seldom, visit),
            _ => exchange(&runtime, &meter, quiet.address, visit),
        }
    }
    for visit in further_paths() {
        exchange(&runtime, &meter, quiet.address, visit);
    }
    exchange(&runtime, &meter, logging.address, kept("GET, with an access line", visits::GET, 200));
}

/// What client and origin take by themselves.
fn beside_the_gateway() -> Vec<Visit> {
    let of = |name| visits::main_paths().into_iter().find(|visit| visit.name == name).expect("a main path");
    vec![
        Visit { name: "no gateway: GET", ..of("GET") },
        Visit { name: "no gateway: POST 1 KiB", ..of("POST 1 KiB") },
        Visit { name: "no gateway: GET, 64 KiB answer", ..of("GET, 64 KiB answer") },
    ]
}

fn further_paths() -> Vec<Visit> {
    vec![
        kept("POST 16 KiB", &visits::post(16 << 10), 200),
        kept("refused: no_backend", "GET /gone HTTP/1.1\r\nHost: api.example.com\r\n\r\n", 503),
    ]
}

fn kept(name: &'static str, request: &str, status: u16) -> Visit {
    Visit { name, way: Way::Kept, request: request.into(), status }
}

/// Takes one case with a client of its own.
fn exchange(runtime: &LocalRuntime, meter: &Meter, to: SocketAddr, visit: Visit) {
    let name = visit.name;
    if meter.wants(name) {
        let ask = client(runtime, to, visit);
        ask(WARM_UP);
        meter.measure_allocations(name, ask);
    }
}

/// Parking takes seconds and each connection asks once: it is counted only, and not listed among those that may be
/// counted any number of times.
fn parked(runtime: &LocalRuntime, meter: &Meter, edge: &Edge, visit: Visit) {
    let name = visit.name;
    if meter.wants(name) && meter.counts() {
        let ask = client(runtime, edge.address, visit);
        runtime.block_on(edge.parks(CROWD));
        meter.measure_allocations(name, ask);
    }
}

/// A client that asks as often as it is told.
fn client(runtime: &LocalRuntime, to: SocketAddr, visit: Visit) -> impl Fn(usize) {
    let orders = Rc::new(Orders::default());
    let visitor = runtime.block_on(Visitor::enter(to, visit));
    // A task of its own: waking the future that the runtime blocks on costs a system call each time.
    runtime.spawn_local(work(visitor, orders.clone()));
    move |times| {
        orders.times.set(times);
        orders.go.notify_one();
        runtime.block_on(orders.done.notified());
    }
}

/// What a client is told to do.
#[derive(Default)]
struct Orders {
    times: Cell<usize>,
    go: Notify,
    done: Notify,
}

async fn work(mut visitor: Visitor, orders: Rc<Orders>) {
    loop {
        orders.go.notified().await;
        visitor.ask(orders.times.get()).await;
        orders.done.notify_one();
    }
}
