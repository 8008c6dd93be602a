//! What is written beside the code is true: the tests, metrics, defaults, files and configuration that the documents
//! name exist, and so does every metric that an alert looks at.
//!
//! It cannot judge sentences; it keeps the names and numbers in them.

#[path = "documents/deploy.rs"]
mod deploy;
#[path = "documents/links.rs"]
mod links;
#[path = "documents/metrics.rs"]
mod metrics;
#[path = "documents/openapi.rs"]
mod openapi;
#[path = "documents/page.rs"]
mod page;
#[path = "documents/runbook.rs"]
mod runbook;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What people read, beside the changelog.
const DOCUMENTS: [&str; 7] = [
    "README.md",
    "deploy/RUNBOOK.md",
    "deploy/OPERATING.md",
    "deploy/REFERENCE.md",
    "deploy/LIMITS.md",
    "tests/PROMISES.md",
    "benches/README.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust source below `folder`, as one text.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut text = String::new();
    for path in entries.map(|entry| entry.expect("and readable").path()) {
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|end| end == "rs") {
            text += &fs::read_to_string(path).expect("source is UTF-8");
        }
    }
    text
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The part of a text under one heading.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, after) = text.split_once(heading).unwrap_or_else(|| panic!("no section {heading}"));
    after.split_once("\n## ").map_or(after, |(section, _)| section)
}

/// Every file below `folder`, and in it those that are text.
fn texts(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("and readable").path());
    let of = |path: PathBuf| match path.is_dir() {
        true => texts(&path),
        false => fs::read_to_string(&path).map(|text| (path, text)).into_iter().collect(),
    };
    paths.flat_map(of).collect()
}

#[test]
fn no_document_holds_the_marks_of_a_merge() {
    let mut all: Vec<_> =
        ["config", "deploy"].iter().flat_map(|folder| texts(&root().join(folder))).collect();
    all.push((PathBuf::from("CHANGELOG.md"), read("CHANGELOG.md")));
    all.extend(DOCUMENTS.map(|name| (PathBuf::from(name), read(name))));
    for (path, text) in all {
        let marked =
            |line: &str| ["<<<<<<< ", ">>>>>>> ", "======="].iter().any(|mark| line.starts_with(mark));
        assert_eq!(text.lines().find(|line| marked(line)), None, "{}", path.display());
    }
}

#[test]
fn every_promise_names_tests_that_exist() {
    let promises = read("tests/PROMISES.md");
    let code = sources(&root().join("tests")) + &sources(&root().join("src"));
    let rows = section(&promises, "\n## What it promises\n").lines().filter(|line| line.starts_with("| "));
    let names: Vec<_> = rows.flat_map(quoted).filter(|name| !name.contains(['/', '.'])).collect();
    assert!(names.len() >= 10, "only {} tests named", names.len());
    for name in names {
        assert!(
            code.contains(&format!("fn {name}(")),
            "tests/PROMISES.md names the test {name}, which does not exist"
        );
    }
}

#[test]
fn whatever_it_does_by_itself_is_shown_by_tests_that_exist() {
    let promises = read("tests/PROMISES.md");
    let code = sources(&root().join("tests"));
    let rows =
        section(&promises, "\n## What it does by itself\n").lines().filter(|line| line.starts_with("| "));
    let names: Vec<_> = rows.flat_map(quoted).collect();
    assert!(names.len() >= 30, "only {} tests named", names.len());
    for name in names {
        assert!(
            code.contains(&format!("fn {name}(")),
            "tests/PROMISES.md names the test {name}, which does not exist"
        );
    }
}

#[test]
fn every_default_of_the_limits_is_the_references() {
    let limits = read("deploy/LIMITS.md");
    let reference = read("config/tidegate.toml");
    let mut compared = 0;
    for row in section(&limits, "\n## Limits and their defaults\n").lines() {
        let mut cells = row.split(" | ");
        let (Some(key), Some(default)) = (cells.next(), cells.next()) else { continue };
        let Some((table, key)) = key.trim_matches(['|', ' ', '`']).split_once(' ') else { continue };
        let Some(default) = default.strip_prefix('`').and_then(|default| default.strip_suffix('`')) else {
            continue;
        };
        // One that is there only as an example is commented out.
        let written = reference.split_once(&format!("\n{table}\n"));
        let example = || reference.split_once(&format!("\n#{table}\n"));
        let (_, after) = written.or_else(example).unwrap_or_else(|| panic!("no {table}"));
        let table = after.split_once("\n[").map_or(after, |(table, _)| table);
        let line = format!("{key} = {default}");
        let found = table.lines().any(|found| found.trim_start_matches('#') == line);
        assert!(found, "deploy/LIMITS.md says `{line}`, config/tidegate.toml does not");
        compared += 1;
    }
    assert!(compared > 15, "only {compared} defaults compared");
}

