//! A change is whole or not at all: it takes effect for new requests at once, hurts none that runs, never
//! doubles a limit; and a bad one changes nothing and says so.

use crate::support::client::Http2;
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{Raw, get};
use crate::support::{PATIENCE, run, wait_until};
use crate::tunnels::{echoes, websocket};
use std::net::SocketAddr;
use std::time::Duration;

fn generation(n: usize, easy: SocketAddr, full: SocketAddr) -> Config {
    let mark = format!("response_headers = {{ set = {{ \"x-gen\" = \"{n}\" }} }}");
    Config::new()
        .upstream("easy", &[easy], "")
        .upstream("full", &[full], "max_in_flight = 6")
        .route("easy", "/easy", "easy", &mark)
        .route("full", "/full", "full", &format!("max_in_flight = 6\n{mark}"))
}

#[test]
fn two_hundred_swaps_under_load_fail_no_request_and_exceed_no_limit() {
    let easy = Origin::well_behaved();
    let full = Origin::start(Behaviour::Delay(Duration::from_millis(5)));
    let gateway = Gateway::start(&generation(0, easy.address(), full.address()));
    let with_room = Load::paced(gateway.edge(), "/easy", 4, Duration::from_millis(3));
    let without = Load::paced(gateway.edge(), "/full", 16, Duration::from_millis(2));
    for n in 1..=200 {
        gateway.write(&generation(n, easy.address(), full.address()));
        gateway.hup();
        let (n, before) = (n.to_string(), full.requests());
        wait_until(PATIENCE, "the new version serves", || gateway.get("/easy").get("x-gen") == Some(&n));
        wait_until(PATIENCE, "it has load", || full.requests() >= before + 5);
    }
    let (with_room, without) = (with_room.stop(), without.stop());
    with_room.only(&[200]);
    without.only(&[200, 503]);
    assert!(
        without.count(200) >= 1_000 && with_room.answers() > 300,
        "there was load: {}",
        with_room.answers()
    );
    assert!(full.peak() <= 6, "{} at once at the origin", full.peak());
    gateway.settles(Duration::from_secs(15));
    let metrics = gateway.metrics();
    assert_eq!(metrics.labels("tidegate_config_version", "hash").len(), 1, "replaced, not added");
    assert!(easy.accepted() < 100, "pools carry over: {} connections", easy.accepted());
}

#[test]
fn a_limit_carries_over_to_requests_that_began_before() {
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let config = |mark: &str| {
        Config::new().upstream("u", &[hung.address()], "max_in_flight = 5").route(
            "r",
            "/",
            "u",
            &format!("max_in_flight = 5\nrequest_headers = {{ set = {{ x-gen = \"{mark}\" }} }}"),
        )
    };
    let gateway = Gateway::start(&config("one"));
    let held: Vec<Raw> = gateway.ask("/", 5);
    hung.holds(5);
    gateway.change(&config("two"));
    for _ in 0..5 {
        assert_eq!(gateway.get("/").status(), 503, "a swap never doubles a limit");
    }
    assert_eq!(hung.peak(), 5);
    drop(held);
}

#[test]
fn a_request_finishes_on_the_version_it_began_with() {
    let slow = Origin::start(Behaviour::Delay(Duration::from_millis(800)));
    let mark = |n: &str| format!("response_headers = {{ set = {{ \"x-gen\" = \"{n}\" }} }}");
    let config = |n: &str| Config::new().upstream("u", &[slow.address()], "").route("r", "/r", "u", &mark(n));
    let gateway = Gateway::start(&config("one"));
    let mut raw = gateway.connect();
    raw.send(get("/r"));
    slow.holds(1);
    let gone = Config::new().upstream("u", &[slow.address()], "").route("other", "/other", "u", "");
    gateway.change(&gone);
    assert_eq!(gateway.get("/r").status(), 404, "the removed route is gone for new requests");
    let answer = raw.answer(false);
    assert_eq!(
        (answer.status(), answer.get("x-gen")),
        (200, Some("one")),
        "and drains for the one that runs"
    );
    assert_eq!(raw.ask(get("/r")).status(), 404, "a kept connection sees the new version");
}

#[test]
fn a_changed_file_is_noticed_without_a_signal() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let before = gateway.status()["version"]["number"].as_u64().expect("a number");
    gateway.change(&Config::simple(origin.address()).route("more", "/more", "u", ""));
    assert!(gateway.status()["version"]["number"].as_u64() > Some(before));
    assert_eq!(gateway.metrics().value("tidegate_config_last_apply_successful", &[]), 1.0);
}

