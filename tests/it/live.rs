//! What the page and `top` are fed by: the moment, once a second, for as many as may watch and no more, however large
//! the fleet is.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::operator::{Listener, ask};
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{Answer, Raw};
use crate::support::{PATIENCE, wait_until};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// As many as may watch.
const SEATS: usize = 32;

fn watch(gateway: &Gateway, query: &str, headers: &[&str]) -> Result<Listener, Answer> {
    Listener::at(gateway.admin(), &format!("/v1/live{query}"), headers)
}

/// The first snapshot that `wanted` accepts, which comes soon.
fn seen(listener: &mut Listener, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let snapshot = listener.snapshot().unwrap_or_else(|end| panic!("{what}, but it ends: {end:?}"));
        if wanted(&snapshot) {
            return snapshot;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}; the last one is {snapshot:#}");
    }
}

fn row<'a>(snapshot: &'a Value, name: &str) -> &'a Value {
    let rows = snapshot["upstreams"].as_array().expect("rows");
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name} in {snapshot:#}"))
}

#[test]
fn the_numbers_of_a_snapshot_move_with_the_traffic() {
    let (origin, hung) = (Origin::well_behaved(), Origin::start(Behaviour::AcceptsAndNeverAnswers));
    let full = "max_in_flight = 1\nqueue = { max_waiting = 0, max_wait = \"10ms\" }";
    let config = Config::new()
        .upstream("well", &[origin.address()], "")
        .upstream("full", &[hung.address()], full)
        .route("well", "/well", "well", "")
        .route("full", "/full", "full", "");
    let gateway = Gateway::start(&config);
    let _held = gateway.ask("/full", 1);
    hung.holds(1);
    let mut live = watch(&gateway, "", &[]).expect("a stream");
    let _load = [Load::closed(gateway.edge(), "/well", 2), Load::closed(gateway.edge(), "/full", 2)];
    // Cores that are slow to say who holds what are left out of a snapshot.
    let held = |group: &Value| group["upstream"] == "full" && group["phase"] == "waiting_for_backend";
    let snapshot = seen(&mut live, "both move", |snapshot| {
        let rate = |name, rate: &str| row(snapshot, name)[rate].as_f64().unwrap_or(0.0);
        let holders = snapshot["permits"]["summary"].as_array();
        rate("well", "requests_per_second") > 0.0
            && rate("full", "shed_per_second") > 0.0
            && holders.is_some_and(|all| all.iter().any(held))
    });
    let (well, full) = (row(&snapshot, "well"), row(&snapshot, "full"));
    assert_eq!((&well["shed_per_second"], &well["sheds"]), (&0.0.into(), &Value::Array(vec![])));
    let (p50, p99) = (well["latency_p50_seconds"].as_f64(), well["latency_p99_seconds"].as_f64());
    assert!(p50 > Some(0.0) && p50 <= p99, "{well}");
    assert_eq!(
        (&well["backends_total"], &well["backends_ready"], &well["worst_state"], &well["ramp_percent"]),
        (&1.into(), &1.into(), &"ready".into(), &100.0.into())
    );
    assert_eq!((&full["in_flight"], &full["limit"], &full["max_waiting"]), (&1.into(), &1.into(), &0.into()));
    let sheds = full["sheds"].as_array().expect("kinds");
    let sum: f64 = sheds.iter().filter_map(|shed| shed["per_second"].as_f64()).sum();
    assert!((sum - full["shed_per_second"].as_f64().expect("a rate")).abs() < 0.01, "{full}");
    assert!(sheds.iter().all(|shed| shed["class"] == "default" && shed["reason"].is_string()), "{full}");
    assert_eq!(
        (&snapshot["rollout"]["state"], &snapshot["workers"][1]["worker"]),
        (&"none".into(), &1.into())
    );
    let status = &snapshot["status"];
    assert_eq!((&status["ready"], &status["version"]["number"]), (&true.into(), &1.into()));
    assert!(snapshot["at"].as_str().is_some_and(|at| at.ends_with('Z')));
}

#[test]
fn whoever_asks_for_one_upstream_has_the_whole_of_it_too() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut plain = watch(&gateway, "", &[]).expect("a stream");
    let mut whole = watch(&gateway, "?upstream=u", &[]).expect("a stream");
    assert_eq!(plain.snapshot().expect("one").get("upstream"), None);
    let snapshot = whole.snapshot().expect("one");
    assert_eq!(snapshot["upstream"]["backends"][0]["name"], "u0");
    gateway.change(&Config::new().upstream("v", &[origin.address()], "").route("r", "/", "v", ""));
    seen(&mut whole, "it is gone", |snapshot| {
        snapshot["upstream"].is_null() && snapshot["upstreams"][0]["name"] == "v"
    });
    let unknown = watch(&gateway, "?upstream=u", &[]).err().expect("there is none any more");
    assert_eq!((unknown.status(), unknown.text().contains("it has v")), (404, true), "{}", unknown.text());
    let misspelt = watch(&gateway, "?upsteam=v", &[]).err().expect("no such question");
    assert_eq!(misspelt.status(), 400);
}

