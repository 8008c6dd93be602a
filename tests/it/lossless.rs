//! Rollouts begun, widened, made active, ended and rolled back, again and again, while clients come on kept and on new
//! connections: none of them loses a request to it.

use crate::rig::load::stream::Stream;
use crate::rig::load::{Load as Open, Plan};
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::Origin;
use crate::support::wait_for;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A busy machine takes its time.
const LONG: Duration = Duration::from_secs(40);
/// A bake is at least twice the route's timeout, which is generous: nobody is to fail for a machine that is busy.
const POLICY: &str = "[rollout]\nrequired = true\nstages = [\"20%\", \"50%\", \"100%\"]\nbake = \"600ms\"\n\
                      guard = { max_latency_ratio = 100.0, min_requests = 1 }\n";
/// Rollouts in a row.
const ROLLOUTS: u32 = 50;
/// Each so many of them goes to its end; a stage lasts its bake.
const WHOLE: u32 = 17;

fn marked(backend: SocketAddr, mark: u32) -> Config {
    let edit = format!("timeout = \"300ms\"\nresponse_headers = {{ set = {{ \"x-gen\" = \"{mark}\" }} }}");
    Config::under(POLICY).upstream("u", &[backend], "").route("r", "/", "u", &edit)
}

fn view(gateway: &Gateway) -> Value {
    gateway.admin_get("/v1/rollout").json()
}

fn until(gateway: &Gateway, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    wait_for(LONG, what, || Some(view(gateway)).filter(&holds))
}

fn say(gateway: &Gateway, path: &str) {
    let answer = gateway.admin_post(path, "Content-Type: application/json\r\n", "{}");
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

/// Begins one and brings it to one of its ends.
fn roll_out(gateway: &Gateway, config: &Config, n: u32) {
    let text = config.render(&gateway.folder().join("state"));
    let (whole, forced) = (n.is_multiple_of(WHOLE), n % 4 == 3);
    let query = if forced && !whole { "?now=true&break_glass=true&reason=load" } else { "" };
    let answer = gateway.admin_post(&format!("/v1/versions{query}"), "", text);
    assert!([200, 202].contains(&answer.status()), "{}", answer.text());
    let number = answer.json()["version"]["number"].clone();
    let ended = |view: &Value| view["state"] == "none" && view["last"]["number"] == number;
    match n % 4 {
        _ if whole => {
            let view = until(gateway, "it is over", ended);
            assert_eq!(view["last"]["outcome"], "good", "{view}");
            return;
        }
        0 => say(gateway, "/v1/rollout:abort"),
        3 => say(gateway, "/v1/rollback"),
        one => {
            until(gateway, "some clients have it", |view| view["state"] == "rolling_out");
            say(gateway, if one == 1 { "/v1/rollout:abort" } else { "/v1/rollback" });
        }
    }
    until(gateway, "it is over", ended);
}

#[test]
fn fifty_rollouts_in_a_row_under_load_fail_no_request_and_close_no_connection() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), 0));
    let kept = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(4));
    let mut n = 0;
    let mut sent = 0;
    while n < ROLLOUTS {
        let plan = Plan::new(Duration::from_secs(3), u64::from(n));
        let stream = |name| Stream::new(name, gateway.edge(), "/", 80.0).patience(Duration::from_secs(10));
        let streams = vec![stream("open"), stream("new").header("connection", "close").poisson()];
        let (load, started) = (Open::start(plan, streams), Instant::now());
        // As many as fit into one load; whatever comes after it has one of its own.
        while n < ROLLOUTS && started.elapsed() < plan.duration {
            n += 1;
            roll_out(&gateway, &marked(origin.address(), n), n);
        }
        for seen in &load.finish().streams {
            let fine = seen.answered == seen.scheduled - seen.skipped && seen.errors.is_empty();
            assert!(fine, "{n}: {}: {:?} {:?}", seen.name, seen.statuses, seen.errors);
            sent += seen.answered;
        }
    }
    let kept = kept.stop();
    kept.only(&[200]);
    assert!(sent > 200 && kept.count(200) > 200, "there was load: {sent}, {}", kept.count(200));
    gateway.settles(Duration::from_secs(15));
    assert_eq!(gateway.metrics().value("tidegate_rollbacks_total", &[("cause", "guard")]), 0.0);
}
