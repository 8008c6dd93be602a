//! A request's deadline holds whatever else its exchange waits for: not before its time, and soon after.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::exchange::header_seen;
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

#[test]
fn a_backend_that_floods_interim_answers_does_not_delay_a_deadline() {
    let origin = Origin::start(Behaviour::FloodsHints(Duration::from_secs(8)));
    let gateway = with_timeout(&[origin.address()], "600ms", "");
    let mut raw = gateway.connect();
    let started = Instant::now();
    raw.send(get("/"));
    let last = (0..1_000_000).find_map(|_| raw.head().ok().filter(|head| head.status != 103));
    assert_eq!(last.map(|head| head.status), Some(504));
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
}

/// One route over a trusted proxy's connection, or a stranger's.
fn behind(origin: &Origin, trusted: bool) -> Gateway {
    let proxies = if trusted { "trusted_proxies = [\"127.0.0.1/32\"]" } else { "" };
    let config = Config::new().workers(1).gateway(proxies).upstream("u", &[origin.address()], "");
    Gateway::start(&config.route("r", "/", "u", "timeout = \"5s\""))
}

fn with_deadline(deadline: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: edge.test\r\nx-request-deadline: {deadline}\r\n\r\n")
}

#[test]
fn a_trusted_proxys_deadline_binds_and_is_passed_on_less_what_passed_here() {
    let origin = Origin::well_behaved();
    let gateway = behind(&origin, true);
    for (said, most) in [("1500", 1_500), ("1.5s", 1_500), ("900ms", 900), ("60s", 5_000)] {
        let echo = gateway.connect().ask(with_deadline(said)).json();
        let left = header_seen(&echo, "x-request-deadline").and_then(|left| left.parse::<u64>().ok());
        let left = left.unwrap_or_else(|| panic!("what is left, in {echo}"));
        assert!((1..most).contains(&left) || (left == most), "{left} of {said}");
    }
    let echo = gateway.get("/x").json();
    assert_eq!(header_seen(&echo, "x-request-deadline"), None, "nobody asked for one");
    let echo = gateway.connect().ask(with_deadline("soon")).json();
    assert_eq!(header_seen(&echo, "x-request-deadline"), None, "what cannot be read does not pass");
    origin.switch(Behaviour::AcceptsAndNeverAnswers);
    comes_in_time(&gateway, &with_deadline("300ms"), Duration::from_millis(300));
    let failed = [("upstream", "u"), ("outcome", "failed")];
    assert_eq!(
        gateway.metrics().value("tidegate_backend_requests_total", &failed),
        0.0,
        "nor is it to blame"
    );
}

#[test]
fn what_passes_in_line_is_off_the_deadline_that_a_backend_sees() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_millis(200)));
    let config = Config::new()
        .workers(1)
        .gateway("trusted_proxies = [\"127.0.0.1/32\"]")
        .upstream("u", &[origin.address()], "max_in_flight = 1\nqueue = { max_wait = \"2s\" }")
        .route("r", "/", "u", "timeout = \"5s\"");
    let gateway = Gateway::start(&config);
    let mut first = gateway.connect();
    first.send(get("/first"));
    origin.holds(1);
    let started = Instant::now();
    let echo = gateway.connect().ask(with_deadline("4000")).json();
    let left = header_seen(&echo, "x-request-deadline").and_then(|left| left.parse::<u64>().ok());
    let left = left.unwrap_or_else(|| panic!("what is left, in {echo}"));
    // It waited for what was left of the first's time, and was answered after its own.
    let waited = started.elapsed().saturating_sub(Duration::from_millis(200)).as_millis() as u64;
    assert!(left <= 4_000 - waited.min(100) && left + 3_000 > 4_000, "{left} after {waited} ms in line");
}

#[test]
fn a_request_whose_deadline_passes_in_line_never_goes_out() {
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let config = Config::new()
        .workers(1)
        .gateway("trusted_proxies = [\"127.0.0.1/32\"]")
        .upstream("u", &[hung.address()], "max_in_flight = 1\nqueue = { max_wait = \"2s\" }")
        .route("r", "/", "u", "timeout = \"5s\"");
    let gateway = Gateway::start(&config);
    let held = gateway.ask("/held", 1);
    hung.holds(1);
    let started = Instant::now();
    let answer = gateway.connect().ask(with_deadline("300ms"));
    assert!(matches!(answer.status(), 503 | 504), "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "it waited for its deadline, not for its turn");
    drop(held);
    gateway.settles(Duration::from_secs(15));
    assert_eq!(hung.requests(), 1);
}

#[test]
fn a_deadline_that_is_over_when_it_arrives_costs_the_backend_nothing() {
    let origin = Origin::well_behaved();
    let gateway = behind(&origin, true);
    for over in ["0", "0ms", "-20"] {
        let answer = gateway.connect().ask(with_deadline(over));
        assert_eq!((answer.status(), answer.reason()), (504, Some("timeout")), "{over}");
    }
    let grpc = "POST /a.B/C HTTP/1.1\r\nHost: edge.test\r\nContent-Type: application/grpc\r\n\
                Content-Length: 0\r\ngrpc-timeout: 0m\r\n\r\n";
    let answer = gateway.connect().ask(grpc);
    assert_eq!((answer.status(), answer.get("grpc-status")), (200, Some("4")));
    assert_eq!((origin.accepted(), origin.requests()), (0, 0));
    let failed = [("upstream", "u"), ("outcome", "failed")];
    assert_eq!(gateway.metrics().value("tidegate_backend_requests_total", &failed), 0.0);
}

#[test]
fn a_strangers_deadline_is_neither_believed_nor_passed_on() {
    let origin = Origin::well_behaved();
    let gateway = behind(&origin, false);
    let answer = gateway.connect().ask(with_deadline("0"));
    assert_eq!(answer.status(), 200);
    assert_eq!(header_seen(&answer.json(), "x-request-deadline"), None);
    let alias =
        "GET /x HTTP/1.1\r\nHost: edge.test\r\nx_request_deadline: 1\r\nx_tidegate_attempt: 1\r\n\r\n";
    let echo = gateway.connect().ask(alias).json();
    assert_eq!(header_seen(&echo, "x_request_deadline").or(header_seen(&echo, "x_tidegate_attempt")), None);
}

#[test]
fn a_grpc_timeout_is_passed_on_less_what_passed_here_and_not_shortened_by_the_route() {
    let origin = Origin::well_behaved();
    let gateway = behind(&origin, false);
    for (said, most) in [("900m", 900_000), ("2S", 2_000_000), ("30S", 30_000_000)] {
        let call = format!(
            "POST /a.B/C HTTP/1.1\r\nHost: edge.test\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\
             grpc-timeout: {said}\r\n\r\n"
        );
        let echo = gateway.connect().ask(call).json();
        let left =
            header_seen(&echo, "grpc-timeout").and_then(|left| left.strip_suffix('u')?.parse::<u64>().ok());
        let left = left.unwrap_or_else(|| panic!("microseconds in {echo}"));
        assert!(left < most && left + 1_000_000 > most, "{left} of {said}");
    }
}
