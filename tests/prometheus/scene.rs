//! A gateway at work for Prometheus to scrape: upstreams of every kind, traffic on all of them, and trouble when the
//! test says so.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin, refused};
use crate::support::tls::Authority;
use std::net::SocketAddr;
use std::time::Duration;

/// A check every 100 ms; one that comes late is no failure.
pub const CHECKED: &str = "health = { interval = \"100ms\", timeout = \"5s\", healthy = 1, unhealthy = 2 }";

/// Tried again and again, for longer than the test lasts.
const NEVER_OUT: &str = "ejection = { consecutive_failures = 1000 }";

/// The gateway, whom it asks, and who asks it.
pub struct Scene {
    pub gateway: Gateway,
    /// Two behind `orders`, of which one may die.
    orders: Vec<Origin>,
    _others: Vec<Origin>,
    _authority: Authority,
    loads: Vec<Load>,
}

impl Scene {
    /// All is well and everybody is served: twenty requests a second and route.
    pub fn well() -> Scene {
        let orders = vec![Origin::well_behaved(), Origin::well_behaved()];
        let slow = Origin::start(Behaviour::Delay(Duration::from_millis(30)));
        let others =
            vec![slow, Origin::well_behaved(), Origin::well_behaved(), Origin::start(Behaviour::Judges)];
        let authority = Authority::new();
        let pair = authority.server(&["edge.test", "127.0.0.1"]);
        let addresses: Vec<SocketAddr> = orders.iter().map(Origin::address).collect();
        let named = others[2].address().port();
        // On a busy machine answers take long, and that is not what this is about.
        let objective = "latency_objective = \"2s\"";
        let config = Config::new()
            .upstream("orders", &addresses, &format!("{CHECKED}\n{objective}"))
            .upstream(
                "narrow",
                &[others[0].address()],
                &format!("max_in_flight = 2\nqueue = {{ max_waiting = 2, max_wait = \"50ms\" }}\n{objective}"),
            )
            .upstream("fleet", &[others[1].address()], objective)
            .text(&format!(
                "[[upstreams]]\nname = \"named\"\nbackends = [{{ name = \"n\", address = \"localhost:{named}\" }}]\n{objective}"
            ))
            .upstream("judge", &[others[3].address()], objective)
            .upstream("flaky", &[others[1].address(), refused()], &format!("{NEVER_OUT}\n{objective}"))
            .text("[[auth]]\nname = \"session\"\nupstream = \"judge\"\npath = \"/verify\"\ntimeout = \"5s\"")
            .text(&format!(
                "[[listeners]]\nname = \"secure\"\naddress = \"127.0.0.1:0\"\ntls = {{ certificates = [{}] }}",
                pair.toml()
            ))
            .route("orders", "/orders", "orders", "")
            .route("narrow", "/narrow", "narrow", "")
            .route("fleet", "/fleet", "fleet", "")
            .route("named", "/named", "named", "")
            .route("flaky", "/flaky", "flaky", "")
            .route("guarded", "/guarded", "orders", "auth = \"session\"");
        let gateway = Gateway::start(&config);
        let every = Duration::from_millis(100);
        let paths = ["/orders", "/narrow", "/fleet", "/named", "/guarded"];
        let loads = paths.iter().map(|path| Load::paced(gateway.edge(), path, 2, every)).collect();
        Scene { gateway, orders, _others: others, _authority: authority, loads }
    }

    /// One of the two behind `orders` dies, more come to `narrow` than it has room for, `fleet` is ramped to a quarter
    /// of what its clients want, and somebody asks `flaky`, of whose two nobody is at one's address.
    pub fn trouble(&mut self) {
        self.orders.pop().expect("two").die();
        let edge = self.gateway.edge();
        self.loads.push(Load::paced(edge, "/narrow", 24, Duration::from_millis(20)));
        self.loads.push(Load::paced(edge, "/fleet", 8, Duration::from_millis(20)));
        self.loads.push(Load::paced(edge, "/flaky", 2, Duration::from_millis(100)));
        let ramp = ["ramp", "set", "fleet", "25", "--reference", "4", "--reason", "the test"];
        let output = self.gateway.cli(&ramp);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
