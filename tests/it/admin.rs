//! Operators are never locked out: the admin side answers while the data plane is saturated or out of
//! descriptors, whoever holds its own connections, and says what is true.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{Answer, End, Raw, get};
use crate::support::{PATIENCE, wait_until};
use serde_json::Value;
use std::time::{Duration, Instant};

#[test]
fn status_upstreams_and_readiness_say_what_is_true() {
    let (hung, other) = (Origin::start(Behaviour::AcceptsAndNeverAnswers), Origin::well_behaved());
    let config = Config::new()
        .upstream(
            "u",
            &[hung.address(), other.address()],
            "max_in_flight = 50\nmax_in_flight_per_backend = 30",
        )
        .route("r", "/", "u", "");
    let gateway = Gateway::start(&config);
    assert_eq!((gateway.admin_get("/livez").status(), gateway.admin_get("/readyz").status()), (200, 200));
    let status = gateway.status();
    assert!(status["version"]["number"].as_u64() >= Some(1), "{status}");
    assert!(status["version"]["hash"].as_str().is_some_and(|hash| hash.len() >= 16));
    assert_eq!((&status["degraded"], &status["in_flight"]), (&Value::Bool(false), &0.into()));
    assert!(status["uptime_seconds"].as_f64() >= Some(0.0));
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(2));
    let upstream = &gateway.upstreams()[0];
    assert_eq!((&upstream["name"], &upstream["max_in_flight"]), (&"u".into(), &50.into()));
    let backends = upstream["backends"].as_array().expect("backends");
    assert_eq!(
        (&backends[0]["name"], &backends[0]["cap"], &backends[1]["weight"]),
        (&"u0".into(), &30.into(), &100.into())
    );
    assert_eq!(gateway.admin_get("/v1/upstreams/u").json()["name"], "u");
    let missing = gateway.admin_get("/v1/upstreams/nope");
    assert_eq!((missing.status(), missing.get("content-type")), (404, Some("application/problem+json")));
}

#[test]
fn every_metric_of_the_contract_is_there_before_it_counts() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let scrape = gateway.admin_get("/metrics");
    assert!(scrape.get("content-type").is_some_and(|t| t.starts_with("text/plain")));
    let metrics = gateway.metrics();
    let upstream: &[(&str, &str)] = &[("upstream", "u")];
    for (name, labels, expected) in [
        ("tidegate_requests_total", &[("route", "r"), ("source", "backend")][..], 0.0),
        ("tidegate_request_duration_seconds_count", &[("route", "r")], 0.0),
        ("tidegate_upstream_inflight", upstream, 0.0),
        ("tidegate_upstream_limit", upstream, 64.0),
        ("tidegate_upstream_queue_depth", upstream, 0.0),
        ("tidegate_upstream_queue_wait_seconds_count", upstream, 0.0),
        ("tidegate_shed_total", upstream, 0.0),
        ("tidegate_upstream_ramp_percent", upstream, 100.0),
        ("tidegate_backend_up", &[("upstream", "u"), ("backend", "u0")], 1.0),
        ("tidegate_backend_inflight", upstream, 0.0),
        ("tidegate_backend_cap", upstream, 64.0),
        ("tidegate_backend_ramp_percent", upstream, 100.0),
        ("tidegate_backend_ejections_total", upstream, 0.0),
        ("tidegate_backend_incarnations_total", upstream, 0.0),
        ("tidegate_retries_total", upstream, 0.0),
        ("tidegate_zombies", upstream, 0.0),
        ("tidegate_connections", &[("listener", "edge")], 0.0),
        ("tidegate_config_version", &[], 1.0),
        ("tidegate_config_last_apply_successful", &[], 1.0),
        ("tidegate_config_degraded", &[], 0.0),
        ("tidegate_rollbacks_total", &[], 0.0),
        ("tidegate_access_log_dropped_total", &[], 0.0),
    ] {
        assert_eq!(metrics.get(name, labels), Some(expected), "{name}");
    }
    assert_eq!(metrics.labels("tidegate_worker_lag_seconds", "worker").len(), 2);
}

#[test]
fn requests_are_counted_by_route_class_and_source() {
    let origin = Origin::well_behaved();
    let gateway =
        Gateway::start(&Config::new().upstream("u", &[origin.address()], "").route("r", "/r", "u", ""));
    let mut raw = gateway.connect();
    for path in ["/r/status/200", "/r/status/201", "/r/status/404", "/r/status/500", "/nowhere"] {
        raw.ask(get(path));
    }
    let counted = |route, class, source| {
        let labels = [("route", route), ("code_class", class), ("source", source)];
        gateway.metrics().get("tidegate_requests_total", &labels).unwrap_or(0.0)
    };
    wait_until(PATIENCE, "all five are counted", || counted("-", "4xx", "gateway") == 1.0);
    assert_eq!(counted("r", "2xx", "backend"), 2.0);
    assert_eq!((counted("r", "4xx", "backend"), counted("r", "5xx", "backend")), (1.0, 1.0));
    assert_eq!(gateway.metrics().value("tidegate_request_duration_seconds_count", &[("route", "r")]), 4.0);
}

