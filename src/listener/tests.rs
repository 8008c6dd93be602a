//! The street door with real sockets on the loopback interface.

mod changes;
mod exhaustion;
mod handshakes;

use super::accept::{Accepted, Cores};
use super::limits::Refusal;
use super::settings::{CertificateFiles, MessageLimits, Settings, TlsSettings};
use super::{BindError, Listeners};
use crate::runtime::descriptors::Descriptors;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// An address of our own: no other test takes a port that was just given back, and no client's own port can
/// be the one that it connects to.
const HERE: [u8; 4] = [127, 0, 0, 70];

const PATIENCE: Duration = Duration::from_secs(10);

/// Cores that only keep what they get.
#[derive(Default)]
struct Shelf {
    taken: Mutex<Vec<(usize, Accepted)>>,
    arrived: Condvar,
    /// Cores below this number refuse everything.
    refusing: AtomicUsize,
    panicking: AtomicBool,
    /// Counts what it gets and keeps nothing.
    forgetful: AtomicBool,
    forgotten: AtomicU64,
    /// Held by a test that holds the acceptor up.
    gate: Mutex<()>,
}

impl Cores for Shelf {
    fn count(&self) -> usize {
        2
    }

    fn load(&self, core: usize) -> u32 {
        let taken = self.taken.lock().expect("not poisoned");
        taken.iter().filter(|(on, _)| *on == core).count() as u32
    }

    fn deliver(&self, core: usize, accepted: Accepted) -> Result<(), Accepted> {
        assert!(!self.panicking.swap(false, SeqCst), "a defect, asked for by the test");
        drop(self.gate.lock().expect("not poisoned"));
        if core < self.refusing.load(SeqCst) {
            return Err(accepted);
        }
        if self.forgetful.load(SeqCst) {
            self.forgotten.fetch_add(1, SeqCst);
            return Ok(());
        }
        self.taken.lock().expect("not poisoned").push((core, accepted));
        self.arrived.notify_all();
        Ok(())
    }
}

impl Shelf {
    /// Waits until `count` connections are here.
    fn holds(&self, count: usize) {
        let taken = self.taken.lock().expect("not poisoned");
        let short = |taken: &mut Vec<_>| taken.len() < count;
        let (taken, _) = self.arrived.wait_timeout_while(taken, PATIENCE, short).expect("not poisoned");
        assert_eq!(taken.len(), count, "connections delivered");
    }

    fn clear(&self) -> Vec<(usize, Accepted)> {
        std::mem::take(&mut *self.taken.lock().expect("not poisoned"))
    }
}

struct Street {
    shelf: Arc<Shelf>,
    listeners: Listeners,
}

fn street(budget: u32) -> Street {
    let shelf = Arc::new(Shelf::default());
    let descriptors = Arc::new(Descriptors::with_budget(budget));
    let listeners = Listeners::start(Arc::clone(&shelf) as Arc<dyn Cores>, descriptors).expect("a thread");
    Street { shelf, listeners }
}

impl Street {
    fn open(&self, wanted: &[Settings]) -> Vec<SocketAddr> {
        self.listeners.apply(wanted).expect("free addresses and good files");
        self.listeners.bound().into_iter().map(|(_, address)| address).collect()
    }

    fn refused(&self, refusal: Refusal) -> u64 {
        self.listeners.all().iter().map(|listener| listener.limits().refused(refusal)).sum()
    }
}

