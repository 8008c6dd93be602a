//! Metrics that documents and alerts name are exported, and what is exported is in the reference.

use super::{DOCUMENTS, read, root, sources};
use std::collections::BTreeSet;

/// Every whole name in `text` that begins with `tidegate_`; what a rule records has a colon in its name.
fn metrics(text: &str) -> Vec<&str> {
    let names = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    let names = names.filter(|name| !name.trim_end_matches(':').contains(':'));
    names.map(|name| name.trim_end_matches(':')).filter(|name| name.starts_with("tidegate_")).collect()
}

/// The parts of a histogram are not names of their own.
fn family(metric: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|part| metric.strip_suffix(part)).unwrap_or(metric)
}

/// Fails for a metric that nothing exports, and where fewer than `least` are named: then it looked at nothing.
#[track_caller]
fn assert_metrics_exist(document: &str, least: usize) {
    let source = sources(&root().join("src"));
    let text = read(document);
    let metrics = metrics(&text);
    assert!(metrics.len() >= least, "only {} metrics found in {document}", metrics.len());
    for metric in metrics {
        let found = source.contains(&format!("\"{}\"", family(metric)));
        assert!(found, "{document} names {metric}, which nothing exports");
    }
}

#[test]
fn every_metric_of_a_document_exists() {
    for document in DOCUMENTS {
        assert_metrics_exist(document, 0);
    }
    assert_metrics_exist("deploy/REFERENCE.md", 100);
}

#[test]
fn every_metric_of_the_source_is_in_the_reference() {
    let source = sources(&root().join("src"));
    let reference = read("deploy/REFERENCE.md");
    let quoted = source.split('"').filter(|text| text.starts_with("tidegate_"));
    let whole = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let names: BTreeSet<_> = quoted.filter(whole).filter(|name| !name.ends_with('_')).map(family).collect();
    assert!(names.len() > 90, "only {} metrics found", names.len());
    for name in names {
        assert!(
            reference.contains(&format!("| `{name}` |")),
            "deploy/REFERENCE.md lacks {name}. Have src/admin/catalogue.rs collect it, then `tidegate reference`"
        );
    }
}

#[test]
fn every_metric_of_a_rule_or_of_the_board_exists() {
    for document in ["prometheus/alerts.yml", "prometheus/recording.yml", "grafana/tidegate.json"] {
        assert_metrics_exist(&format!("deploy/{document}"), 10);
    }
}