#[test]
fn the_readmes_configuration_has_ten_lines_and_passes_the_check() {
    let readme = read("README.md");
    let (_, after) = readme.split_once("```toml\n").expect("the README shows a configuration");
    let (text, _) = after.split_once("```").expect("and ends it");
    assert_eq!(text.lines().count(), 10);
    let folder = tempfile::tempdir().expect("a folder of its own");
    let file = folder.path().join("tidegate.toml");
    fs::write(&file, text).expect("written");
    let check = Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("check").arg(&file).output().expect("runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn prometheus_understands_the_alerts() {
    let rules = root().join("deploy/prometheus-rules.yml");
    match Command::new("promtool").args(["check", "rules"]).arg(rules).output() {
        Ok(check) => assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr)),
        Err(_) if std::env::var_os("TIDEGATE_REQUIRE_EXTERNAL").is_none() => {
            eprintln!("skipped: promtool is not installed (Debian: apt-get install prometheus)");
        }
        Err(error) => panic!("promtool is required here: {error}"),
    }
}

/// What an alert says of made-up numbers; the time is counted from 1970.
const CERTIFICATES: &str = r#"
rule_files: [RULES]
tests:
  - interval: 1m
    input_series:
      - { series: 'tidegate_certificate_expiry_timestamp_seconds{listener="edge",certificate="far.pem"}', values: '1300000x60' }
      - { series: 'tidegate_certificate_expiry_timestamp_seconds{listener="edge",certificate="near.pem"}', values: '1200x60' }
      - { series: 'tidegate_certificate_refused{upstream="orders"}', values: '1x60' }
    alert_rule_test:
      - { eval_time: 5m, alertname: TidegateCertificateExpires, exp_alerts: [] }
      - eval_time: 15m
        alertname: TidegateCertificateExpires
        exp_alerts:
          - exp_labels: { severity: ticket, listener: edge, certificate: near.pem }
            exp_annotations:
              summary: "near.pem of edge ends in 5m 0s"
              action: "Renew it and put it in its place; it is taken within seconds. Is what renews it still running?"
      - { eval_time: 15m, alertname: TidegateCertificateExpired, exp_alerts: [] }
      - eval_time: 25m
        alertname: TidegateCertificateExpired
        exp_alerts:
          - exp_labels: { severity: page, listener: edge, certificate: near.pem }
            exp_annotations:
              summary: "near.pem of edge has expired"
              action: "Whoever is shown it refuses the connection. Put a new one in its place; it is taken within seconds."
      - eval_time: 10m
        alertname: TidegateCertificateRefused
        exp_alerts:
          - exp_labels: { severity: ticket, upstream: orders }
            exp_annotations:
              summary: "Changed certificate files of orders cannot be used"
              action: "GET /readyz names the file and says why; the last good ones stay in use until it is mended."
"#;

/// A limit at its floor that acts, and one that does not.
const LIMITS: &str = r#"
rule_files: [RULES]
evaluation_interval: 10s
tests:
  - interval: 10s
    input_series:
      - { series: 'tidegate_upstream_adaptive_at_floor{upstream="orders"}', values: '0x5 1x20' }
      - { series: 'tidegate_upstream_adaptive_enforced{upstream="orders"}', values: '1x25' }
      - { series: 'tidegate_upstream_adaptive_at_floor{upstream="watched"}', values: '1x25' }
      - { series: 'tidegate_upstream_adaptive_enforced{upstream="watched"}', values: '0x25' }
    alert_rule_test:
      - { eval_time: 40s, alertname: TidegateLimitAtFloor, exp_alerts: [] }
      - eval_time: 90s
        alertname: TidegateLimitAtFloor
        exp_alerts:
          - exp_labels: { severity: page, upstream: orders }
            exp_annotations:
              summary: "The adaptive limit of orders is as low as it goes, and requests are refused for it"
              action: "`tidegate status` says why: its answers fail or take too long with a handful in flight. Look at its backends."
"#;