#[test]
fn the_admin_side_answers_while_every_core_is_saturated() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let load = Load::closed(gateway.edge(), "/", 24);
    wait_until(PATIENCE, "there is load", || origin.requests() > 500);
    let mut times = Vec::new();
    for _ in 0..20 {
        for path in ["/metrics", "/v1/upstreams", "/livez"] {
            let started = Instant::now();
            assert_eq!(gateway.admin_get(path).status(), 200, "{path}");
            times.push(started.elapsed());
        }
    }
    load.stop().only(&[200, 503]);
    times.sort();
    assert!(times[times.len() * 9 / 10] < Duration::from_millis(500), "{times:?}");
}

#[test]
fn the_admin_side_answers_while_descriptors_are_exhausted() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_millis(1)));
    let gateway = Gateway::start_with_open_files(&Config::simple(origin.address()), 160);
    let crowd: Vec<Raw> = (0..400).filter_map(|_| Raw::try_connect(gateway.edge()).ok()).collect();
    for _ in 0..20 {
        assert_eq!(gateway.admin_get("/livez").status(), 200);
        assert_eq!(gateway.admin_get("/metrics").status(), 200);
    }
    drop(crowd);
    wait_until(PATIENCE, "the edge serves again", || gateway.serves("/"));
}

#[test]
fn slow_scrapers_and_silent_connections_lock_nobody_out() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut crowd: Vec<Raw> = (0..40).map(|_| Raw::connect(gateway.admin())).collect();
    for (n, raw) in crowd.iter_mut().enumerate() {
        // Some say nothing, some half of a request, some do not read what they asked for.
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.admin());
        let sent = [0, request.len() / 2, request.len()][n % 3];
        raw.send(&request.as_bytes()[..sent]);
    }
    for _ in 0..20 {
        let started = Instant::now();
        assert_eq!(gateway.admin_get("/metrics").status(), 200);
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

fn with_host(gateway: &Gateway, method: &str, path: &str, host: &str, more: &str) -> Answer {
    let mut raw = Raw::connect(gateway.admin());
    raw.ask(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n"))
}

#[test]
fn a_page_of_another_host_cannot_read_it() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let port = gateway.admin().port();
    for path in ["/v1/status", "/v1/upstreams"] {
        let status = with_host(&gateway, "GET", path, "evil.test", "").status();
        assert!((400..500).contains(&status), "{path}: {status}");
        assert_eq!(
            with_host(&gateway, "GET", path, &format!("localhost:{port}"), "").status(),
            200,
            "{path}"
        );
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(with_host(&gateway, "GET", path, "evil.test", "").status(), 200, "{path}");
    }
}

#[test]
fn who_asks_for_what_is_not_there_hears_what_is() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    for (path, there) in
        [("/v1", "/v1/status"), ("/v1/nothing", "/v1/levers"), ("/v1/upstreams/x", "it has u")]
    {
        let answer = gateway.admin_get(path);
        assert_eq!(answer.status(), 404, "{path}");
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains("hint: ") && detail.contains(there), "{path}: {detail}");
    }
}

#[test]
fn what_only_reads_refuses_other_methods() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let host = gateway.admin().to_string();
    for path in ["/livez", "/metrics", "/v1/status", "/v1/upstreams"] {
        let answer = with_host(&gateway, "POST", path, &host, "Content-Length: 0\r\n");
        assert_eq!(answer.status(), 405, "{path}");
    }
}

#[test]
fn tokens_are_demanded_where_there_are_tokens() {
    let origin = Origin::well_behaved();
    let hash = blake3::hash(b"a long enough token").to_hex();
    let tokens = format!("tokens = [{{ name = \"dash\", role = \"viewer\", hash = \"{hash}\" }}]");
    let gateway = Gateway::start(&Config::simple(origin.address()).admin(&tokens));
    let host = gateway.admin().to_string();
    let ask = |more: &str| with_host(&gateway, "GET", "/v1/status", &host, more).status();
    assert_eq!(ask(""), 401);
    assert_eq!(ask("Authorization: Bearer another\r\n"), 401);
    assert_eq!(ask("Authorization: Bearer a long enough token\r\n"), 200);
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(with_host(&gateway, "GET", path, &host, "").status(), 200, "{path}");
    }
}

