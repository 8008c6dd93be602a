//! Grafana's board as a file: whole, without overlaps, every panel explained, and every query to be had for a test.

use crate::read;
use serde_json::Value;
use std::collections::BTreeSet;

/// A question that the board asks.
pub struct Query {
    /// The panel's title, or what else asks.
    pub panel: String,
    /// With every variable filled in.
    pub expression: String,
}

fn board() -> Value {
    serde_json::from_str(&read("deploy/grafana/tidegate.json")).expect("JSON")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a Vec<Value> {
    value[key].as_array().unwrap_or_else(|| panic!("no list {key} in {value}"))
}

/// The panels, those of rows included.
fn panels(board: &Value) -> Vec<&Value> {
    let top = list(board, "panels").iter();
    top.flat_map(|panel| std::iter::once(panel).chain(panel["panels"].as_array().into_iter().flatten()))
        .collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key} in {value}"))
}

/// Every query, as Grafana sends it for all gateways and upstreams.
pub fn queries() -> Vec<Query> {
    let filled = |panel: &str, expression: &str| {
        let expression = expression
            .replace("$__rate_interval", "1m")
            .replace("$instance", ".+")
            .replace("$upstream", ".+")
            .replace("$job", "tidegate");
        assert!(!expression.contains('$'), "{panel}: a variable that nobody fills in: {expression}");
        Query { panel: panel.to_owned(), expression }
    };
    let board = board();
    let mut queries = Vec::new();
    for panel in panels(&board).into_iter().filter(|panel| panel["type"] != "row") {
        let targets = list(panel, "targets").iter();
        queries.extend(targets.map(|target| filled(text(panel, "title"), text(target, "expr"))));
    }
    for annotation in list(&board["annotations"], "list") {
        queries.push(filled(text(annotation, "name"), text(annotation, "expr")));
    }
    for variable in list(&board["templating"], "list").iter().filter(|variable| variable["type"] == "query") {
        // label_values(SERIES, LABEL): the series that have the label.
        let asked = text(&variable["query"], "query");
        let inside = asked.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (series, label) = inside.and_then(|inside| inside.rsplit_once(", ")).expect("series and a label");
        queries.push(filled(text(variable, "name"), &format!("count by ({label}) ({series})")));
    }
    assert!(queries.len() > 90, "{} queries found", queries.len());
    queries
}

#[test]
fn every_panel_has_a_title_an_explanation_and_queries() {
    let board = board();
    let mut ids = BTreeSet::new();
    for panel in panels(&board) {
        let title = text(panel, "title");
        assert!(!title.is_empty() && ids.insert(panel["id"].as_u64().expect("a number")), "{title}");
        if panel["type"] == "row" {
            continue;
        }
        assert!(["timeseries", "stat", "table"].contains(&text(panel, "type")), "{title}");
        assert!(text(panel, "description").len() > 20, "{title} has no explanation");
        let mut letters = BTreeSet::new();
        for target in list(panel, "targets") {
            assert!(letters.insert(text(target, "refId")), "{title}");
            assert_eq!(text(&target["datasource"], "uid"), "${datasource}", "{title}");
        }
        assert!(!letters.is_empty(), "{title}");
    }
}

#[test]
fn the_board_has_what_grafana_needs_to_take_it() {
    let board = board();
    assert_eq!((text(&board, "uid"), text(&board, "title")), ("tidegate", "Tidegate"));
    assert!(board["schemaVersion"].as_u64().is_some_and(|version| version >= 36));
    assert!(board.get("id").is_none_or(Value::is_null), "an id is of one Grafana");
    let variables = list(&board["templating"], "list");
    let names: Vec<&str> = variables.iter().map(|variable| text(variable, "name")).collect();
    assert_eq!(names, ["datasource", "job", "instance", "upstream"]);
    let rows: Vec<&str> = list(&board, "panels")
        .iter()
        .filter(|panel| panel["type"] == "row")
        .map(|row| text(row, "title"))
        .collect();
    let wanted = [
        "What is happening",
        "Upstreams",
        "Backends",
        "Changes",
        "Who may pass",
        "Cores",
        "The gateway's own bounds",
    ];
    assert_eq!(rows, wanted);
}

#[test]
fn no_panel_lies_over_another() {
    let board = board();
    let mut taken = BTreeSet::new();
    for panel in panels(&board) {
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        assert!(at("x") + at("w") <= 24, "{} leaves the board", text(panel, "title"));
        for y in at("y")..at("y") + at("h") {
            for x in at("x")..at("x") + at("w") {
                assert!(taken.insert((x, y)), "{} lies over another", text(panel, "title"));
            }
        }
    }
}
