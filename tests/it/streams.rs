//! Long and quiet answers, and WebSockets: thousands of them take no request's room, have bounds of their own,
//! and are told when the process leaves.

use crate::support::client::Http2;
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{Answer, End, Raw, get};
use crate::support::{PATIENCE, run, wait_until};
use crate::tunnels::{CLOSES, GOING_AWAY, echoes, handshake, websocket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use std::time::{Duration, Instant};

/// A stream of events: its head and the first bytes have come, and then it is silent.
fn listen(gateway: &Gateway, path: &str) -> Raw {
    let mut raw = gateway.connect();
    raw.send(get(path));
    assert_eq!(raw.head().expect("an answer begins").status, 200);
    assert_eq!(raw.exactly(10).expect("the first event"), b"0123456789");
    raw
}

/// A route at its cap beside a streaming one, on the same upstream and backend.
fn beside(origin: &Origin, upstream: &str) -> Config {
    Config::new()
        .upstream("u", &[origin.address()], &format!("max_in_flight = 8\n{upstream}"))
        .route("orders", "/orders", "u", "max_in_flight = 8")
        .route("events", "/events", "u", "streaming = true")
}

/// Clients of `/orders`, exactly as many as may be in flight: each request is served.
fn the_cap_is_all_theirs(gateway: &Gateway, origin: &Origin) {
    let before = origin.requests();
    let load = Load::closed(gateway.edge(), "/orders", 8);
    wait_until(PATIENCE, "there was load", || origin.requests() > before + 400);
    load.stop().only(&[200]);
}

/// As many sockets as two thousand tunnels take on our side, or what a low hard limit allows.
fn tunnels_that_fit() -> usize {
    let hard = getrlimit(Resource::Nofile).maximum;
    // Refused only where it is not allowed to be raised; then what there is decides.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
    let ours = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // Two handles of each client and one of the origin; half is left to the tests beside this one.
    let fit = usize::try_from(ours / 2 / 3).unwrap_or(usize::MAX).min(2_000);
    if fit < 2_000 {
        println!("only {fit} tunnels: the hard limit of open files is {ours}");
    }
    fit
}

#[test]
fn two_thousand_idle_websockets_do_not_touch_a_route_at_its_cap() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let gateway = Gateway::start(&beside(&origin, "max_streams = 2500"));
    let tunnels = tunnels_that_fit();
    let mut idle: Vec<Raw> = (0..tunnels).map(|_| websocket(&gateway, "/orders")).collect();
    let metrics = gateway.metrics();
    let backend = [("upstream", "u"), ("backend", "u0")];
    assert_eq!(metrics.value("tidegate_streams", &[]), tunnels as f64);
    assert_eq!(metrics.value("tidegate_backend_streams", &backend), tunnels as f64);
    assert_eq!(metrics.value("tidegate_backend_streams_limit", &backend), 2_500.0);
    assert_eq!(metrics.value("tidegate_upstream_inflight", &[("upstream", "u")]), 0.0);
    origin.switch(Behaviour::Delay(Duration::from_millis(2)));
    the_cap_is_all_theirs(&gateway, &origin);
    idle.iter_mut().step_by(97).for_each(|raw| echoes(raw, b"\x82\x05still"));
}

#[test]
fn five_hundred_event_streams_do_not_touch_a_route_at_its_cap() {
    let origin = Origin::start(Behaviour::StallsAfterHeaders);
    let gateway = Gateway::start(&beside(&origin, ""));
    let streams: Vec<Raw> = (0..500).map(|_| listen(&gateway, "/events")).collect();
    let status = gateway.status();
    assert_eq!((&status["streams"], &status["max_streams"]), (&json!(500), &json!(8192)));
    assert_eq!((&status["in_flight"], &status["upstreams"][0]["in_flight"]), (&json!(0), &json!(0)));
    let backend = &gateway.upstreams()[0]["backends"][0];
    assert_eq!((&backend["streams"], &backend["max_streams"]), (&json!(500), &json!(1000)));
    let screen = String::from_utf8(gateway.cli(&["status"]).stdout).expect("text");
    assert!(screen.contains("streams 500 of 8192"), "{screen}");

    origin.switch(Behaviour::Delay(Duration::from_millis(2)));
    the_cap_is_all_theirs(&gateway, &origin);

    // And the other way round: a gate without room turns no stream away.
    origin.switch(Behaviour::AcceptsAndNeverAnswers);
    let held = gateway.ask("/orders", 8);
    origin.holds(508);
    assert_eq!(gateway.get("/orders").status(), 503);
    origin.switch(Behaviour::StallsAfterHeaders);
    drop((listen(&gateway, "/events"), held, streams));
    wait_until(Duration::from_secs(20), "every stream's place is free", || {
        gateway.metrics().get("tidegate_backend_streams", &[]) == Some(0.0)
    });
    assert_eq!(gateway.status()["streams"], 0);
    gateway.settles(Duration::from_secs(15));
}

