//! A drain loses no request of a client that listens: HTTP/1 clients that obey `Connection: close`, HTTP/2
//! clients that obey GOAWAY, and whoever was at the door when it closed.

use crate::support::client::Http2;
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{End, Raw, get};
use crate::support::tls::{self, Authority};
use crate::support::{PATIENCE, run, wait_until};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

fn draining(delay: &str, origin: &Origin) -> Config {
    Config::simple(origin.address()).gateway(&format!("drain_delay = \"{delay}\"\ndrain_timeout = \"20s\""))
}

/// What an HTTP/2 client saw until nobody listened any more.
#[derive(Debug, Default)]
struct Seen {
    answers: usize,
    connections: usize,
    lost: Vec<String>,
}

/// Asks all the time, on a new connection when the gateway said goodbye, until it is refused one.
async fn obeys_goaway(edge: SocketAddr) -> Seen {
    let mut seen = Seen::default();
    while let Ok(socket) = tokio::net::TcpStream::connect(edge).await {
        seen.connections += 1;
        let mut client = Http2::on(socket).await;
        loop {
            // What is refused here was never sent: the client knows that it must go elsewhere.
            if client.ready().await.is_err() {
                break;
            }
            match client.get("/").await {
                Ok(answer) if answer.status == 200 => seen.answers += 1,
                Ok(answer) => seen.lost.push(format!("status {}", answer.status)),
                // Handed back unsent: GOAWAY came in between.
                Err(error) if error.is_canceled() => break,
                Err(error) => seen.lost.push(format!("{error:?}")),
            }
        }
    }
    seen
}

#[test]
fn a_drain_under_load_loses_no_request_of_clients_that_listen() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_millis(3)));
    let mut gateway = Gateway::start(&draining("500ms", &origin));
    let edge = gateway.edge();
    let before = Load::paced(edge, "/", 6, Duration::from_millis(2));
    let http2: Vec<_> = (0..3).map(|_| std::thread::spawn(move || run(obeys_goaway(edge)))).collect();
    wait_until(PATIENCE, "there is load", || origin.requests() > 200);
    gateway.term();
    assert_eq!(gateway.exit(Duration::from_secs(20)).code(), Some(0));
    let refused = before.stop();
    let lost: Vec<_> = refused.failures.iter().filter(|why| !why.starts_with("connect: ")).collect();
    assert!(lost.is_empty(), "{} lost, first {:?}", lost.len(), lost[0]);
    assert_eq!(refused.count(200), refused.answers());
    for client in http2 {
        let seen = client.join().expect("a client does not panic");
        assert!(seen.lost.is_empty(), "{:?}", seen.lost);
        assert!(seen.answers > 20 && seen.connections >= 2, "it was told to leave: {seen:?}");
    }
}

#[test]
fn a_connection_that_was_kept_may_be_used_once_more_while_a_drain_still_accepts() {
    let origin = Origin::well_behaved();
    let mut gateway = Gateway::start(&draining("3s", &origin));
    let mut kept = gateway.connect();
    assert_eq!(kept.ask(get("/")).get("connection"), None);
    gateway.term();
    wait_until(PATIENCE, "it drains", || gateway.admin_get("/readyz").status() == 503);
    let announced = Instant::now();
    // Longer than a quiet connection is given once accepting has stopped.
    kept.patience(Duration::from_millis(1_200));
    assert_eq!(kept.head().err(), Some(End::Open), "not closed under the client");
    let answer = kept.ask(get("/"));
    assert_eq!((answer.status(), answer.get("connection")), (200, Some("close")));
    assert!(announced.elapsed() < Duration::from_secs(3), "the delay is not over");
    assert_eq!(kept.end(PATIENCE), End::Eof);
    let mut late = gateway.connect();
    assert_eq!(late.ask(get("/")).status(), 200, "and accepting goes on");
    gateway.exit(Duration::from_secs(10));
}

#[test]
fn quiet_connections_and_streams_are_closed_in_order_when_accepting_stops() {
    let origin = Origin::well_behaved();
    let mut gateway = Gateway::start(&draining("100ms", &origin));
    let mut kept = gateway.connect();
    assert_eq!(kept.ask(get("/")).status(), 200);
    let mut never_asked = gateway.connect();
    let edge = gateway.edge();
    let quiet = std::thread::spawn(move || {
        run(async move {
            let mut asked = Http2::connect(edge).await;
            assert_eq!(asked.get("/").await.expect("an answer").status, 200);
            let silent = Http2::connect(edge).await;
            (asked.ended().await, silent.ended().await)
        })
    });
    wait_until(PATIENCE, "all are there", || {
        gateway.metrics().value("tidegate_connections", &[("listener", "edge")]) == 4.0
    });
    gateway.term();
    let told = Instant::now();
    assert_eq!((kept.end(PATIENCE), never_asked.end(PATIENCE)), (End::Eof, End::Eof));
    assert_eq!(quiet.join().expect("no panic"), (true, true), "GOAWAY, and an orderly end");
    assert_eq!(gateway.exit(Duration::from_secs(10)).code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(8), "nobody waited for them: {:?}", told.elapsed());
}

#[test]
fn requests_that_came_together_are_all_answered_and_the_last_says_close() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_millis(200)));
    let mut gateway = Gateway::start(&draining("200ms", &origin));
    let mut pipelined = gateway.connect();
    pipelined.send(get("/").repeat(4));
    origin.holds(1);
    gateway.term();
    let answers: Vec<_> = (0..4).map(|_| pipelined.answer(false)).collect();
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(answers[3].get("connection"), Some("close"));
    assert_eq!(pipelined.end(PATIENCE), End::Eof);
    gateway.exit(Duration::from_secs(10));
}

#[test]
fn a_handshake_under_way_when_accepting_stops_is_finished_and_its_request_answered() {
    let origin = Origin::well_behaved();
    let authority = Authority::new();
    let pair = authority.server(&["edge.test"]);
    let config = draining("0s", &origin).listener(&format!("tls = {{ certificates = [{}] }}", pair.toml()));
    let mut gateway = Gateway::start(&config);
    let edge = gateway.edge();
    let socket = TcpStream::connect(edge).expect("accepted");
    wait_until(PATIENCE, "it is there", || {
        gateway.metrics().value("tidegate_connections", &[("listener", "edge")]) == 1.0
    });
    gateway.term();
    wait_until(PATIENCE, "accepting has stopped", || {
        TcpStream::connect(edge).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    let config = authority.client_config(&["http/1.1"], None);
    let stream = tls::handshake_over(socket, "edge.test", &config).expect("the handshake goes on");
    let mut raw = Raw::over(stream.sock.try_clone().expect("a socket"), Box::new(stream)).expect("options");
    let answer = raw.ask(get("/"));
    assert_eq!((answer.status(), answer.get("connection")), (200, Some("close")));
    assert_eq!(gateway.exit(Duration::from_secs(15)).code(), Some(0));
}