#[test]
fn the_same_text_again_is_no_change() {
    let origin = Origin::well_behaved();
    let config = Config::simple(origin.address());
    let gateway = Gateway::start(&config);
    let before = gateway.status()["version"].clone();
    gateway.write(&config);
    gateway.hup();
    // A real change after it tells that the file without one has been looked at.
    let more = Config::simple(origin.address()).route("more", "/more", "u", "");
    gateway.change(&more);
    assert_eq!(gateway.status()["version"]["number"].as_u64(), before["number"].as_u64().map(|n| n + 1));
}

#[test]
fn a_bad_file_changes_nothing_and_says_so() {
    let origin = Origin::well_behaved();
    let good = Config::simple(origin.address());
    let gateway = Gateway::start(&good);
    let before = gateway.hash();
    let bad = good.render(gateway.folder()).replace("path_prefix", "path_prefx");
    gateway.write_text(&bad);
    gateway.hup();
    wait_until(PATIENCE, "the refusal shows in the metric", || {
        gateway.metrics().get("tidegate_config_last_apply_successful", &[]) == Some(0.0)
    });
    assert_eq!(gateway.hash(), before);
    assert_eq!(gateway.get("/").status(), 200);
    let ready = gateway.admin_get("/readyz");
    assert_eq!(ready.status(), 200, "a refused configuration is no reason to take it out");
    assert!(
        ready.json()["reasons"].as_array().is_some_and(|reasons| !reasons.is_empty()),
        "{}",
        ready.text()
    );
    wait_until(PATIENCE, "the log names the mistake", || gateway.log().contains("path_prefx"));
    gateway.write(&good.route("fixed", "/fixed", "u", ""));
    wait_until(PATIENCE, "a corrected file is taken", || {
        gateway.metrics().get("tidegate_config_last_apply_successful", &[]) == Some(1.0)
    });
    assert_ne!(gateway.hash(), before);
}

#[test]
fn a_listener_that_cannot_be_bound_leaves_everything_as_it_was() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let before = gateway.hash();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let second = format!("[[listeners]]\nname = \"second\"\naddress = \"{address}\"\n");
    gateway.write(
        &Config::simple(origin.address()).route("new", "/new", "u", "methods = [\"PUT\"]").text(&second),
    );
    wait_until(PATIENCE, "the refusal shows in the metric", || {
        gateway.metrics().get("tidegate_config_last_apply_successful", &[]) == Some(0.0)
    });
    assert_eq!(gateway.hash(), before);
    assert_eq!(gateway.get("/new").status(), 200, "no part of the new version is active");
}

#[test]
fn websockets_and_grpc_streams_survive_a_swap() {
    let (tunnel, grpc) = (Origin::start(Behaviour::UpgradesAndEchoes), Origin::http2(100));
    let config = Config::new()
        .upstream("tunnel", &[tunnel.address()], "")
        .upstream("grpc", &[grpc.address()], "protocol = \"http2\"")
        .route("tunnel", "/chat", "tunnel", "")
        .route("grpc", "/echo.Echo", "grpc", "");
    let gateway = Gateway::start(&config);
    let mut socket = websocket(&gateway, "/chat");
    echoes(&mut socket, b"before");
    run(async {
        let mut client = Http2::connect(gateway.edge()).await;
        let request = client.grpc_request("/echo.Echo/Bidi");
        let mut call = client.open(request).await.expect("a call");
        assert_eq!(&call.exchange(b"before").await[5..], b"before");
        for n in 0..5 {
            // Upstreams stay, are changed, and at last are gone from the file.
            let lines = format!("max_in_flight = {}", 10 + n);
            let next =
                Config::new().upstream("other", &[tunnel.address()], &lines).route("o", "/o", "other", "");
            gateway.change(&if n < 4 { config.clone().text(&format!("# {n}")) } else { next });
            assert_eq!(&call.exchange(b"after").await[5..], b"after");
        }
        assert_eq!(call.finish().await["grpc-status"], "0");
    });
    echoes(&mut socket, b"after");
    drop(socket);
    wait_until(Duration::from_secs(15), "the tunnel's end is noticed", || tunnel.in_flight() == 0);
}

#[test]
fn a_changed_backend_gets_the_new_requests() {
    let (old, new) = (Origin::well_behaved(), Origin::well_behaved());
    let gateway = Gateway::start(&Config::simple(old.address()));
    let mut raw = gateway.connect();
    assert_eq!(raw.ask(get("/")).status(), 200);
    gateway.change(&Config::simple(new.address()));
    let before = old.requests();
    for _ in 0..20 {
        assert_eq!(raw.ask(get("/")).status(), 200);
    }
    assert_eq!((old.requests(), new.requests()), (before, 20));
    wait_until(Duration::from_secs(15), "idle connections to what was removed are closed", || {
        old.open() == 0
    });
}