fn settings(name: &str) -> Settings {
    Settings {
        name: name.into(),
        address: SocketAddr::from((HERE, 0)),
        tls: None,
        max_connections: 100,
        max_connections_per_source: 100,
        max_handshakes: 100,
        handshake_timeout: PATIENCE,
        header_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        redirect_https: false,
        limits: MessageLimits::default(),
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("accepted by the system");
    stream.set_read_timeout(Some(PATIENCE)).expect("a valid timeout");
    stream
}

/// Asserts that the gateway closes this connection without a byte.
fn is_closed(mut stream: TcpStream) {
    match stream.read(&mut [0]) {
        Ok(read) => assert_eq!(read, 0),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn connections_spread_over_the_least_loaded_cores() {
    let street = street(100);
    let address = street.open(&[settings("edge")])[0];
    let _clients: Vec<_> = (0..8).map(|_| connect(address)).collect();
    street.shelf.holds(8);
    assert_eq!((street.shelf.load(0), street.shelf.load(1)), (4, 4));
    let taken = street.shelf.clear();
    assert!(taken.iter().all(|(_, accepted)| accepted.stream.nodelay().expect("a socket")));
}

#[test]
fn a_core_that_refuses_is_passed_over_and_when_all_refuse_the_client_hears_at_once() {
    let street = street(100);
    let address = street.open(&[settings("edge")])[0];
    street.shelf.refusing.store(1, SeqCst);
    let _clients: Vec<_> = (0..4).map(|_| connect(address)).collect();
    street.shelf.holds(4);
    assert_eq!(street.shelf.load(1), 4);
    street.shelf.refusing.store(2, SeqCst);
    is_closed(connect(address));
    assert_eq!(street.refused(Refusal::Cores), 1);
}

#[test]
fn above_a_cap_a_client_is_closed_at_once_and_a_free_place_is_used_again() {
    let street = street(100);
    let place = tempfile::tempdir().expect("a directory");
    let pair = handshakes::pair(place.path(), "one", &["one.test"]);
    let capped = [
        Settings { max_connections: 2, ..settings("total") },
        Settings { max_connections_per_source: 2, ..settings("source") },
        Settings { max_handshakes: 2, ..handshakes::tls_settings(&[&pair], None) },
    ];
    let reasons = [Refusal::Connections, Refusal::Source, Refusal::Handshakes];
    for (address, reason) in street.open(&capped).into_iter().zip(reasons) {
        let _clients = [connect(address), connect(address)];
        street.shelf.holds(2);
        is_closed(connect(address));
        assert_eq!(street.refused(reason), 1, "{reason:?}");
        drop(street.shelf.clear());
        let _again = connect(address);
        street.shelf.holds(1);
        drop(street.shelf.clear());
    }
}

#[test]
fn who_waits_for_a_core_in_cleartext_is_no_handshake() {
    let street = street(100);
    let address = street.open(&[Settings { max_handshakes: 2, ..settings("clear") }])[0];
    // No core has looked at any of them yet, as after a pause of the whole machine.
    let _clients: Vec<_> = (0..8).map(|_| connect(address)).collect();
    street.shelf.holds(8);
    assert_eq!(street.refused(Refusal::Handshakes), 0);
}

#[test]
fn without_descriptors_clients_are_refused_and_dials_still_work() {
    let shelf = Arc::new(Shelf::default());
    let descriptors = Arc::new(Descriptors::with_budget(8));
    let listeners = Listeners::start(Arc::clone(&shelf) as Arc<dyn Cores>, Arc::clone(&descriptors));
    let street = Street { shelf, listeners: listeners.expect("a thread") };
    // Each is clamped to what all together may have, so it is the budget that decides.
    let warnings = street.listeners.apply(&[settings("one"), settings("two")]).expect("free addresses");
    assert_eq!(warnings.len(), 2, "both caps are clamped: {warnings:?}");
    let addresses: Vec<_> = street.listeners.bound().into_iter().map(|(_, address)| address).collect();
    let _clients: Vec<_> = (0..7).map(|n| connect(addresses[n % 2])).collect();
    street.shelf.holds(7);
    is_closed(connect(addresses[0]));
    is_closed(connect(addresses[1]));
    assert_eq!(street.refused(Refusal::Descriptors), 2);
    assert!(descriptors.try_dial().is_some());
}

#[test]
fn a_listener_that_stays_keeps_its_socket_its_connections_and_its_counts() {
    let street = street(100);
    let address = street.open(&[settings("edge")])[0];
    let mut client = connect(address);
    street.shelf.holds(1);
    let changed = Settings { max_connections: 1, ..settings("edge") };
    assert_eq!(street.open(&[changed, settings("new")])[0], address);
    is_closed(connect(address));
    assert_eq!(street.refused(Refusal::Connections), 1, "the new cap sees the old connection");
    let (_, mut accepted) = street.shelf.clear().remove(0);
    accepted.stream.write_all(b"still here").expect("open");
    let mut read = [0; 10];
    client.read_exact(&mut read).expect("open");
    assert_eq!(&read, b"still here");
}

#[test]
fn a_removed_listener_stops_accepting_and_its_connections_finish() {
    let street = street(100);
    let addresses = street.open(&[settings("stays"), settings("goes")]);
    let mut client = connect(addresses[1]);
    street.shelf.holds(1);
    assert_eq!(street.open(&[settings("stays")]), [addresses[0]]);
    assert!(TcpStream::connect(addresses[1]).is_err());
    assert_eq!(street.listeners.all().len(), 2, "visible until its connections are gone");
    let (_, mut accepted) = street.shelf.clear().remove(0);
    accepted.stream.write_all(b"x").expect("open");
    client.read_exact(&mut [0]).expect("open");
    drop(accepted);
    assert_eq!(street.listeners.all().len(), 1);
}

#[test]
fn another_name_takes_an_address_over_without_losing_it() {
    let street = street(100);
    let free = TcpListener::bind(SocketAddr::from(([127, 0, 0, 71], 0)))
        .expect("a free port")
        .local_addr()
        .expect("bound");
    street.open(&[Settings { address: free, ..settings("old") }]);
    street.open(&[Settings { address: free, ..settings("new") }]);
    let _client = connect(free);
    street.shelf.holds(1);
    assert_eq!(&**street.shelf.clear()[0].1.listener.name(), "new");
}

#[test]
fn when_one_address_is_taken_nothing_changes() {
    let street = street(100);
    let address = street.open(&[settings("edge")])[0];
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().map(|address| (address, taken)).expect("bound");
    let free = TcpListener::bind(SocketAddr::from(([127, 0, 0, 72], 0)))
        .expect("a free port")
        .local_addr()
        .expect("bound");
    let wanted = [
        Settings { max_connections: 1, ..settings("edge") },
        Settings { address: free, ..settings("free") },
        Settings { address: taken.0, ..settings("taken") },
    ];
    let errors = street.listeners.apply(&wanted).expect_err("an address is taken");
    assert!(matches!(&errors[..], [BindError::Address { name, .. }] if &**name == "taken"));
    assert!(errors[0].to_string().contains(&taken.0.to_string()));
    assert_eq!(street.listeners.bound().len(), 1);
    assert!(TcpStream::connect(free).is_err(), "what was bound for the attempt is closed again");
    let _clients = [connect(address), connect(address)];
    street.shelf.holds(2);
}

#[test]
fn who_looks_at_the_listeners_waits_for_no_change() {
    let street = street(100);
    street.open(&[settings("edge")]);
    let change = street.listeners.prepare(&[settings("edge"), settings("other")]).expect("prepared");
    let names = || street.listeners.all().iter().map(|it| it.name().to_string()).collect::<Vec<_>>();
    let (told, seen) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| told.send(names()));
        let during = seen.recv_timeout(Duration::from_secs(5));
        change.commit();
        assert_eq!(during.ok(), Some(vec!["edge".to_owned()]));
    });
    assert_eq!(names(), ["edge", "other"]);
}

