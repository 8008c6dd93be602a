//! A request's deadline holds whatever else its exchange waits for: not before its time, and soon after.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::{Behaviour, Origin, SynBlackHole, refused};
use crate::support::raw::get;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// How late the best of some tries may be. It is less than a core's tick, by which other waits are measured.
const LATE: Duration = Duration::from_millis(90);
const TRIES: u32 = 4;

/// Asks for what is never answered. Returns after how long it is told so.
fn wait_for_504(gateway: &Gateway, request: &str) -> Duration {
    let mut raw = gateway.connect();
    let started = Instant::now();
    let answer = raw.ask(request);
    assert_eq!((answer.status(), answer.reason()), (504, Some("timeout")));
    started.elapsed()
}

/// Asks several times, each at another moment between two ticks of the core.
fn comes_in_time(gateway: &Gateway, request: &str, timeout: Duration) {
    let tries: Vec<_> = (0..TRIES).map(|_| wait_for_504(gateway, request)).collect();
    assert!(tries.iter().all(|took| *took >= timeout), "{tries:?} for {timeout:?}");
    assert!(tries.iter().any(|took| *took < timeout + LATE), "{tries:?} for {timeout:?}");
}

fn with_timeout(backends: &[SocketAddr], timeout: &str, upstream: &str) -> Gateway {
    let route = format!("timeout = \"{timeout}\"");
    Gateway::start(&Config::new().workers(1).upstream("u", backends, upstream).route("r", "/", "u", &route))
}

#[test]
fn a_deadline_of_any_length_comes_at_its_time() {
    let origin = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let lengths = [50, 150, 210, 250, 700, 1500];
    let config = Config::new().workers(1).upstream("u", &[origin.address()], "");
    let config = lengths.iter().fold(config, |config, length| {
        config.route(&format!("r{length}"), &format!("/{length}/"), "u", &format!("timeout = \"{length}ms\""))
    });
    let gateway = Gateway::start(&config);
    thread::scope(|scope| {
        for length in lengths {
            let gateway = &gateway;
            let request = get(&format!("/{length}/"));
            scope.spawn(move || comes_in_time(gateway, &request, Duration::from_millis(length)));
        }
    });
    gateway.settles(Duration::from_secs(15));
}

#[test]
fn a_body_that_is_still_on_its_way_does_not_delay_a_deadline() {
    let never = Behaviour::AcceptsAndNeverAnswers;
    let http2 = Origin::http2(100);
    http2.switch(never);
    for (origin, protocol) in [(Origin::start(never), "http1"), (http2, "http2")] {
        let gateway = with_timeout(&[origin.address()], "800ms", &format!("protocol = \"{protocol}\""));
        let head = "POST / HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 1000000\r\n\r\n";
        let begun = format!("{head}{}", "x".repeat(100_000));
        comes_in_time(&gateway, &begun, Duration::from_millis(800));
    }
}

#[test]
fn neither_a_dial_nor_a_failed_try_delays_a_deadline() {
    let hole = SynBlackHole::start();
    let gateway = with_timeout(&[hole.address()], "600ms", "connect_timeout = \"5s\"");
    comes_in_time(&gateway, &get("/"), Duration::from_millis(600));
    // Half of the tries begin at the backend where nobody listens.
    let origin = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let gateway = with_timeout(&[refused(), origin.address()], "600ms", "");
    comes_in_time(&gateway, &get("/"), Duration::from_millis(600));
}
