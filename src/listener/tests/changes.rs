//! Doors that open, move and close while clients come.

use super::*;

/// An address that was free a moment ago, on an address of these tests' own.
fn free() -> SocketAddr {
    let socket = TcpListener::bind(SocketAddr::from(([127, 0, 0, 73], 0))).expect("a free port");
    socket.local_addr().expect("bound")
}

fn at(name: &str, address: SocketAddr) -> Settings {
    Settings { address, max_connections: 100_000, max_connections_per_source: 100_000, ..settings(name) }
}

/// Connects to `address` on two threads until it is refused, or `done`; returns how many the system let in.
fn hammer(address: SocketAddr, done: &AtomicBool) -> u64 {
    let connected = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    let Ok(stream) = TcpStream::connect_timeout(&address, PATIENCE) else { return };
                    connected.fetch_add(1, SeqCst);
                    // With a reset: this machine has ports enough for one test, not for their TIME_WAIT.
                    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                    std::thread::park_timeout(Duration::from_micros(200));
                }
            });
        }
    });
    connected.load(SeqCst)
}

fn many() -> Street {
    let street = street(100_000);
    street.shelf.forgetful.store(true, SeqCst);
    street
}

#[test]
fn who_is_in_the_backlog_when_a_door_closes_comes_in() {
    type Close = fn(&Street);
    let remove: Close = |street| drop(street.open(&[]));
    let drain: Close = |street| street.listeners.stop_accepting();
    for close in [remove, drain] {
        let street = street(100);
        let address = street.open(&[settings("edge")])[0];
        let gate = street.shelf.gate.lock().expect("not poisoned");
        let _clients: Vec<_> = (0..20).map(|_| connect(address)).collect();
        std::thread::scope(|scope| {
            let closing = scope.spawn(|| close(&street));
            // The acceptor is held at the first of them.
            drop(gate);
            closing.join().expect("closes");
        });
        street.shelf.holds(20);
        assert!(TcpStream::connect(address).is_err(), "and nobody after them");
        assert!(street.shelf.clear().iter().all(|(_, accepted)| accepted.entrance.is_closed()));
    }
}

#[test]
fn whoever_connected_to_a_door_that_went_was_let_in() {
    for _ in 0..4 {
        let street = many();
        let address = street.open(&[at("edge", SocketAddr::from((HERE, 0)))])[0];
        let done = AtomicBool::new(false);
        let connected = std::thread::scope(|scope| {
            let clients = scope.spawn(|| hammer(address, &done));
            eventually("there is load", || street.shelf.forgotten.load(SeqCst) > 20);
            street.open(&[]);
            done.store(true, SeqCst);
            clients.join().expect("no panic")
        });
        assert_eq!(street.shelf.forgotten.load(SeqCst), connected);
    }
}

#[test]
fn two_names_swap_their_addresses_and_nobody_is_refused() {
    let street = many();
    let (here, there) = (free(), free());
    street.open(&[at("one", here), at("two", there)]);
    let done = AtomicBool::new(false);
    let connected: u64 = std::thread::scope(|scope| {
        let clients = [here, there].map(|address| {
            scope.spawn({
                let done = &done;
                move || hammer(address, done)
            })
        });
        for turn in 0..20 {
            let before = street.shelf.forgotten.load(SeqCst);
            let (one, two) = if turn % 2 == 0 { (there, here) } else { (here, there) };
            assert_eq!(street.open(&[at("one", one), at("two", two)]), [one, two]);
            eventually("both serve", || street.shelf.forgotten.load(SeqCst) > before + 20);
        }
        assert!(clients.iter().all(|client| !client.is_finished()), "somebody was refused");
        done.store(true, SeqCst);
        clients.into_iter().map(|client| client.join().expect("no panic")).sum()
    });
    eventually("everyone came in", || street.shelf.forgotten.load(SeqCst) == connected);
}

#[test]
fn a_moved_listener_is_at_its_new_address_before_it_leaves_the_old() {
    let street = street(100);
    let (here, there) = (free(), free());
    street.open(&[at("edge", here)]);
    let _before = connect(here);
    street.shelf.holds(1);
    assert_eq!(street.open(&[at("edge", there)]), [there]);
    assert!(TcpStream::connect(here).is_err());
    let _after = connect(there);
    street.shelf.holds(2);
    let taken = street.shelf.clear();
    let closed: Vec<_> = taken.iter().map(|(_, accepted)| accepted.entrance.is_closed()).collect();
    assert_eq!(closed, [true, false], "who came by the old address should leave");
    assert_eq!(taken[0].1.entrance.bound(), here, "and knows where it came in");
}

#[test]
fn a_listener_that_asks_for_more_keeps_its_socket_and_lets_the_others_go() {
    let place = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(vec!["edge.test".to_owned()]).expect("made");
    let (certificate, key) = (place.path().join("edge.pem"), place.path().join("edge.key"));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let client_ca = Some(certificate.clone());
    let with = |client_ca| {
        let certificates = vec![CertificateFiles { certificate: certificate.clone(), key: key.clone() }];
        Settings { tls: Some(TlsSettings { certificates, client_ca }), ..settings("edge") }
    };
    let street = street(100);
    let address = street.open(&[settings("edge")])[0];
    for (count, wanted) in [(1, with(None)), (2, with(client_ca)), (3, settings("edge"))] {
        let _client = connect(address);
        street.shelf.holds(count);
        assert_eq!(street.open(&[wanted]), [address], "port 0 is the same port for the same name");
    }
    let taken = street.shelf.clear();
    assert!(taken.iter().all(|(_, accepted)| accepted.entrance.is_closed()));
    let tls: Vec<_> = taken.iter().map(|(_, accepted)| accepted.terms.tls.is_some()).collect();
    assert_eq!(tls, [false, true, true], "each is served by the terms that it came under");
}

#[test]
fn a_change_that_is_not_made_leaves_everything_as_it_was() {
    let street = street(100);
    let (here, there) = (free(), free());
    street.open(&[at("edge", here)]);
    drop(street.listeners.prepare(&[at("edge", there)]).expect("it could be made"));
    let _client = connect(here);
    street.shelf.holds(1);
    assert!(TcpStream::connect(there).is_err());
    assert!(!street.shelf.clear()[0].1.entrance.is_closed());
}

#[test]
fn an_address_that_overlaps_one_in_use_says_whose_it_is_and_what_to_do() {
    let street = street(100);
    let here = free();
    street.open(&[at("edge", here)]);
    let everywhere = SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, here.port()));
    let errors = street.listeners.apply(&[at("wide", everywhere)]).expect_err("it is in use");
    assert!(matches!(&errors[..], [BindError::Overlaps { holder, .. }] if &**holder == "edge"), "{errors:?}");
    assert!(errors[0].to_string().contains("in two changes"));
    let _client = connect(here);
    street.shelf.holds(1);
}