#[test]
fn too_many_watchers_are_refused_and_lock_nobody_out() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    // The other streams are full too.
    let _listeners: Vec<_> =
        (0..SEATS).map(|_| Listener::open(gateway.admin(), "", &[]).expect("a stream")).collect();
    let mut seated: Vec<_> = (0..SEATS).map(|_| watch(&gateway, "", &[]).expect("a stream")).collect();
    let refused = watch(&gateway, "", &[]).err().expect("one too many");
    assert_eq!((refused.status(), &refused.json()["reason"]), (503, &"too_many_subscribers".into()));
    assert!(refused.get("retry-after").is_some());
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(gateway.admin_get("/readyz").status(), 200);
    }
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    let metrics = gateway.metrics();
    let seats = metrics.value("tidegate_live_watchers", &[]);
    let turned_away = metrics.value("tidegate_live_watchers_refused_total", &[]);
    assert_eq!((seats, turned_away), (SEATS as f64, 1.0));
    for watcher in &mut seated {
        watcher.snapshot().expect("everyone sees");
    }
    drop(seated);
    wait_until(PATIENCE, "the seats come back", || watch(&gateway, "", &[]).is_ok());
}

#[test]
fn a_watcher_is_let_in_by_a_token_and_not_longer_than_that_is_one() {
    let origin = Origin::well_behaved();
    let token = |name: &str| {
        let hash = blake3::hash(format!("the token {name}").as_bytes()).to_hex();
        format!("tokens = [{{ name = \"{name}\", role = \"viewer\", hash = \"{hash}\" }}]")
    };
    let gateway = Gateway::start(&Config::simple(origin.address()).admin(&token("old")));
    let old = "Authorization: Bearer the token old";
    for path in ["/v1/live", "/v1/series", "/v1/whoami"] {
        assert_eq!(ask(gateway.admin(), "GET", path, &[], "").status(), 401, "{path}");
    }
    let mut live = watch(&gateway, "", &[old]).expect("a viewer sees");
    live.snapshot().expect("one");
    gateway.write(&Config::simple(origin.address()).admin(&token("new")));
    let started = Instant::now();
    while live.snapshot().is_ok() {
        assert!(started.elapsed() < PATIENCE, "it goes on after its token is gone");
    }
    assert_eq!(watch(&gateway, "", &[old]).err().map(|answer| answer.status()), Some(401));
    assert!(watch(&gateway, "", &["Authorization: Bearer the token new"]).is_ok());
}

#[test]
fn a_large_fleet_is_watched_in_small_snapshots_and_others_are_answered_meanwhile() {
    let mut config = Config::new();
    for upstream in 0..100_u16 {
        let port = |backend: u16| 10_000 + upstream * 50 + backend;
        let backends: Vec<SocketAddr> =
            (0..50).map(|backend| ([127, 0, 0, 1], port(backend)).into()).collect();
        let name = format!("upstream-{upstream:03}");
        config = config.upstream(&name, &backends, "").route(&name, &format!("/{upstream}"), &name, "");
    }
    let gateway = Gateway::start(&config);
    let mut watchers: Vec<_> = (0..4)
        .map(|n| watch(&gateway, &format!("?upstream=upstream-{:03}", n % 2), &[]).expect("a stream"))
        .collect();
    let mut plain = watch(&gateway, "", &[]).expect("a stream");
    // Whoever asks for all of the last hour and takes none of it.
    let mut idle = Raw::connect(gateway.admin());
    idle.send(format!("GET /v1/series HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", gateway.admin()));
    let mut waits = Vec::new();
    for _ in 0..30 {
        let asked = Instant::now();
        assert_eq!(gateway.admin_get("/livez").status(), 200);
        waits.push(asked.elapsed());
    }
    waits.sort();
    assert!(waits[15] < Duration::from_secs(2), "half of them waited longer: {waits:?}");
    let snapshot = plain.snapshot().expect("one");
    let size = snapshot.to_string().len();
    assert!(size < 64 << 10, "{size} bytes");
    assert_eq!(row(&snapshot, "upstream-099")["backends_total"], 50);
    for (n, watcher) in watchers.iter_mut().enumerate() {
        let upstream = &watcher.snapshot().expect("one")["upstream"];
        assert_eq!(upstream["name"].as_str(), Some(&*format!("upstream-{:03}", n % 2)));
        assert_eq!(upstream["backends"].as_array().map(Vec::len), Some(50));
    }
    drop(idle);
    let series = gateway.admin_get("/v1/series").json();
    assert_eq!(series["series"].as_array().map(Vec::len), Some(100 * 7 + 4));
}
