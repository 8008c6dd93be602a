//! The table of counts says what has become dearer, by how much, and is written as it is read.

#[path = "../benches/counts/table.rs"]
mod table;

use std::fs;
use std::path::Path;
use table::{Found, Table};

const TABLE: &str = r#"# An opening.

[margins]
instructions_percent = 5.0
allocations = 0.2
calls = 0.05

[[path]]
name = "GET"
bench = "walk"
instructions = 40000.0
allocations = 17.00
calls = { recvfrom = 2.00, sendto = 2.00 }

[[path]]
name = "admit"
bench = "admission"
times = 20000
margins = { instructions_percent = 10.0, allocations = 0.2, calls = 0.2 }
instructions = 1000.0
allocations = 0.00
"#;

fn table() -> Table {
    Table::parse(TABLE).expect("a table")
}

fn found(name: &str, instructions: f64, allocations: f64, calls: &[(&str, f64)]) -> Found {
    let calls = (!calls.is_empty()).then(|| calls.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect());
    Found { name: name.to_owned(), instructions: Some(instructions), allocations: Some(allocations), calls }
}

#[track_caller]
fn assert_said(found: Found, dearer: bool, sentence: &str) {
    let changes = table().compare(&[found]);
    let said: Vec<_> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(said, [sentence]);
    assert_eq!(changes[0].is_dearer(), dearer);
}

#[test]
fn what_stays_within_its_margin_is_not_mentioned() {
    let calls = [("recvfrom", 2.04), ("sendto", 1.96), ("futex", 0.04)];
    let within = [found("GET", 41_900.0, 17.15, &calls), found("GET", 38_100.0, 16.85, &calls)];
    assert_eq!(table().compare(&within), []);
}

#[test]
fn what_grew_beyond_its_margin_is_said_with_its_size() {
    let calls = [("recvfrom", 2.0), ("sendto", 2.0)];
    assert_said(
        found("GET", 44_000.0, 17.0, &calls),
        true,
        "GET: instructions grew from 40000 to 44000 (+10.0 %)",
    );
    assert_said(
        found("GET", 40_000.0, 18.0, &calls),
        true,
        "GET: allocations grew from 17.00 to 18.00 (+5.9 %)",
    );
    let more = [("recvfrom", 3.0), ("sendto", 2.0)];
    assert_said(
        found("GET", 40_000.0, 17.0, &more),
        true,
        "GET: calls of recvfrom grew from 2.00 to 3.00 (+50.0 %)",
    );
    let new = [("recvfrom", 2.0), ("sendto", 2.0), ("futex", 1.0)];
    assert_said(found("GET", 40_000.0, 17.0, &new), true, "GET: calls of futex grew from 0.00 to 1.00");
}

#[test]
fn a_path_may_have_margins_of_its_own() {
    assert_eq!(table().compare(&[found("admit", 1_090.0, 0.0, &[])]), []);
    let grown = found("admit", 1_110.0, 0.0, &[]);
    assert_said(grown, true, "admit: instructions grew from 1000 to 1110 (+11.0 %)");
}

#[test]
fn what_became_cheaper_is_said_and_is_not_dearer() {
    let gone = [("recvfrom", 2.0)];
    assert_said(
        found("GET", 40_000.0, 17.0, &gone),
        false,
        "GET: calls of sendto fell from 2.00 to 0.00 (-100.0 %)",
    );
}

#[test]
fn what_never_allocated_may_not_begin_to() {
    let mut seldom = found("admit", 1_000.0, 0.02, &[]);
    seldom.instructions = None;
    assert_said(seldom, true, "admit: allocations grew from 0.00 to 0.02");
}

#[test]
fn an_update_writes_what_was_found_and_leaves_the_rest() {
    let mut table = table();
    assert_eq!(table.render(TABLE), TABLE);
    let mut measured = found("GET", 39_000.4, 16.5, &[("recvfrom", 2.0), ("sendto", 1.0), ("brk", 0.01)]);
    measured.allocations = None;
    table.take(vec![measured]);
    let expected = TABLE.replace("40000.0", "39000.0").replace("sendto = 2.00", "sendto = 1.00").to_owned();
    assert_eq!(table.render(TABLE), expected);
}

#[test]
fn the_committed_table_is_as_an_update_writes_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/counts.toml");
    let text = fs::read_to_string(path).expect("the table is there");
    let table = Table::parse(&text).expect("and is one");
    assert_eq!(table.render(&text), text);
    assert!(table.rows.iter().all(|row| row.bench.is_some() || row.calls.is_some()));
    assert_eq!(table.row("GET").map(|row| row.times), Some(500));
}
