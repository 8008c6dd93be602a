//! A real Alertmanager hears of what is wrong, through a real Prometheus.

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
