//! The rules as files: every alert says what a person needs, leads to its chapter of the runbook, and is tested by
//! promtool in a case in which it fires and in a gateway that is well.

use crate::support::external::{finish, require};
use crate::{path, read};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How long promtool may take on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// One alert, as it stands in `alerts.yml`.
pub struct Alert {
    pub name: String,
    /// Its lines.
    text: String,
}

impl Alert {
    /// What stands behind a key, without its quotes.
    fn value(&self, key: &str) -> &str {
        let value = self.text.lines().find_map(|line| line.trim().strip_prefix(key));
        let value = value.unwrap_or_else(|| panic!("{} has no {key}", self.name));
        value.trim().trim_matches('"')
    }

    /// The metrics that it looks at, recorded ones left out.
    pub fn metrics(&self) -> BTreeSet<&str> {
        let (_, expression) = self.text.split_once("expr:").expect("an expression");
        let (expression, _) = expression.split_once("\n        for:").expect("that ends");
        metrics(expression)
    }
}

/// The alerts.
pub fn alerts() -> Vec<Alert> {
    let text = read("deploy/prometheus/alerts.yml");
    let parts = text.split("      - alert: ").skip(1);
    let alerts: Vec<Alert> = parts
        .map(|part| {
            let (name, text) = part.split_once('\n').expect("more than a name");
            Alert { name: name.to_owned(), text: text.to_owned() }
        })
        .collect();
    assert!(alerts.len() > 50, "{} alerts found", alerts.len());
    alerts
}

/// Names of metrics in an expression: of the gateway, its process and the scrape; not those that rules record.
pub fn metrics(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words
        .filter(|word| !word.contains(':'))
        .filter(|word| *word == "up" || word.starts_with("tidegate_") || word.starts_with("process_"))
        .collect()
}

/// The files with promtool's tests.
fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(path("deploy/prometheus/tests")).expect("the folder is there");
    entries.map(|entry| entry.expect("and readable").path()).collect()
}

fn passes(program: PathBuf, arguments: &[&str], file: PathBuf) {
    let output = finish(Command::new(program).args(arguments).arg(&file), LONG);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", file.display());
}

#[test]
fn prometheus_and_alertmanager_understand_their_files() {
    let Some(promtool) = require("promtool") else { return };
    passes(promtool.clone(), &["check", "rules"], path("deploy/prometheus/alerts.yml"));
    passes(promtool.clone(), &["check", "rules"], path("deploy/prometheus/recording.yml"));
    passes(promtool, &["check", "config"], path("deploy/prometheus/prometheus.yml"));
    let Some(amtool) = require("amtool") else { return };
    passes(amtool, &["check-config"], path("deploy/prometheus/alertmanager.yml"));
}

#[test]
fn alerts_fire_when_they_should_and_say_what_they_should() {
    let Some(promtool) = require("promtool") else { return };
    for file in cases() {
        passes(promtool.clone(), &["test", "rules"], file);
    }
}

#[test]
fn every_alert_is_tested_where_it_fires_and_where_all_is_well() {
    let texts: Vec<String> = cases().iter().map(|file| fs::read_to_string(file).expect("a text")).collect();
    let healthy = read("deploy/prometheus/tests/healthy.yml");
    let (well, ramped) = healthy.split_once("\n\n").expect("a gateway that is well, and one that is ramped");
    for Alert { name, .. } in alerts() {
        let fires = format!("alertname: {name}\n        exp_alerts:\n          - exp_labels:");
        assert!(texts.iter().any(|text| text.contains(&fires)), "no test in which {name} fires");
        let silent = format!("alertname: {name}, exp_alerts: []");
        let beside = texts.iter().any(|text| *text != healthy && text.contains(&silent));
        assert!(beside, "no test in which {name} is silent beside what it is about");
        assert!(well.contains(&silent), "healthy.yml does not ask whether {name} is silent");
        assert!(ramped.contains(&silent), "nor during a ramp that is wanted");
    }
}

/// Whoever looks at nothing is silent as well.
#[test]
fn every_metric_of_an_alert_is_there_where_all_is_well() {
    let healthy = read("deploy/prometheus/tests/healthy.yml");
    for part in healthy.split("\n\n") {
        for alert in alerts() {
            for metric in alert.metrics() {
                assert!(
                    part.contains(&format!("'{metric}{{")),
                    "healthy.yml has no {metric} for {}",
                    alert.name
                );
            }
        }
    }
}

#[test]
fn every_alert_says_how_bad_it_is_what_it_means_and_what_to_do() {
    let mut names = BTreeSet::new();
    for alert in alerts() {
        let severity = alert.value("labels:");
        assert!(["{ severity: page }", "{ severity: ticket }"].contains(&severity), "{}", alert.name);
        assert!(alert.value("summary:").len() > 20, "{}", alert.name);
        assert!(alert.value("action:").len() > 20, "{}", alert.name);
        assert!(names.insert(alert.name.clone()), "{} twice", alert.name);
    }
}

/// As GitHub makes them of headings.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let headings = markdown.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_alert_leads_to_its_chapter_of_the_runbook() {
    // One prefix for all, so that one command puts another in.
    let place = "https://tidegate.example/deploy/RUNBOOK.md#";
    for alert in alerts() {
        assert_eq!(alert.value("runbook_url:"), format!("{place}{}", alert.name.to_lowercase()));
    }
    let anchors = anchors(&read("deploy/RUNBOOK.md"));
    let missing: Vec<String> = alerts().into_iter().map(|alert| alert.name).collect();
    let missing: Vec<_> = missing.iter().filter(|name| !anchors.contains(&name.to_lowercase())).collect();
    assert!(missing.is_empty(), "deploy/RUNBOOK.md has no chapters for {missing:?}");
}
