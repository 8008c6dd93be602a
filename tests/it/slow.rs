//! Slow parties harm nobody else: a client that drips holds nothing of the upstream, one that does not read lets
//! the backend go, whoever stays below the least rate is ended, and what is buffered for them has a budget.

use crate::support::client::Http2;
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::exchange::{checksum, pattern};
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{End, Raw, get};
use crate::support::slow::{Slow, beat_until, narrow_raw};
use crate::support::{PATIENCE, run, wait_until};
use http_body_util::BodyExt;
use std::time::{Duration, Instant};

/// An answer that fits into no buffer of the system or the engine.
const LARGE: usize = 800_000;

/// One upstream with one backend, whose route leaves the time to slow bodies.
fn patient(origin: &Origin, max_in_flight: u32) -> Config {
    Config::new().upstream("u", &[origin.address()], &format!("max_in_flight = {max_in_flight}")).route(
        "r",
        "/",
        "u",
        "timeout = \"60s\"",
    )
}

fn too_slow(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metrics().value("tidegate_refusals_total", &[("reason", reason)])
}

#[test]
fn five_hundred_that_drip_and_five_hundred_that_read_a_byte_a_second_leave_their_route_to_others() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&patient(&origin, 16));
    let others = Load::paced(gateway.edge(), "/", 2, Duration::from_millis(40));
    let mut crowd = Vec::new();
    while crowd.len() < 500 {
        // As many at once as the route has room for beside the others.
        let mut more: Vec<_> = (0..10).map(|_| Slow::reads(gateway.edge(), "/bytes/300000")).collect();
        assert!(more.iter_mut().all(Slow::is_served), "there is room for them");
        crowd.extend(more);
        wait_until(PATIENCE, "those who do not read let the backend go", || gateway.in_flight("u") <= 2.0);
    }
    crowd.extend((0..500).map(|_| Slow::drips(gateway.edge(), "/")));
    wait_until(PATIENCE, "they are all inside", || {
        gateway.status()["in_flight"].as_u64().is_some_and(|inside| inside >= 600)
    });
    assert!(
        gateway.in_flight("u") <= 4.0,
        "a drip holds nothing of the upstream: {}",
        gateway.in_flight("u")
    );
    assert!(gateway.buffered() > 500.0 * 100_000.0, "the readers' answers were read ahead");
    let refused = gateway.sheds("u");

    beat_until(&mut crowd, Duration::from_secs(60), |crowd| {
        crowd[500..].iter().all(|slow| slow.ended.is_some())
    });
    for dripper in &crowd[500..] {
        let answer = String::from_utf8_lossy(&dripper.came);
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("client_too_slow"), "{answer:?}");
        let ended = dripper.ended.expect("it ended");
        assert!(ended > Duration::from_secs(10) && ended < Duration::from_secs(40), "after {ended:?}");
    }
    for reader in &mut crowd[..500] {
        assert!(reader.is_over(Duration::from_secs(30)), "a reader is ended too");
        assert!(reader.came.len() < 290_000, "before it had everything: {}", reader.came.len());
    }
    let others = others.stop();
    others.only(&[200]);
    assert!(others.answers() > 100, "{} answers", others.answers());
    assert!(others.percentile(200, 99) < Duration::from_secs(2), "{:?}", others.percentile(200, 99));
    assert_eq!(gateway.sheds("u"), refused);
    gateway.settles(PATIENCE);
    wait_until(PATIENCE, "every byte is given back", || gateway.buffered() == 0.0);
    assert_eq!(too_slow(&gateway, "client_too_slow"), 1_000.0);
    let log = gateway.access_log();
    let lines = |status: u64, end: &str| {
        let those = log.iter().filter(|line| line["reason"] == "client_too_slow");
        those.filter(|line| line["status"] == status && line["end"] == end).count()
    };
    assert_eq!((lines(408, "complete"), lines(200, "cut")), (500, 500));
}

