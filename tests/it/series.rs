//! The last hour is there before anybody looks; and what a ramp would do, before anybody sets it; and who may.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::operator::{ask, change};
use crate::support::origins::{Behaviour, Origin};
use crate::support::wait_for;
use serde_json::{Value, json};
use std::time::Duration;

/// The demand is a mean over some seconds.
const SETTLES: Duration = Duration::from_secs(40);
/// Two steps and what a busy machine adds.
const STEPS: Duration = Duration::from_secs(25);

fn series(gateway: &Gateway, query: &str) -> Value {
    let answer = gateway.admin_get(&format!("/v1/series{query}"));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

/// The values of a line; nothing if there is no such line.
fn line(series: &Value, name: &str, upstream: Option<&str>) -> Option<Vec<Option<f64>>> {
    let lines = series["series"].as_array().expect("lines");
    let found = lines.iter().find(|line| line["name"] == name && line["upstream"].as_str() == upstream)?;
    let values = found["values"].as_array().expect("values");
    assert_eq!(values.len(), 720);
    Some(values.iter().map(Value::as_f64).collect())
}

#[test]
fn the_series_begin_before_anybody_looks_and_survive_a_reload() {
    let origin = Origin::well_behaved();
    let with = |names: &[&str]| {
        let routes = names.iter().fold(Config::new(), |config, name| {
            config.upstream(name, &[origin.address()], "").route(name, &format!("/{name}"), name, "")
        });
        routes.text("")
    };
    let gateway = Gateway::start(&with(&["stays", "goes"]));
    let _load = Load::paced(gateway.edge(), "/stays", 2, Duration::from_millis(20));
    gateway.change(&with(&["stays", "comes"]));
    // Nobody asks while there is traffic; whoever comes now sees what came before.
    let seen = wait_for(STEPS, "two steps were kept", || {
        let seen = series(&gateway, "");
        let values = line(&seen, "upstream.requests_per_second", Some("stays"))?;
        values[719].is_some_and(|rate| rate > 0.0).then_some(seen)
    });
    assert_eq!(
        (&seen["step_seconds"], &seen["points"], &seen["upstreams_left_out"]),
        (&5.into(), &720.into(), &0.into())
    );
    let in_flight = line(&seen, "upstream.in_flight", Some("stays")).expect("a line");
    assert!(in_flight[718].is_some() && in_flight[719].is_some(), "{:?}", &in_flight[710..]);
    assert!(in_flight[..700].iter().all(Option::is_none), "the hour before the start is empty");
    assert_eq!(line(&seen, "upstream.limit", Some("stays")).expect("a line")[719], Some(64.0));
    assert!(line(&seen, "upstream.latency_p99_seconds", Some("stays")).expect("a line")[719] > Some(0.0));
    assert!(line(&seen, "process.requests_per_second", None).expect("a line")[719] > Some(0.0));
    assert!(line(&seen, "worker.lag_seconds", None).expect("a line")[719].is_some());
    // What is gone is still seen where it was; what came has what it has.
    let goes = line(&seen, "upstream.limit", Some("goes")).expect("a line");
    assert!(goes[719].is_none() && goes.iter().any(Option::is_some), "{:?}", &goes[710..]);
    assert!(line(&seen, "upstream.limit", Some("comes")).expect("a line")[719].is_some());
    let one = series(&gateway, "?upstream=comes");
    assert_eq!(one["series"].as_array().map(Vec::len), Some(7));
    assert!(line(&one, "upstream.queue", Some("comes")).is_some());
    assert_eq!(gateway.admin_get("/v1/series?upstream=nope").status(), 404);
    assert_eq!(gateway.admin_get("/v1/series?upsteam=comes").status(), 400);
}

#[test]
fn a_ramp_is_forecast_without_being_set_as_it_is_when_it_is() {
    let origin = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let backends = [origin.address(), origin.address()];
    let gateway = Gateway::start(&Config::new().upstream("u", &backends[..1], "").route(
        "r",
        "/",
        "u",
        "timeout = \"60s\"",
    ));
    let _held = gateway.ask("/", 8);
    origin.holds(8);
    for ramp in ["/v1/upstreams/u/ramp", "/v1/upstreams/u/backends/u0/ramp"] {
        let ahead = |query: &str| gateway.admin_get(&format!("{ramp}:forecast{query}")).json();
        // Once the demand is known and stands still, both are the same whichever is asked first.
        let forecast = wait_for(SETTLES, "the demand stands still", || {
            let forecast = ahead("?percent=25&reference=8");
            (forecast["demand_in_flight"].as_f64() >= Some(7.5)).then_some(forecast)
        });
        assert_eq!(forecast["room"], 2, "a quarter of eight: {forecast}");
        assert_eq!(ahead("?percent=0")["shed_percent"], 100.0);
        assert_eq!(gateway.admin_get(ramp).json()["set"], false, "nothing was set");
        let set = change(gateway.admin(), "PUT", ramp, &json!({ "percent": 25, "reference": 8 })).json();
        assert_eq!(set["forecast"]["room"], forecast["room"], "{set}");
        let shed = |of: &Value| of["shed_percent"].as_f64().expect("a number");
        assert!((shed(&set["forecast"]) - shed(&forecast)).abs() < 2.0, "{set}, {forecast}");
        let members = |of: &Value| of.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
        assert_eq!(members(&set["forecast"]), members(&forecast));
        assert_eq!(change(gateway.admin(), "DELETE", ramp, &Value::Null).status(), 200);
        for (query, status) in [
            ("", 400),
            ("?percent=", 400),
            ("?percent=a+quarter", 400),
            ("?percent=25&percent=50", 400),
            ("?percent=25&then=50", 400),
            ("?percent=101", 422),
            ("?percent=-1", 422),
            ("?percent=NaN", 422),
            ("?percent=25&reference=0", 422),
        ] {
            let answer = gateway.admin_get(&format!("{ramp}:forecast{query}"));
            assert_eq!(answer.status(), status, "{query}: {}", answer.text());
        }
    }
    assert_eq!(gateway.admin_get("/v1/upstreams/nope/ramp:forecast?percent=25").status(), 404);
    assert_eq!(gateway.admin_get("/v1/upstreams/u/backends/nope/ramp:forecast?percent=25").status(), 404);
    assert_eq!(gateway.admin_get("/v1/levers").json(), json!({ "items": [] }));
}

#[test]
fn everyone_is_told_who_they_are_and_what_they_may() {
    let origin = Origin::well_behaved();
    let roles = ["viewer", "operator", "admin"];
    let token = |role: &&str| {
        let hash = blake3::hash(format!("the token of a {role}").as_bytes()).to_hex();
        format!("{{ name = \"a-{role}\", role = \"{role}\", hash = \"{hash}\" }}")
    };
    let tokens: Vec<_> = roles.iter().map(token).collect();
    let tokens = format!("tokens = [{}]", tokens.join(", "));
    let gateway = Gateway::start(&Config::simple(origin.address()).admin(&tokens));
    for (role, may) in roles.iter().zip([[true, false, false], [true, true, false], [true, true, true]]) {
        let bearer = format!("Authorization: Bearer the token of a {role}");
        let me = ask(gateway.admin(), "GET", "/v1/whoami", &[&bearer], "").json();
        let told = ["read", "act", "break_glass"].map(|what| me["may"][what] == true);
        assert_eq!((me["role"].as_str(), told), (Some(*role), may), "{me}");
        assert_eq!((&me["name"], &me["via"]), (&format!("a-{role}").into(), &"token".into()));
        let forecast = ask(gateway.admin(), "GET", "/v1/upstreams/u/ramp:forecast?percent=5", &[&bearer], "");
        assert_eq!(forecast.status(), 200, "a {role} may ask what a ramp would do");
    }
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let me = gateway.admin_get("/v1/whoami").json();
    assert_eq!(
        (&me["name"], &me["via"], &me["role"]),
        (&"loopback".into(), &"loopback".into(), &"admin".into())
    );
}