fn is_refused(answer: &Answer, reason: &str) {
    assert_eq!((answer.status(), answer.reason()), (503, Some(reason)));
    let seconds: u32 = answer.get("retry-after").expect("when to come back").parse().expect("whole seconds");
    assert!((1..=30).contains(&seconds), "{seconds}");
}

#[test]
fn streams_are_bounded_at_the_backend_and_in_the_process_and_never_wait() {
    let origin = Origin::start(Behaviour::StallsAfterHeaders);
    let config = beside(&origin, "max_streams = 3\nqueue = { max_waiting = 100, max_wait = \"20s\" }");
    let gateway = Gateway::start(&config.clone().gateway("max_in_flight_streams = 5"));
    let mut open: Vec<Raw> = (0..3).map(|_| listen(&gateway, "/events")).collect();
    let started = Instant::now();
    is_refused(&gateway.get("/events"), "backend_limit");
    is_refused(&gateway.connect().ask(handshake("/events", "websocket")), "backend_limit");
    is_refused(&gateway.connect().ask(handshake("/orders", "websocket")), "backend_limit");
    assert!(started.elapsed() < Duration::from_secs(2), "at once: {:?}", started.elapsed());
    assert_eq!(origin.peak(), 3);
    assert_eq!(gateway.sheds("u"), 3.0);
    drop(open.pop());
    wait_until(PATIENCE, "a place is free again", || origin.in_flight() == 2);
    wait_until(PATIENCE, "and can be taken", || gateway.status()["streams"] == 2);
    open.push(listen(&gateway, "/events"));

    gateway.change(&config.gateway("max_in_flight_streams = 3"));
    is_refused(&gateway.get("/events"), "process_limit");
    assert_eq!(open.len(), 3);
}

#[test]
fn websockets_fill_every_backend_before_one_is_refused() {
    for route in ["", "streaming = true"] {
        let origins = [0, 1, 2].map(|_| Origin::start(Behaviour::UpgradesAndEchoes));
        let addresses = [0, 1, 2].map(|n: usize| origins[n].address());
        let config = Config::new().upstream("u", &addresses, "max_streams = 4").route("r", "/", "u", route);
        let gateway = Gateway::start(&config);
        let mut open: Vec<Raw> = (0..12).map(|_| websocket(&gateway, "/chat")).collect();
        is_refused(&gateway.connect().ask(handshake("/chat", "websocket")), "backend_limit");
        assert!(origins.iter().all(|origin| origin.in_flight() == 4), "each has its share");
        open.iter_mut().for_each(|raw| echoes(raw, b"\x82\x02hi"));
    }
}

#[test]
fn a_websocket_on_a_streaming_route_needs_no_room_in_the_gate() {
    let origin = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let gateway = Gateway::start(&beside(&origin, ""));
    let held = gateway.ask("/orders", 8);
    origin.holds(8);
    origin.switch(Behaviour::UpgradesAndEchoes);
    let mut raw = websocket(&gateway, "/events");
    echoes(&mut raw, b"\x82\x02hi");
    drop(held);
}

#[test]
fn asking_for_an_upgrade_is_no_way_around_the_gate() {
    let origin = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let gateway = Gateway::start(&beside(&origin, "queue = { max_waiting = 0 }"));
    let mut asked: Vec<Raw> = (0..20).map(|_| gateway.connect()).collect();
    asked.iter_mut().for_each(|raw| raw.send(handshake("/orders", "websocket")));
    origin.holds(8);
    wait_until(PATIENCE, "the others are refused", || gateway.sheds("u") == 12.0);
    assert_eq!(origin.peak(), 8, "until the backend agrees it is a request like any other");
}