#[test]
fn every_error_is_told_at_once() {
    let street = street(100);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let files = CertificateFiles { certificate: "/nowhere.pem".into(), key: "/nowhere.key".into() };
    let tls = Some(TlsSettings { certificates: vec![files], client_ca: None });
    let wanted = Settings { address: taken.local_addr().expect("bound"), tls, ..settings("both") };
    let errors = street.listeners.apply(&[wanted]).expect_err("nothing is right");
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].to_string().contains("/nowhere.pem"));
}

#[test]
fn a_drain_closes_every_door_and_opens_none() {
    let street = street(100);
    let address = street.open(&[settings("edge")])[0];
    let _client = connect(address);
    street.shelf.holds(1);
    street.listeners.stop_accepting();
    assert!(TcpStream::connect(address).is_err());
    assert!(street.listeners.bound().is_empty());
    let errors = street.listeners.apply(&[settings("edge")]).expect_err("draining");
    assert!(matches!(&errors[..], [BindError::Draining]));
    assert_eq!(street.shelf.clear().len(), 1);
}

#[test]
fn a_client_that_leaves_gives_its_place_back() {
    let street = street(100);
    let address = street.open(&[settings("edge")])[0];
    let client = connect(address);
    street.shelf.holds(1);
    drop(client);
    drop(street.shelf.clear());
    let listeners = street.listeners.all();
    eventually("the count returns to zero", || listeners[0].limits().connections() == 0);
}

#[test]
fn a_panic_about_one_connection_does_not_end_accepting() {
    let street = street(100);
    let address = street.open(&[settings("edge")])[0];
    street.shelf.panicking.store(true, SeqCst);
    is_closed(connect(address));
    let _client = connect(address);
    street.shelf.holds(1);
    assert_eq!(street.listeners.all()[0].limits().connections(), 1, "the lost one is not counted");
}

#[test]
fn clients_over_ipv4_are_known_by_it_on_a_listener_for_both() {
    let street = street(100);
    let both = Settings { address: "[::]:0".parse().expect("an address"), ..settings("both") };
    if street.listeners.apply(&[both]).is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let port = street.listeners.bound()[0].1.port();
    let client = connect(SocketAddr::from(([127, 0, 0, 1], port)));
    street.shelf.holds(1);
    assert_eq!(Some(street.shelf.clear()[0].1.peer), client.local_addr().ok());
}

#[test]
fn both_families_can_have_a_listener_on_the_same_port() {
    if TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let street = street(100);
    let works_on_some_port = (0..5).any(|_| {
        let v4 = TcpListener::bind("0.0.0.0:0").expect("a free port").local_addr().expect("bound");
        let v6 = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, v4.port()));
        let wanted = [Settings { address: v4, ..settings("v4") }, Settings { address: v6, ..settings("v6") }];
        street.listeners.apply(&wanted).is_ok()
    });
    assert!(works_on_some_port);
    assert_eq!(street.listeners.bound().len(), 2);
}