#[test]
fn a_client_above_the_least_rate_is_served_however_long_it_takes() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&patient(&origin, 16));
    let body = pattern(60_000);
    let upload = {
        let (mut raw, body) = (gateway.connect(), body.clone());
        std::thread::spawn(move || {
            raw.send("POST /up HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 60000\r\n\r\n");
            body.chunks(1_000).for_each(|piece| {
                std::thread::park_timeout(Duration::from_millis(250));
                raw.send(piece);
            });
            raw.answer(false)
        })
    };
    let mut raw = narrow_raw(gateway.edge());
    let started = Instant::now();
    raw.send(get("/bytes/300000"));
    let head = raw.head().expect("a head");
    let mut came = Vec::new();
    while came.len() < 120_000 {
        std::thread::park_timeout(Duration::from_millis(250));
        came.extend(raw.exactly(2_000).expect("it goes on"));
    }
    assert!(started.elapsed() > Duration::from_secs(13), "it took its time");
    came.extend(raw.exactly(300_000 - came.len()).expect("to the end"));
    assert!(head.status == 200 && came == pattern(300_000));
    let echo = upload.join().expect("the upload does not panic").json();
    assert_eq!(echo["body_hash"].as_u64(), Some(checksum(&body)));
    assert_eq!(too_slow(&gateway, "client_too_slow"), 0.0);
}

#[test]
fn a_backend_that_does_not_read_an_upload_is_too_slow() {
    let origin = Origin::start(Behaviour::NeverReadsTheBody);
    let gateway = Gateway::start(&patient(&origin, 16));
    let mut raw = gateway.connect();
    let started = Instant::now();
    raw.send("POST /up HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 2000000\r\n\r\n");
    raw.send(vec![b'x'; 1_000_000]);
    raw.patience(Duration::from_secs(30));
    let answer = raw.answer(false);
    assert_eq!((answer.status(), answer.reason()), (504, Some("backend_too_slow")));
    assert!(started.elapsed() > Duration::from_secs(10) && started.elapsed() < Duration::from_secs(25));
    let line = gateway.logged("its line", |line| line["status"] == 504);
    assert_eq!(line["reason"], "backend_too_slow");
    gateway.settles(Duration::from_secs(20));
    wait_until(PATIENCE, "every byte is given back", || gateway.buffered() == 0.0);
}

#[test]
fn streams_and_slow_backends_are_bound_by_idle_time_only() {
    let drips = Origin::start(Behaviour::DripsOneByteASecond);
    let config = patient(&drips, 16).route("stream", "/stream", "u", "timeout = \"60s\"\nstreaming = true");
    let gateway = Gateway::start(&config);
    let mut polling = gateway.connect();
    polling.send(get("/"));
    let mut stream = gateway.connect();
    stream.send("POST /stream HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 100\r\n\r\nx");
    for raw in [&mut polling, &mut stream] {
        assert_eq!(raw.head().expect("a head").status, 200);
        assert_eq!(raw.exactly(14).map(|bytes| bytes.len()), Ok(14), "one byte a second, and nobody minds");
    }
}

#[test]
fn a_client_that_does_not_read_lets_the_backend_go_and_loses_nothing() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&patient(&origin, 1));
    for path in [format!("/bytes/{LARGE}"), format!("/chunked/{LARGE}")] {
        let mut raw = narrow_raw(gateway.edge());
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: edge.test\r\nTE: trailers\r\n\r\n"));
        let head = raw.head().expect("a head");
        wait_until(PATIENCE, "its permits are free", || gateway.in_flight("u") == 0.0);
        assert_eq!(gateway.get("/").status(), 200, "the only place is free");
        assert!(gateway.buffered() > 100_000.0);
        let answer = raw.body_of(head, false).expect("the whole answer");
        assert!(answer.body == pattern(LARGE), "{path} arrives unharmed");
        if path.starts_with("/chunked") {
            assert_eq!(answer.trailers, [("x-end".to_owned(), "reached".to_owned())]);
        }
        assert_eq!(raw.ask(get("/")).status(), 200, "and the connection goes on");
    }
    wait_until(PATIENCE, "every byte is given back", || gateway.buffered() == 0.0);
}