#[test]
fn the_place_of_a_stream_is_kept_while_the_backend_goes_on() {
    let origin = Origin::start(Behaviour::DripsOneByteASecond);
    let gateway = Gateway::start(&beside(&origin, "max_streams = 10"));
    let leaves: Vec<Raw> = (0..5)
        .map(|_| {
            let mut raw = gateway.connect();
            raw.send(get("/events"));
            assert_eq!(raw.head().expect("an answer begins").status, 200);
            raw
        })
        .collect();
    leaves.into_iter().for_each(Raw::abort);
    let backend = [("upstream", "u"), ("backend", "u0")];
    let lingering = || gateway.metrics().value("tidegate_stream_zombies", &[("upstream", "u")]);
    wait_until(PATIENCE, "their places are kept", || lingering() == 5.0);
    assert_eq!(gateway.metrics().value("tidegate_backend_streams", &backend), 5.0);
    origin.switch(Behaviour::WellBehaved);
    assert_eq!(gateway.get("/orders").status(), 200, "whoever leaves a stream has aborted no request");
    assert_eq!(gateway.get("/events").status(), 200);
    wait_until(Duration::from_secs(20), "but not for ever", || lingering() == 0.0);
    assert_eq!(gateway.metrics().value("tidegate_backend_streams", &backend), 0.0);
}

fn draining(origin: &Origin, timeout: &str, route: &str) -> Gateway {
    let config = Config::new().gateway(&format!("drain_delay = \"0s\"\ndrain_timeout = \"{timeout}\""));
    Gateway::start(&config.upstream("u", &[origin.address()], "").route("r", "/", "u", route))
}

#[test]
fn a_websocket_is_told_when_the_process_leaves() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let mut gateway = draining(&origin, "4s", "");
    let mut raw = websocket(&gateway, "/chat");
    echoes(&mut raw, b"\x81\x02hi");
    gateway.term();
    assert_eq!(raw.exactly(4).expect("a last word"), GOING_AWAY);
    raw.send(CLOSES);
    assert_eq!(raw.end(PATIENCE), End::Eof);
    assert!(gateway.exit(PATIENCE).success());
    let line = gateway.logged("the tunnel has its line", |line| line["status"] == 101);
    assert_eq!((&line["reason"], &line["end"]), (&json!("draining"), &json!("complete")), "{line}");
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&json!(4 + 8), &json!(4 + 8)), "{line}");
}

#[test]
fn nothing_is_put_inside_a_frame() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let gateway = draining(&origin, "10s", "");
    let mut raw = websocket(&gateway, "/chat");
    // Half of a frame, in both directions: the origin echoes.
    echoes(&mut raw, b"\x82\x0ahalf ");
    gateway.term();
    // Everybody is told within half of the drain.
    raw.patience(Duration::from_millis(5_500));
    assert_eq!(raw.exactly(1).err(), Some(End::Open), "nothing comes in the middle of a frame");
    raw.patience(PATIENCE);
    raw.send(b"whole");
    assert_eq!(raw.exactly(5).expect("the rest of the frame"), b"whole");
    assert_eq!(raw.exactly(4).expect("then the last word"), GOING_AWAY);
}

#[test]
fn a_websocket_in_the_middle_of_a_frame_is_cut_at_the_drains_end() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let mut gateway = draining(&origin, "1s", "");
    let mut raw = websocket(&gateway, "/chat");
    echoes(&mut raw, b"\x82\x7f");
    gateway.term();
    assert_ne!(raw.end(PATIENCE), End::Open);
    assert!(gateway.exit(PATIENCE).success());
    let line = gateway.logged("the tunnel has its line", |line| line["status"] == 101);
    assert_eq!((&line["reason"], &line["end"]), (&json!("draining"), &json!("cut")), "{line}");
}

#[test]
fn websockets_are_not_all_told_at_once() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let gateway = draining(&origin, "8s", "");
    let mut tunnels: Vec<Raw> = (0..40).map(|_| websocket(&gateway, "/chat")).collect();
    tunnels.iter_mut().for_each(|raw| raw.patience(Duration::from_millis(1)));
    gateway.term();
    let mut told: Vec<Instant> = Vec::new();
    wait_until(PATIENCE, "all are told", || {
        tunnels.retain_mut(|raw| match raw.exactly(4) {
            Ok(word) => {
                assert_eq!(word, GOING_AWAY);
                told.push(Instant::now());
                false
            }
            Err(end) => {
                assert_eq!(end, End::Open);
                true
            }
        });
        tunnels.is_empty()
    });
    let spread = *told.last().expect("forty") - told[0];
    assert!(spread > Duration::from_secs(1), "clients come back in {spread:?}");
}

#[test]
fn a_websocket_is_told_when_its_time_is_over() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let gateway = draining(&origin, "1s", "max_duration = \"700ms\"");
    let mut raw = websocket(&gateway, "/chat");
    assert_eq!(raw.exactly(4).expect("a last word"), GOING_AWAY);
    raw.send(CLOSES);
    assert_eq!(raw.end(PATIENCE), End::Eof);
    // In the middle of a frame, it is cut a moment later.
    let mut raw = websocket(&gateway, "/chat");
    raw.send(b"\x82\x7f");
    assert_ne!(raw.end(PATIENCE), End::Open);
    wait_until(PATIENCE, "both have their lines", || {
        let log = gateway.access_log();
        log.iter().filter(|line| line["reason"] == "timeout" && line["end"] == "cut").count() == 2
    });
    gateway.settles(PATIENCE);
    assert_eq!(gateway.status()["streams"], 0);
}