#[test]
fn one_line_a_request_is_logged_with_its_end_and_without_secrets() {
    let origin = Origin::start(Behaviour::StallsAfterHeaders);
    let config =
        Config::new().upstream("u", &[origin.address()], "").route("r", "/", "u", "body_idle = \"500ms\"");
    let gateway = Gateway::start(&config);
    let mut raw = gateway.connect();
    raw.send(get("/stalls?token=hunter2&page=7"));
    raw.head().expect("a head");
    assert!(gateway.access_log().is_empty(), "a line is written at the last byte");
    let line = gateway.logged("the broken answer is logged", |line| line["route"] == "r");
    assert_eq!(
        (&line["status"], &line["upstream"], &line["backend"]),
        (&200.into(), &"u".into(), &"u0".into())
    );
    assert!(
        line["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
        "it says that it was not whole: {line}"
    );
    assert!(!line.to_string().contains("hunter2"), "secrets stay out of the log: {line}");
    origin.switch(Behaviour::WellBehaved);
    for n in 0..30 {
        gateway.get(&format!("/line/{n}"));
    }
    for n in 0..30 {
        let path = format!("/line/{n}");
        gateway.logged("each request has its line", |line| line["path"] == path.as_str());
    }
    assert_eq!(gateway.access_log().len(), 31);
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_request() {
    let origin = Origin::well_behaved();
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let pipe = folder.path().join("pipe");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR, 0)
        .expect("a pipe");
    let unread = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).expect("the pipe opens");
    let target = format!("[access_log]\ntarget = \"{}\"\n", pipe.display());
    let gateway = Gateway::start(&Config::simple(origin.address()).text(&target));
    let load = Load::closed(gateway.edge(), "/", 4);
    wait_until(Duration::from_secs(60), "lines are dropped and counted", || {
        gateway.metrics().value("tidegate_access_log_dropped_total", &[]) > 0.0
    });
    let report = load.stop();
    report.only(&[200]);
    assert!(report.percentile(200, 99) < Duration::from_secs(1));
    drop(unread);
}

#[test]
fn a_draining_gateway_says_so_and_finishes_what_it_began() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_millis(2_500)));
    let config = Config::simple(origin.address()).gateway("drain_delay = \"1s\"\ndrain_timeout = \"15s\"");
    let mut gateway = Gateway::start(&config);
    let mut running = gateway.connect();
    running.send(get("/in-flight"));
    origin.holds(1);
    origin.switch(Behaviour::WellBehaved);
    let mut kept = gateway.connect();
    assert_eq!(kept.ask(get("/before")).get("connection"), None);
    gateway.term();
    wait_until(PATIENCE, "readiness fails at once", || gateway.admin_get("/readyz").status() == 503);
    assert_eq!(gateway.admin_get("/livez").status(), 200);
    let answer = kept.ask(get("/during"));
    assert_eq!(
        (answer.status(), answer.get("connection")),
        (200, Some("close")),
        "it still serves, and asks to leave"
    );
    assert_eq!(kept.end(PATIENCE), End::Eof);
    let answer = gateway.get("/new-connection");
    assert_eq!((answer.status(), answer.get("connection")), (200, Some("close")));
    assert_eq!(running.answer(false).json()["uri"], "/in-flight", "what ran is finished");
    assert_eq!(gateway.exit(Duration::from_secs(10)).code(), Some(0));
    assert!(Raw::try_connect(gateway.edge()).is_err());
    let last = gateway.access_log();
    assert!(last.iter().any(|line| line["path"] == "/in-flight"), "its line is not lost");
}

#[test]
fn a_drain_ends_at_its_timeout_whatever_hangs() {
    let origin = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let config = Config::simple(origin.address()).gateway("drain_delay = \"100ms\"\ndrain_timeout = \"1s\"");
    let mut gateway = Gateway::start(&config);
    let mut hung = gateway.connect();
    hung.send(get("/"));
    origin.holds(1);
    let idle = gateway.connect();
    gateway.term();
    gateway.exit(Duration::from_secs(8));
    drop(idle);
}

#[test]
fn without_work_a_drain_takes_its_delay_and_no_more() {
    let origin = Origin::well_behaved();
    let config = Config::simple(origin.address()).gateway("drain_delay = \"300ms\"\ndrain_timeout = \"30s\"");
    let mut gateway = Gateway::start(&config);
    let mut idle = gateway.connect();
    assert_eq!(idle.ask(get("/")).status(), 200);
    gateway.term();
    assert_eq!(gateway.exit(Duration::from_secs(8)).code(), Some(0));
    assert_eq!(idle.end(PATIENCE), End::Eof, "idle connections are closed in order");
}