/// A fleet that is ramped from minute 11 on and sheds five times as much from minute 62 on, and a drained backend.
const RAMPS: &str = r#"
rule_files: [RULES]
tests:
  - interval: 1m
    input_series:
      - { series: 'tidegate_upstream_ramp_percent{upstream="orders"}', values: '100x10 25x120' }
      - { series: 'tidegate_upstream_ramp_percent{upstream="users"}', values: '100x130' }
      - { series: 'tidegate_backend_ramp_percent{upstream="orders",backend="a"}', values: '100x10 25x120' }
      - { series: 'tidegate_backend_ramp_percent{upstream="users",backend="a"}', values: '100x130' }
      - { series: 'tidegate_backend_ramp_percent{upstream="users",backend="b"}', values: '0x130' }
      - { series: 'tidegate_shed_total{upstream="orders",class="default",reason="ramp"}', values: '0x10 0+120x50 6600+600x60' }
    alert_rule_test:
      - { eval_time: 55m, alertname: TidegateRampForgotten, exp_alerts: [] }
      - eval_time: 80m
        alertname: TidegateRampForgotten
        exp_alerts:
          - exp_labels: { severity: ticket, upstream: orders }
            exp_annotations:
              summary: "orders has been ramped or drained for an hour, and may carry 25 %"
              action: "`tidegate ramp show` says who did it and why; `ramp clear` or `ready` ends it."
          - exp_labels: { severity: ticket, upstream: users, backend: b }
            exp_annotations:
              summary: "users/b has been ramped or drained for an hour, and may carry 0 %"
              action: "`tidegate ramp show` says who did it and why; `ramp clear` or `ready` ends it."
      - { eval_time: 16m, alertname: TidegateRampShedsMore, exp_alerts: [] }
      - { eval_time: 50m, alertname: TidegateRampShedsMore, exp_alerts: [] }
      - eval_time: 68m
        alertname: TidegateRampShedsMore
        exp_alerts:
          - exp_labels: { severity: ticket, upstream: orders }
            exp_annotations:
              summary: "orders is ramped as it was, and sheds more and more: 10 requests a second"
              action: "Clients come again faster than they are let in, or there are more of them. `tidegate ramp show` has a forecast."
"#;

/// One upstream that is ramped and sheds for it, then one that has no room, and the routes of both; a drained backend
/// is no ramp. Rates are those of one gateway.
const SHEDS: &str = r#"
rule_files: [RULES]
tests:
  - interval: 30s
    input_series:
      - { series: 'tidegate_upstream_ramp_percent{upstream="ramped"}', values: '25x60' }
      - { series: 'tidegate_backend_ramp_percent{upstream="ramped",backend="a"}', values: '25x60' }
      - { series: 'tidegate_shed_total{upstream="ramped",class="default",reason="ramp"}', values: '0+300x60' }
      - { series: 'tidegate_shed_total{upstream="ramped",class="batch",reason="class_limit"}', values: '0+300x60' }
      - { series: 'tidegate_upstream_ramp_percent{upstream="full"}', values: '100x60' }
      - { series: 'tidegate_backend_ramp_percent{upstream="full",backend="a"}', values: '100x60' }
      - { series: 'tidegate_backend_ramp_percent{upstream="full",backend="b"}', values: '0x60' }
      - { series: 'tidegate_shed_total{upstream="full",class="batch",reason="class_limit"}', values: '0x40 0+1500x20' }
      - { series: 'tidegate_requests_total{route="ramped",code_class="5xx",source="gateway"}', values: '0+600x60' }
      - { series: 'tidegate_requests_total{route="ramped",code_class="2xx",source="backend"}', values: '0+600x60' }
      - { series: 'tidegate_requests_total{route="full",code_class="5xx",source="gateway"}', values: '0x40 0+1500x20' }
      - { series: 'tidegate_requests_total{route="full",code_class="2xx",source="backend"}', values: '0+1500x60' }
    alert_rule_test:
      - { eval_time: 15m, alertname: TidegateShedding, exp_alerts: [] }
      - { eval_time: 15m, alertname: TidegateRequestsFailing, exp_alerts: [] }
      - eval_time: 28m
        alertname: TidegateShedding
        exp_alerts:
          - exp_labels: { severity: page, upstream: full }
            exp_annotations:
              summary: "full has no room: 50 requests a second are refused"
              action: "Look at tidegate_shed_total by reason and class, then at the upstream's latency. Its neighbours are not affected."
      - eval_time: 28m
        alertname: TidegateRequestsFailing
        exp_alerts:
          - exp_labels: { severity: page, route: full }
            exp_annotations:
              summary: "The gateway itself answers 30% of full with 5xx"
              action: "The reason is in the access log and in x-tidegate-reason: no room, a deadline, or a broken backend."
"#;

