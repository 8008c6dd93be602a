//! The walk end to end in process: a request from the socket through the whole gateway to a backend, and its
//! answer back to the client, over kept connections. Client, gateway and origin share one thread and one runtime
//! of the kind that a core has, so that nothing waits for another thread: times and instructions are those of all
//! three. The first case does without the gateway; what lies above it is the gateway's. Client and origin never
//! allocate (the first case asserts it), so all allocations are the gateway's.
//!
//! Left out: TLS, HTTP/2, large bodies. Run with `cargo bench --bench walk`; `support/meter.rs` says how
//! instructions are counted.

#[path = "support/house.rs"]
mod house;
#[path = "support/meter.rs"]
mod meter;
#[path = "support/street.rs"]
mod street;

use meter::Meter;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use street::Talk;
use tidegate::listener::Listeners;
use tidegate::listener::accept::{Accepted, Cores};
use tidegate::runtime::clock::TICK;
use tidegate::runtime::descriptors::Descriptors;
use tidegate::server::client::{Came, Client};
use tidegate::server::connection;
use tidegate::server::station::{Resident, Station};
use tidegate::upstream::outbox::Socket;
use tidegate::upstream::transport::Transport;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{Notify, mpsc};

/// What a usual client sends.
const GET: &str = "GET /orders/4711?full=1 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: bench/1.0\r\n\
    Accept: application/json\r\nAccept-Encoding: gzip, br\r\nAuthorization: Bearer 0123456789abcdef\r\n\r\n";
const GONE: &str = "GET /gone HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
const NOWHERE: &str = "GET /nowhere HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

/// Requests that open connections and fill buffers before anything is measured.
const WARM_UP: usize = 100;

fn main() {
    let meter = Meter::from_args();
    let runtime =
        Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).expect("a runtime");
    let origin = runtime.block_on(street::origin());
    let (quiet, _listeners) = runtime.block_on(gateway(origin, "off"));
    let (logging, _listeners) = runtime.block_on(gateway(origin, "/dev/null"));
    let post = format!(
        "POST /orders HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: {}\r\n\r\n{}",
        16 << 10,
        "x".repeat(16 << 10)
    );

    let case = |name: &str, most: f64, to: SocketAddr, request: &str, status: u16| {
        if meter.wants(name) {
            exchange(&runtime, &meter, name, most, to, request, status);
        }
    };
    // Allocations of one request: what they are now, and a tenth more.
    case("client and origin, no gateway: GET", 0.0, origin, GET, 200);
    case("GET", 1.1 * 23.1, quiet, GET, 200);
    case("GET, with an access line", 1.1 * 24.1, logging, GET, 200);
    case("POST 16 KiB", 1.1 * 22.1, quiet, &post, 200);
    case("refused: no_backend", 1.1 * 32.1, quiet, GONE, 503);
    case("no route", 1.1 * 28.1, quiet, NOWHERE, 404);
}

/// Takes one case over a connection of its own.
fn exchange(
    runtime: &LocalRuntime,
    meter: &Meter,
    name: &str,
    most: f64,
    to: SocketAddr,
    request: &str,
    status: u16,
) {
    let orders = Rc::new(Orders::default());
    let client = runtime.block_on(Talk::to(to));
    // A task of its own: waking the future that the runtime blocks on costs a system call each time.
    runtime.spawn_local(work(client, orders.clone(), request.to_owned(), status));
    let ask = |times| {
        orders.times.set(times);
        orders.go.notify_one();
        runtime.block_on(orders.done.notified());
    };
    ask(WARM_UP);
    meter.assert_allocations(name, most, ask);
}

/// What a client is told to do.
#[derive(Default)]
struct Orders {
    times: Cell<usize>,
    go: Notify,
    done: Notify,
}

async fn work(mut client: Talk, orders: Rc<Orders>, request: String, status: u16) {
    loop {
        orders.go.notified().await;
        for _ in 0..orders.times.get() {
            assert_eq!(client.ask(request.as_bytes()).await, status);
        }
        orders.done.notify_one();
    }
}

/// The mailbox of the only core.
struct Mailbox(mpsc::Sender<Accepted>);

impl Cores for Mailbox {
    fn count(&self) -> usize {
        1
    }

    fn load(&self, _: usize) -> u32 {
        0
    }

    fn deliver(&self, _: usize, accepted: Accepted) -> Result<(), Accepted> {
        self.0.try_send(accepted).map_err(mpsc::error::TrySendError::into_inner)
    }
}

/// A gateway on this thread: real listener, real station, and between them what a worker does without TLS.
async fn gateway(origin: SocketAddr, log: &str) -> (SocketAddr, Listeners) {
    let descriptors = Arc::new(Descriptors::with_budget(64));
    let (station, plan) = house::station(&configuration(origin, log), &descriptors);
    let (mailbox, mut arrivals) = mpsc::channel(16);
    let listeners =
        Listeners::start(Arc::new(Mailbox(mailbox)), descriptors).expect("a thread for the acceptor");
    listeners.apply(&plan.listeners).expect("port 0 is free");
    let edge = listeners.bound()[0].1;
    tokio::task::spawn_local(station.clone().keep_house());
    tokio::task::spawn_local(station.outbox.clone().deliver());
    tokio::task::spawn_local(tick(station.clone()));
    tokio::task::spawn_local(async move {
        while let Some(accepted) = arrivals.recv().await {
            tokio::task::spawn_local(welcome(station.clone(), accepted));
        }
    });
    (edge, listeners)
}

/// Without ticks each request's timeout would be the runtime's next one, which costs a system call.
async fn tick(station: Rc<Station>) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        station.tick();
    }
}

async fn welcome(station: Rc<Station>, accepted: Accepted) {
    let Accepted { stream, peer, listener, entrance, terms, mut permit } = accepted;
    permit.handshake_done();
    let socket = TcpStream::from_std(stream).expect("a runtime with sockets");
    let came = Came { listener, entrance, settings: terms.settings, peer, tls: None };
    let client = Client::new(station.clone(), came);
    let resident = Resident::enter(&station, &client);
    connection::serve(client, Transport::Tcp(Socket::new(socket, &station.outbox)), None).await;
    drop(resident);
}

fn configuration(origin: SocketAddr, log: &str) -> String {
    format!(
        r#"
[access_log]
target = "{log}"

[[listeners]]
name = "edge"
address = "127.0.0.1:0"

[[upstreams]]
name = "orders"
backends = [{{ name = "a", address = "{origin}" }}]

[[upstreams]]
name = "gone"
backends = [{{ name = "a", address = "gone.invalid:80" }}]

[[routes]]
name = "orders"
path_prefix = "/orders"
upstream = "orders"

[[routes]]
name = "gone"
path_prefix = "/gone"
upstream = "gone"
"#
    )
}
