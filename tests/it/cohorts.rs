//! Who is served while a ramp leaves room for a part only: the same clients each time, so that some work and the
//! others know where they are.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::Raw;
use crate::support::{PATIENCE, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const HEALTHY: Behaviour = Behaviour::Delay(Duration::from_millis(40));
/// Connections; each is the way of many clients, as a proxy's are.
const WAYS: usize = 24;
/// Between two requests of one way.
const PACE: Duration = Duration::from_millis(40);

/// Clients behind a trusted proxy, and what became of each one's requests: served, refused.
struct Clients {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeMap<usize, (u32, u32)>>>,
    ways: Vec<JoinHandle<()>>,
}

impl Clients {
    fn of(edge: SocketAddr, many: usize) -> Clients {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeMap::new())));
        let next = Arc::new(AtomicUsize::new(0));
        let way = |_| {
            let (stop, seen, next) = (stop.clone(), seen.clone(), next.clone());
            std::thread::spawn(move || {
                let mut connection = Raw::connect(edge);
                while !stop.load(Relaxed) {
                    let begun = Instant::now();
                    let client = next.fetch_add(1, Relaxed) % many;
                    let served = ask(&mut connection, client);
                    let mut seen = seen.lock().expect("no way panics");
                    let counts: &mut (u32, u32) = seen.entry(client).or_default();
                    if served {
                        counts.0 += 1
                    } else {
                        counts.1 += 1
                    }
                    drop(seen);
                    std::thread::park_timeout(PACE.saturating_sub(begun.elapsed()));
                }
            })
        };
        Clients { ways: (0..WAYS).map(way).collect(), stop, seen }
    }

    /// From now on.
    fn forget(&self) {
        self.seen.lock().expect("no way panics").clear();
    }

    /// Until every client asked so often; what became of it.
    fn after(&self, many: usize, asked: u32) -> Vec<(u32, u32)> {
        let all = || self.seen.lock().expect("no way panics").values().copied().collect::<Vec<_>>();
        wait_until(PATIENCE * 3, "every client asked", || {
            let seen = all();
            seen.len() == many && seen.iter().all(|(served, refused)| served + refused >= asked)
        });
        all()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.ways.drain(..).for_each(|way| drop(way.join()));
    }
}

fn ask(connection: &mut Raw, client: usize) -> bool {
    let address = format!("10.1.{}.{}", client / 250, client % 250 + 1);
    connection.send(format!("GET /x HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: {address}\r\n\r\n"));
    let answer = connection.answer(false);
    match (answer.status(), answer.reason()) {
        (200, _) => true,
        (503, Some("ramp")) => false,
        other => panic!("{other:?}"),
    }
}

fn service(origins: &[Origin]) -> Config {
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    Config::new()
        .gateway("trusted_proxies = [\"127.0.0.0/8\"]")
        .upstream("u", &addresses, "")
        .route("r", "/", "u", "")
}

fn cohort(gateway: &Gateway) -> Value {
    gateway.upstream("u")["cohort"].clone()
}

#[test]
fn at_a_quarter_a_quarter_of_the_clients_work_and_it_is_always_the_same_ones() {
    let origins: Vec<Origin> = (0..2).map(|_| Origin::start(HEALTHY)).collect();
    let gateway = Gateway::start(&service(&origins));
    let clients = Clients::of(gateway.edge(), 300);
    let set = ["ramp", "set", "u", "25", "--reference", "24", "--reason", "cold caches"];
    assert!(gateway.cli(&set).status.success());
    wait_until(PATIENCE, "clients are chosen", || cohort(&gateway)["manner"] == "cohort");
    // What does not fit inside the share is found out second by second.
    wait_until(PATIENCE, "the share has settled", || {
        clients.forget();
        let seen = clients.after(300, 2);
        mixed(&seen) * 5 < seen.len()
    });
    clients.forget();
    let seen = clients.after(300, 4);
    assert!(mixed(&seen) * 4 < seen.len(), "{} of {} are served now and then", mixed(&seen), seen.len());
    let served = seen.iter().filter(|(served, refused)| served > refused).count();
    assert!((20..=150).contains(&served), "{served}");
    let told = cohort(&gateway);
    assert!(told["clients"].as_f64().is_some_and(|clients| (200.0..450.0).contains(&clients)), "{told}");
    assert!(told["realised_percent"].as_f64().is_some_and(|part| part < 80.0), "{told}");

    assert!(gateway.cli(&["ramp", "clear", "u"]).status.success());
    wait_until(PATIENCE, "everybody is served", || cohort(&gateway).is_null());
    clients.forget();
    let seen = clients.after(300, 1);
    let refused: u32 = seen.iter().map(|(_, refused)| refused).sum();
    assert!(refused <= WAYS as u32, "{refused}");
}

#[test]
fn with_few_clients_each_request_stands_for_itself_and_it_is_told() {
    let origins: Vec<Origin> = (0..2).map(|_| Origin::start(HEALTHY)).collect();
    let gateway = Gateway::start(&service(&origins));
    let clients = Clients::of(gateway.edge(), 5);
    let set = ["ramp", "set", "u", "25", "--reference", "12", "--reason", "cold caches"];
    assert!(gateway.cli(&set).status.success());
    wait_until(PATIENCE, "it is told", || cohort(&gateway)["manner"] == "request");
    clients.forget();
    // Enough that nobody is left out by chance where an eighth of the requests is served.
    let seen = clients.after(5, 100);
    assert!(seen.iter().all(|(served, refused)| *served > 0 && *refused > 0), "{seen:?}");
}

/// Clients that were served and refused in one short time.
fn mixed(seen: &[(u32, u32)]) -> usize {
    seen.iter().filter(|(served, refused)| *served > 0 && *refused > 0).count()
}