/// A backend that restarts every minute, and one that did so once.
const FLAPS: &str = r#"
rule_files: [RULES]
tests:
  - interval: 1m
    input_series:
      - { series: 'tidegate_backend_incarnations_total{upstream="orders",backend="a"}', values: '0x10 0+1x30' }
      - { series: 'tidegate_backend_ejections_total{upstream="orders",backend="a"}', values: '0x40' }
      - { series: 'tidegate_backend_incarnations_total{upstream="orders",backend="b"}', values: '0x10 1x30' }
      - { series: 'tidegate_backend_ejections_total{upstream="orders",backend="b"}', values: '0x10 1x30' }
    alert_rule_test:
      - { eval_time: 12m, alertname: TidegateBackendFlaps, exp_alerts: [] }
      - eval_time: 35m
        alertname: TidegateBackendFlaps
        exp_alerts:
          - exp_labels: { severity: ticket, upstream: orders, backend: a }
            exp_annotations:
              summary: "orders/a was ejected or restarted 15 times in a quarter of an hour"
              action: "`tidegate events --kind ejection,ramp` says why each time. Does it crash, or fail under load?"
"#;

/// A change that waits, one that went around the stages, and one that came back.
const CHANGES: &str = r#"
rule_files: [RULES]
tests:
  - interval: 1m
    input_series:
      - { series: 'tidegate_rollout_waiting{instance="a"}', values: '0x5 1x20' }
      - { series: 'tidegate_break_glass{instance="a"}', values: '0x5 1x20' }
      - { series: 'tidegate_rollbacks_total{instance="a",cause="guard"}', values: '0x10 1x20' }
    alert_rule_test:
      - { eval_time: 8m, alertname: TidegateRolloutWaits, exp_alerts: [] }
      - eval_time: 12m
        alertname: TidegateRolloutWaits
        exp_alerts:
          - exp_labels: { severity: ticket, instance: a }
            exp_annotations:
              summary: "A change on a waits for a person"
              action: "`tidegate status` says for what: `approve N`, `confirm`, or `promote` and `abort`. One that is not confirmed goes back by itself."
      - { eval_time: 5m, alertname: TidegateGlassBroken, exp_alerts: [] }
      - eval_time: 7m
        alertname: TidegateGlassBroken
        exp_alerts:
          - exp_labels: { severity: page, instance: a }
            exp_annotations:
              summary: "Somebody went around the stages of a"
              action: "GET /readyz says who and why. If that is right, `tidegate acknowledge`; if not, `tidegate rollback`."
      - { eval_time: 9m, alertname: TidegateRolledBack, exp_alerts: [] }
      - eval_time: 12m
        alertname: TidegateRolledBack
        exp_alerts:
          - exp_labels: { severity: ticket, instance: a, cause: guard }
            exp_annotations:
              summary: "A version of a was taken back (guard)"
              action: "`tidegate history` and `tidegate show N` say why, with the numbers. Its text stays out until it changes or somebody applies it."
"#;

/// Has promtool run a test of the rules.
fn promtool_passes(test: &str) {
    let folder = tempfile::tempdir().expect("a folder of its own");
    let file = folder.path().join("test.yml");
    let rules = root().join("deploy/prometheus-rules.yml");
    fs::write(&file, test.replace("RULES", &rules.display().to_string())).expect("written");
    match Command::new("promtool").args(["test", "rules"]).arg(&file).output() {
        Ok(test) => assert!(test.status.success(), "{}", String::from_utf8_lossy(&test.stderr)),
        Err(_) if std::env::var_os("TIDEGATE_REQUIRE_EXTERNAL").is_none() => {
            eprintln!("skipped: promtool is not installed (Debian: apt-get install prometheus)");
        }
        Err(error) => panic!("promtool is required here: {error}"),
    }
}

#[test]
fn alerts_about_certificates_come_in_time() {
    promtool_passes(CERTIFICATES);
}

#[test]
fn alerts_about_ramps_come_for_those_that_are_forgotten_or_shed_more_and_more() {
    promtool_passes(RAMPS);
}

#[test]
fn nobody_is_paged_for_what_a_ramp_sheds() {
    promtool_passes(SHEDS);
}

#[test]
fn changes_that_wait_go_around_the_stages_or_come_back_are_told() {
    promtool_passes(CHANGES);
}

#[test]
fn a_backend_that_keeps_restarting_is_a_ticket() {
    promtool_passes(FLAPS);
}

#[test]
fn the_alerts_tell_of_a_limit_at_its_floor_where_it_acts() {
    promtool_passes(LIMITS);
}

#[test]
fn the_pipeline_runs_the_readmes_test_command() {
    let command = "cargo test --locked";
    assert!(read("README.md").contains(&format!("\n{command} ")));
    assert!(read(".ci/run").contains(&format!("part tests with_second_chance {command}\n")));
}