#[test]
fn an_http2_client_that_does_not_read_lets_the_backend_go_and_loses_nothing() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&patient(&origin, 1));
    run(async {
        let mut client = Http2::connect(gateway.edge()).await;
        let request = client.request("GET", "/bytes/2900000");
        let held = client.begin(request).await.expect("a head");
        assert_eq!(held.status(), 200);
        let started = Instant::now();
        while client.get("/").await.expect("an answer").status != 200 {
            assert!(started.elapsed() < PATIENCE, "the only place comes free");
        }
        assert!(gateway.buffered() > 100_000.0);
        let body = held.into_body().collect().await.expect("the whole answer").to_bytes();
        assert!(body == pattern(2_900_000), "it arrives unharmed");
    });
    gateway.settles(Duration::from_secs(20));
    wait_until(PATIENCE, "every byte is given back", || gateway.buffered() == 0.0);
}

#[test]
fn an_answer_that_breaks_off_is_read_ahead_to_its_break_and_no_further() {
    let origin = Origin::start(Behaviour::BreaksOffAfter(500_000));
    let gateway = Gateway::start(&patient(&origin, 1));
    let mut raw = narrow_raw(gateway.edge());
    raw.send(get("/"));
    let head = raw.head().expect("a head");
    assert_eq!(head.get("content-length"), Some("1000000"));
    wait_until(PATIENCE, "the backend is gone", || gateway.in_flight("u") == 0.0);
    // The engine drops what it holds itself when an answer breaks off, read ahead or not.
    let came: Vec<u8> = std::iter::from_fn(|| raw.exactly(1_000).ok()).flatten().collect();
    assert!((300_000..=500_000).contains(&came.len()), "{} bytes", came.len());
    assert!(came == pattern(came.len()), "in order");
    let line = gateway.logged("its line", |line| line["status"] == 200);
    assert_eq!((&line["reason"], &line["end"]), (&"reset".into(), &"backend_gone".into()));
}

#[test]
fn at_the_budget_new_requests_are_refused_and_everything_recovers() {
    let origin = Origin::well_behaved();
    let config = patient(&origin, 200).gateway("max_buffered = \"1MiB\"");
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.metrics().value("tidegate_buffered_bytes_limit", &[]), f64::from(1 << 20));
    let begin = |before: usize| {
        let mut raw = gateway.connect();
        raw.send("POST /up HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 62000\r\n\r\n");
        raw.send(vec![b'x'; 61_000]);
        wait_until(PATIENCE, "it is buffered", || gateway.buffered() >= 61_000.0 * (before + 1) as f64);
        raw
    };
    // Seventeen fit.
    let held: Vec<Raw> = (0..17).map(begin).collect();
    let mut beyond = gateway.connect();
    beyond.send("POST /up HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 62000\r\n\r\n");
    beyond.send(vec![b'x'; 61_000]);
    let refused = beyond.answer(false);
    assert_eq!((refused.status(), refused.reason()), (503, Some("memory")), "what cannot be held is let go");
    let refusal = gateway.get("/");
    assert_eq!((refusal.status(), refusal.reason()), (503, Some("memory")));
    assert!(refusal.get("retry-after").is_some());
    assert_eq!(origin.requests(), 0, "nothing of it was the upstream's business");
    let shed = [("upstream", "u"), ("reason", "memory")];
    assert!(gateway.metrics().value("tidegate_shed_total", &shed) >= 2.0);
    let (end, leave): (Vec<_>, Vec<_>) = held.into_iter().enumerate().partition(|(n, _)| n % 2 == 0);
    for (_, mut raw) in end {
        raw.send(vec![b'x'; 1_000]);
        assert_eq!(raw.answer(false).status(), 200, "what was let in is served");
    }
    leave.into_iter().for_each(|(_, raw)| raw.abort());
    wait_until(PATIENCE, "every byte is given back", || gateway.buffered() == 0.0);
    wait_until(PATIENCE, "it serves again", || gateway.serves("/"));
    gateway.settles(Duration::from_secs(20));
}

