//! A real Prometheus scrapes a real gateway at work.

use crate::board::queries;
use crate::programs::{Prometheus, prometheus};
use crate::rules::{alerts, metrics};
use crate::scene::Scene;
use crate::support::wait_until;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// For what takes some scrapes.
const SCRAPES: Duration = Duration::from_secs(40);

/// Queries of the board that rightly have no answer in this scene, by a part of them, and why.
const EMPTY: [(&str, &str); 6] = [
    ("tidegate_auth_keys", "its auth asks a service and has no keys"),
    ("tidegate_notifications_total", "it has no [[notify]]"),
    ("tidegate_notification_failing", "nor anybody who could not be told"),
    ("tidegate_incident", "nobody opened or drafted one"),
    ("changes(tidegate_config_applies_total", "nothing was applied while it was scraped"),
    ("changes(tidegate_rollbacks_total", "nothing was taken back"),
];

/// Metrics that alerts look at and that this scene need not have: its auth has no keys, and nobody is told.
const ABSENT: [&str; 6] = [
    "tidegate_auth_keys",
    "tidegate_auth_key_fetches_total",
    "tidegate_notifications_total",
    "tidegate_notification_failing",
    "tidegate_incidents_open",
    "tidegate_incident_drafts",
];

/// Alerts about time that the machine, and not the gateway, may take.
const OF_THE_MACHINE: [&str; 2] = ["TidegateCoreLate", "TidegateCoreDoesNotKeepUp"];

#[test]
fn every_query_has_an_answer_and_only_what_is_wrong_is_told() {
    let Some(program) = prometheus() else { return };
    let mut scene = Scene::well();
    // Without their patience, the more may not fire for nothing.
    let at_once = |name: &str| !OF_THE_MACHINE.contains(&name) && name != "TidegateRampForgotten";
    let prometheus = Prometheus::start(&program, scene.gateway.admin(), None, at_once);
    wait_until(SCRAPES, "it has scraped and judged for a while", || {
        let seen = prometheus.number("count_over_time(instance:tidegate_requests:rate5m[1m])");
        seen.is_some_and(|seen| seen >= 6.0)
    });
    // A machine so busy that cores refuse has something to tell.
    let starved =
        prometheus.number("sum(tidegate_refusals_total{reason=\"cpu\"})").is_some_and(|count| count > 0.0);
    assert!(starved || told(&prometheus).is_empty(), "all is well: {:#?}", prometheus.alerts());

    scene.trouble();
    for (alert, label, name) in [
        ("TidegateBackendDown", "backend", "orders1"),
        ("TidegateHalfOfBackendsDown", "upstream", "orders"),
        ("TidegateShedding", "upstream", "narrow"),
    ] {
        wait_until(SCRAPES, &format!("{alert} fires"), || fires(&prometheus, alert, label, name));
    }
    wait_until(SCRAPES, "the ramp sheds", || {
        let sheds = "sum(rate(tidegate_shed_total{upstream=\"fleet\", reason=\"ramp\"}[1m]))";
        prometheus.number(sheds).is_some_and(|sheds| sheds > 1.0)
    });
    every_query_answers(&prometheus);
    every_rule_was_worked_out(&prometheus);
    every_metric_of_an_alert_is_scraped(&prometheus);
    assert!(!fires(&prometheus, "TidegateShedding", "upstream", "fleet"), "that is wanted");
    assert!(prometheus.query("no such query").is_err(), "and an error would have been seen");
}

fn told(prometheus: &Prometheus) -> BTreeSet<String> {
    let name = |alert: &Value| alert["labels"]["alertname"].as_str().expect("a name").to_owned();
    prometheus.alerts().iter().map(name).filter(|name| !OF_THE_MACHINE.contains(&&**name)).collect()
}

fn fires(prometheus: &Prometheus, alert: &str, label: &str, name: &str) -> bool {
    let is = |it: &Value| it["labels"]["alertname"] == alert && it["labels"][label] == name;
    prometheus.alerts().iter().any(|it| is(it) && it["state"] == "firing")
}

fn every_query_answers(prometheus: &Prometheus) {
    for query in queries() {
        let excused = EMPTY.iter().any(|(part, _)| query.expression.contains(part));
        // What was asked for in the last moment comes with the next scrape.
        wait_until(SCRAPES, &format!("{}: {} has an answer", query.panel, query.expression), || {
            match prometheus.query(&query.expression) {
                Ok(samples) => excused || !samples.is_empty(),
                Err(error) => panic!("{}: {}: {error}", query.panel, query.expression),
            }
        });
    }
}

fn every_rule_was_worked_out(prometheus: &Prometheus) {
    let rules = prometheus.rules();
    assert!(rules.len() > 70, "{} rules", rules.len());
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule:#}");
        if rule["type"] == "recording" {
            let name = rule["name"].as_str().expect("a name");
            wait_until(SCRAPES, &format!("{name} is recorded"), || {
                prometheus.query(name).is_ok_and(|samples| !samples.is_empty())
            });
        }
    }
}

fn every_metric_of_an_alert_is_scraped(prometheus: &Prometheus) {
    for alert in alerts() {
        for metric in alert.metrics() {
            let samples = prometheus.query(metric).expect("an expression");
            assert!(!samples.is_empty() || ABSENT.contains(&metric), "{metric} for {}", alert.name);
        }
    }
    assert!(!metrics("up + tidegate_inflight").is_empty());
}