#[test]
fn a_streaming_answer_ends_with_its_max_duration() {
    let origin = Origin::start(Behaviour::StallsAfterHeaders);
    let gateway = draining(&origin, "1s", "streaming = true\nmax_duration = \"700ms\"");
    let mut raw = listen(&gateway, "/events");
    assert_ne!(raw.end(PATIENCE), End::Open);
    let line = gateway.logged("it has its line", |line| line["route"] == "r");
    assert_eq!((&line["reason"], &line["end"]), (&json!("timeout"), &json!("cut")), "{line}");
    wait_until(PATIENCE, "its place is free", || gateway.status()["streams"] == 0);
}

#[test]
fn an_answer_that_goes_on_is_waited_for_and_cut_at_the_drains_end() {
    let origin = Origin::start(Behaviour::StallsAfterHeaders);
    let mut gateway = draining(&origin, "1s", "streaming = true");
    let mut raw = listen(&gateway, "/events");
    gateway.term();
    let told = Instant::now();
    assert!(gateway.exit(PATIENCE).success());
    assert!(told.elapsed() >= Duration::from_secs(1), "it was waited for");
    assert_ne!(raw.end(PATIENCE), End::Open);
    let line = gateway.logged("it has its line", |line| line["route"] == "r");
    assert_eq!((&line["reason"], &line["end"]), (&json!("draining"), &json!("cut")), "{line}");
}

#[test]
fn a_stream_of_http2_is_cut_at_the_drains_end_too() {
    let origin = Origin::start(Behaviour::StallsAfterHeaders);
    let mut gateway = draining(&origin, "1s", "streaming = true");
    run(async {
        let mut client = Http2::connect(gateway.edge()).await;
        let request = client.request("GET", "/events");
        let call = client.open(request).await.expect("an answer begins");
        gateway.term();
        assert!(gateway.exit(PATIENCE).success());
        drop(call);
    });
    let line = gateway.logged("it has its line", |line| line["route"] == "r");
    assert_eq!((&line["reason"], &line["end"]), (&json!("draining"), &json!("cut")), "{line}");
}

#[test]
fn a_websocket_can_be_opened_while_the_process_still_accepts() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let gateway = Gateway::start(&Config::simple(origin.address()).gateway("drain_delay = \"20s\""));
    gateway.term();
    wait_until(PATIENCE, "it is on its way out", || gateway.status()["draining"] == true);
    let answer = gateway.get("/");
    assert_eq!(answer.get("connection"), Some("close"));
    let mut raw = websocket(&gateway, "/chat");
    echoes(&mut raw, b"\x82\x02hi");
}

#[test]
fn the_head_of_a_stream_has_a_deadline() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_secs(5)));
    let gateway = draining(&origin, "1s", "streaming = true\ntimeout = \"300ms\"");
    let answer = gateway.get("/events");
    assert_eq!((answer.status(), answer.reason()), (504, Some("timeout")));
    let metrics = gateway.metrics();
    let of = |gauge: &str| metrics.value(gauge, &[("upstream", "u")]);
    assert_eq!((of("tidegate_stream_zombies"), of("tidegate_backend_streams")), (1.0, 1.0), "it may go on");
    assert_eq!((of("tidegate_zombies"), of("tidegate_upstream_inflight")), (0.0, 0.0));
}

#[test]
fn streaming_routes_take_nothing_of_the_gate_from_the_others() {
    let origin = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let config = Config::new()
        .upstream("u", &[origin.address()], "max_in_flight = 10")
        .route("orders", "/orders", "u", "")
        .route("events", "/events", "u", "streaming = true\nclass = \"critical\"");
    let gateway = Gateway::start(&config);
    let held = gateway.ask("/orders", 10);
    origin.holds(10);
    drop(held);
}

#[test]
fn silence_on_a_streaming_route_ends_after_body_idle() {
    let origin = Origin::start(Behaviour::StallsAfterHeaders);
    let gateway = draining(&origin, "1s", "streaming = true\nbody_idle = \"700ms\"");
    let mut raw = listen(&gateway, "/events");
    assert_ne!(raw.end(PATIENCE), End::Open);
    let line = gateway.logged("it has its line", |line| line["route"] == "r");
    assert_eq!(line["reason"], "backend_too_slow", "{line}");
}