#[test]
fn those_who_ask_for_leave_to_send_and_then_drip_take_a_quarter_of_a_route_at_most() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&patient(&origin, 16));
    let ask = |_| {
        let mut raw = gateway.connect();
        raw.send("POST / HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        raw
    };
    let mut asked: Vec<Raw> = (0..12).map(ask).collect();
    for raw in &mut asked {
        assert_eq!(raw.head().expect("leave to send").status, 100);
    }
    assert_eq!(gateway.in_flight("u"), 4.0, "the others wait outside with their beginnings");
    for raw in &mut asked {
        raw.send("hello");
        assert_eq!(raw.answer(false).json()["body_bytes"], 5);
    }
    gateway.settles(PATIENCE);
}

#[test]
fn whoever_does_not_take_the_rest_of_an_answer_is_ended_though_its_backend_is_done() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&patient(&origin, 16));
    let mut tail = narrow_raw(gateway.edge());
    let started = Instant::now();
    // It fits into what the engine holds.
    tail.send(get("/bytes/120000"));
    assert_eq!(tail.head().expect("a head").status, 200);
    wait_until(PATIENCE, "the backend is done", || origin.requests() > 0 && gateway.in_flight("u") == 0.0);
    assert_eq!(gateway.status()["in_flight"], 1, "it still has its right to be in the process");
    wait_until(PATIENCE, "what it has not taken is counted", || gateway.buffered() > 50_000.0);
    wait_until(Duration::from_secs(25), "it is ended", || gateway.status()["in_flight"] == 0);
    assert!(started.elapsed() > Duration::from_secs(10));
    let line = gateway.logged("its line", |line| line["end"] == "cut");
    assert_eq!((&line["reason"], &line["status"]), (&"client_too_slow".into(), &200.into()));
    wait_until(PATIENCE, "every byte is given back", || gateway.buffered() == 0.0);
    assert_ne!(tail.end(PATIENCE), End::Open);
}

#[test]
fn a_grpc_call_may_be_silent_and_another_upload_over_http2_may_not() {
    let origin = Origin::http2(100);
    let config = Config::new().upstream("u", &[origin.address()], "protocol = \"http2\"").route(
        "r",
        "/",
        "u",
        "timeout = \"60s\"",
    );
    let gateway = Gateway::start(&config);
    run(async {
        let mut client = Http2::connect(gateway.edge()).await;
        let mut call = client.open(client.grpc_request("/echo")).await.expect("a call");
        assert!(call.exchange(b"before").await.ends_with(b"before"));
        let started = Instant::now();
        // Its body never begins; the answer that comes is the gateway's.
        let upload = client.open(client.request("POST", "/up")).await.expect("an answer");
        assert_eq!(upload.response.status(), 408);
        assert_eq!(upload.response.headers()["x-tidegate-reason"], "client_too_slow");
        assert!(started.elapsed() > Duration::from_secs(10));
        assert_eq!(gateway.in_flight("u"), 1.0, "only the call was the upstream's business");
        assert!(call.exchange(b"after").await.ends_with(b"after"), "it was silent for as long");
    });
    gateway.settles(PATIENCE);
}

#[test]
fn an_http2_client_with_a_closed_window_is_counted_with_what_it_does_not_take() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&patient(&origin, 64).workers(1));
    run(async {
        // The connection to the backend reads in large pieces from now on.
        let mut warm = Http2::connect(gateway.edge()).await;
        for _ in 0..6 {
            assert_eq!(warm.get("/bytes/3000000").await.expect("an answer").body.len(), 3_000_000);
        }
        let mut client = Http2::narrow(gateway.edge(), 1).await;
        let mut held = Vec::new();
        for _ in 0..30 {
            held.push(client.begin(client.request("GET", "/bytes/100000")).await.expect("a head"));
            wait_until(PATIENCE, "the backend is done", || gateway.in_flight("u") == 0.0);
        }
        let inside = gateway.status()["in_flight"].as_u64();
        assert_eq!(inside, Some(30), "each still has its right to be in the process");
        let counted = 30.0 * 60_000.0;
        wait_until(PATIENCE, "they are counted", || gateway.buffered() > counted);
        drop(held);
    });
    gateway.settles(Duration::from_secs(20));
    wait_until(PATIENCE, "every byte is given back", || gateway.buffered() == 0.0);
}
