//! A real Alertmanager hears of what is wrong, through a real Prometheus and from the gateway itself, as one thing.

use crate::programs::{Prometheus, alertmanager, prometheus};
use crate::scene::CHECKED;
use crate::support::config::Config;
use crate::support::external::require;
use crate::support::gateway::Gateway;
use crate::support::origins::{Origin, refused};
use crate::support::wait_for;
use serde_json::Value;
use std::time::Duration;

/// From the scrape to the alert: two intervals of a second, and what a busy machine adds.
const HEARD: Duration = Duration::from_secs(40);

#[test]
fn a_backend_that_is_down_reaches_alertmanager_with_its_chapter_of_the_runbook() {
    let (Some(prometheus), Some(manager)) = (prometheus(), require("prometheus-alertmanager")) else {
        return;
    };
    let origin = Origin::well_behaved();
    let config = Config::new()
        .upstream("orders", &[origin.address(), refused()], CHECKED)
        .route("r", "/", "orders", "");
    let gateway = Gateway::start(&config);
    let manager = alertmanager(&manager);
    let at_once = |name: &str| name == "TidegateBackendDown";
    let _prometheus = Prometheus::start(&prometheus, gateway.admin(), Some(manager.address()), at_once);
    let alert: Value = wait_for(HEARD, "Alertmanager has the alert", || {
        let alerts = manager.get("/api/v2/alerts").json();
        let alerts = alerts.as_array()?;
        alerts.iter().find(|alert| alert["labels"]["alertname"] == "TidegateBackendDown").cloned()
    });
    let labels = &alert["labels"];
    assert_eq!((&labels["upstream"], &labels["backend"]), (&"orders".into(), &"orders1".into()));
    assert_eq!((&labels["severity"], &labels["job"]), (&"ticket".into(), &"tidegate".into()));
    let words = &alert["annotations"];
    assert_eq!(words["summary"], "Backend orders1 of orders cannot be used");
    assert_eq!(words["runbook_url"], "https://tidegate.example/deploy/RUNBOOK.md#tidegatebackenddown");
    assert_eq!(alert["receivers"][0]["name"], "tickets", "{alert:#}");
}

/// Whoever gets both is told once: the same name, severity, instance and upstream, so the same group.
#[test]
fn what_prometheus_and_the_gateway_say_of_the_same_is_one_group() {
    let (Some(prometheus), Some(manager)) = (prometheus(), require("prometheus-alertmanager")) else {
        return;
    };
    let (origin, dies) = (Origin::well_behaved(), Origin::well_behaved());
    let manager = alertmanager(&manager);
    let config = |told: &str| {
        Config::new()
            .upstream("orders", &[origin.address(), dies.address()], CHECKED)
            .route("r", "/", "orders", "")
            .text(told)
    };
    let gateway = Gateway::start(&config(""));
    let told = format!(
        "[[notify]]\nname = \"alerts\"\nkind = \"alertmanager\"\nurl = \"http://{}\"\ninstance = \"{}\"\n\
         group_wait = \"100ms\"\nrunbook = \"https://tidegate.example/deploy/RUNBOOK.md\"",
        manager.address(),
        gateway.admin()
    );
    gateway.change(&config(&told));
    dies.die();
    let at_once = |name: &str| name == "TidegateBackendDown";
    let _prometheus = Prometheus::start(&prometheus, gateway.admin(), Some(manager.address()), at_once);
    let group: Value = wait_for(HEARD, "both are in one group", || {
        let groups = manager.get("/api/v2/alerts/groups").json();
        let of_both = |group: &&Value| group["alerts"].as_array().is_some_and(|alerts| alerts.len() == 2);
        groups.as_array()?.iter().find(of_both).cloned()
    });
    assert_eq!(group["labels"]["alertname"], "TidegateBackendDown", "{group:#}");
    assert_eq!(group["labels"]["upstream"], "orders", "{group:#}");
    let alerts = group["alerts"].as_array().expect("alerts");
    let each = |part: &str, name: &str| {
        alerts
            .iter()
            .map(|alert| alert[part][name].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(each("labels", "severity"), ["ticket", "ticket"]);
    let chapter = "https://tidegate.example/deploy/RUNBOOK.md#tidegatebackenddown";
    assert_eq!(each("annotations", "runbook_url"), [chapter, chapter]);
    assert!(each("labels", "kind").contains(&"ejection".to_owned()), "one is the gateway's: {group:#}");
}
