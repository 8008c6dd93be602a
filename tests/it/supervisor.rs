//! What the service manager hears: over a real datagram socket, as systemd makes it.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::origins::Origin;
use crate::support::{PATIENCE, wait_for, wait_until};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    /// What it puts into `NOTIFY_SOCKET`.
    address: String,
    _place: TempDir,
}

impl Manager {
    fn with_path() -> Manager {
        let place = TempDir::new().expect("a temporary folder");
        let path = place.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        Manager { socket, address: path.display().to_string(), _place: place }.patient()
    }

    fn with_abstract_name() -> Manager {
        let place = TempDir::new().expect("a temporary folder");
        let name = format!("tidegate-test{}", place.path().display());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("bound");
        Manager { socket, address: format!("@{name}"), _place: place }.patient()
    }

    fn patient(self) -> Manager {
        self.socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        self
    }

    fn launch(&self) -> Launch {
        Launch::default().variable("NOTIFY_SOCKET", &self.address)
    }

    fn hears(&self) -> String {
        let mut message = [0; 4096];
        let read = self.socket.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..read]).into_owned()
    }

    /// The next message that is no sign of life.
    fn hears_news(&self) -> String {
        wait_for(PATIENCE, "there is news", || Some(self.hears()).filter(|message| message != "WATCHDOG=1\n"))
    }
}

/// The value of one word of a message.
fn value<'a>(message: &'a str, word: &str) -> Option<&'a str> {
    message.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix('='))
}

#[test]
fn the_service_manager_hears_of_start_reload_and_end() {
    for manager in [Manager::with_path(), Manager::with_abstract_name()] {
        let origin = Origin::well_behaved();
        let config =
            Config::simple(origin.address()).gateway("drain_delay = \"300ms\"\ndrain_timeout = \"20s\"");
        let mut gateway = Gateway::launch(&config, manager.launch());
        let ready = manager.hears_news();
        assert_eq!((value(&ready, "READY"), gateway.get("/").status()), (Some("1"), 200), "{ready}");
        assert_eq!(gateway.admin_get("/readyz").status(), 200);
        let status = value(&ready, "STATUS").expect("a line for people");
        assert!(status.contains(env!("CARGO_PKG_VERSION")), "{status}");
        assert!(status.contains(&format!("edge {}", gateway.edge())), "{status}");

        gateway.hup();
        let reloading = manager.hears_news();
        let since = value(&reloading, "MONOTONIC_USEC").and_then(|usec| usec.parse::<u64>().ok());
        assert_eq!((value(&reloading, "RELOADING"), since.is_some()), (Some("1"), true), "{reloading}");
        assert_eq!(value(&manager.hears_news(), "READY"), Some("1"), "and that it is over");

        gateway.write_text("not a configuration");
        let refused = manager.hears_news();
        assert!(value(&refused, "STATUS").is_some_and(|status| status.contains("refused")), "{refused}");
        gateway.hup();
        assert_eq!(value(&manager.hears_news(), "RELOADING"), Some("1"));
        let ready = manager.hears_news();
        assert_eq!(value(&ready, "READY"), Some("1"), "a refused file is no end of the service");
        assert!(ready.contains("refused"), "{ready}");

        gateway.term();
        let stopping = manager.hears_news();
        let more = value(&stopping, "EXTEND_TIMEOUT_USEC").and_then(|usec| usec.parse::<u64>().ok());
        assert_eq!(value(&stopping, "STOPPING"), Some("1"), "{stopping}");
        assert!(more.is_some_and(|usec| usec > 20_300_000), "longer than the drain: {stopping}");
        assert_eq!(gateway.exit(Duration::from_secs(10)).code(), Some(0));
    }
}

#[test]
fn the_watchdog_is_fed_at_half_of_its_patience_also_while_draining() {
    let manager = Manager::with_path();
    let origin = Origin::well_behaved();
    let config = Config::simple(origin.address()).gateway("drain_delay = \"2s\"");
    let mut gateway = Gateway::launch(&config, manager.launch().variable("WATCHDOG_USEC", "600000"));
    assert!(manager.hears_news().contains("READY=1"));
    let started = Instant::now();
    for _ in 0..4 {
        assert_eq!(manager.hears(), "WATCHDOG=1\n");
    }
    assert!(started.elapsed() >= Duration::from_millis(600), "not more often than needed");
    gateway.term();
    assert!(manager.hears_news().contains("STOPPING=1"));
    for _ in 0..3 {
        assert_eq!(manager.hears(), "WATCHDOG=1\n", "leaving is being alive");
    }
    gateway.exit(Duration::from_secs(10));
}

#[test]
fn a_service_manager_that_is_gone_or_reads_nothing_holds_up_no_start_and_no_end() {
    let silent = Manager::with_path();
    let addresses = ["/nowhere/notify".to_owned(), "@nobody".to_owned(), silent.address.clone()];
    for address in addresses {
        let origin = Origin::well_behaved();
        let config = Config::simple(origin.address()).gateway("drain_delay = \"0s\"");
        let launch = Launch::default().variable("NOTIFY_SOCKET", &address).variable("WATCHDOG_USEC", "20000");
        let mut gateway = Gateway::launch(&config, launch);
        wait_until(PATIENCE, "it serves", || gateway.serves("/"));
        gateway.term();
        assert_eq!(gateway.exit(Duration::from_secs(10)).code(), Some(0), "{address}");
    }
}

#[test]
fn the_service_manager_hears_of_an_applied_version_and_not_of_a_refused_one() {
    let manager = Manager::with_path();
    let origin = Origin::well_behaved();
    let config = Config::simple(origin.address());
    let gateway = Gateway::launch(&config, manager.launch());
    assert_eq!(value(&manager.hears_news(), "READY"), Some("1"));
    let apply = |config: &Config| {
        let text = config.render(&gateway.folder().join("state"));
        gateway.admin_post("/v1/versions?now=true", "", text)
    };
    let taken = format!("[[listeners]]\nname = \"more\"\naddress = \"{}\"\n", origin.address());
    assert_eq!(apply(&config.clone().text(&taken)).status(), 422, "whoever asked knows");
    let second = "[[listeners]]\nname = \"second\"\naddress = \"127.0.0.1:0\"\n";
    assert_eq!(apply(&config.text(second)).status(), 200);
    let status = manager.hears_news();
    assert!(value(&status, "STATUS").is_some_and(|status| status.contains("second 127.0.0.1:")), "{status}");
    assert!(status.contains(&gateway.hash()[..12]), "{status}");
}
