//! A core that does not keep up with its work refuses the lowest class and serves the highest, and says so.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::Origin;
use crate::support::raw::fetch;
use crate::support::tls::{Authority, handshake};
use crate::support::wait_until;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

/// For what takes the gateway some seconds of trouble, or of calm, on a machine that is shared.
const LONG: Duration = Duration::from_secs(25);

/// Clients that do nothing but shake hands: each hand costs the gateway an RSA signature, and them next to nothing.
const HANDS: usize = 16;

#[test]
fn a_core_that_drowns_in_handshakes_refuses_the_lowest_class_and_serves_the_highest() {
    let authority = Authority::new();
    let pair = authority.rsa_server("edge.test");
    let origin = Origin::well_behaved();
    let config = Config::new()
        .workers(1)
        .listener(&format!("tls = {{ certificates = [{}] }}", pair.toml()))
        .text("[[listeners]]\nname = \"clear\"\naddress = \"127.0.0.1:0\"\n")
        .upstream("u", &[origin.address()], "")
        .route("high", "/high", "u", "class = \"sheddable\"\nmax_in_flight = 64")
        .route("low", "/low", "u", "class = \"batch\"\nmax_in_flight = 64");
    let gateway = Gateway::start(&config);
    let (clear, edge) = (gateway.listener("clear"), gateway.listener("edge"));
    let client = authority.forgetful_client();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..HANDS {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    drop(handshake(edge, "edge.test", &client));
                }
            });
        }
        wait_until(LONG, "the lowest class is refused", || fetch(clear, "/low").reason() == Some("cpu"));
        let refused = fetch(clear, "/low");
        let high = fetch(clear, "/high");
        let status = gateway.status();
        over.store(true, Relaxed);
        assert_eq!(high.status(), 200, "the highest in use is served");
        if refused.status() == 503 {
            assert!(refused.get("retry-after").is_some());
        }
        let told = status["reasons"].to_string();
        assert!(told.contains("core 0 does not keep up") && told.contains("it refuses batch"), "{status:#}");
        assert_eq!(status["workers"][0]["closed_classes"][0], "batch");
    });
    let labels = [("upstream", "u"), ("class", "batch"), ("reason", "cpu")];
    assert!(gateway.metrics().value("tidegate_shed_total", &labels) >= 1.0);
    wait_until(LONG, "it is served again", || fetch(clear, "/low").status() == 200);
    assert_eq!(gateway.metrics().value("tidegate_worker_closed_classes", &[("worker", "0")]), 0.0);
    assert_eq!(
        gateway.metrics().value("tidegate_shed_total", &[("upstream", "u"), ("class", "sheddable")]),
        0.0
    );
    let log = gateway.log();
    assert!(log.contains("classes closed") && log.contains("classes opened"), "{log}");
}
