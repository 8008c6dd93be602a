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
#[path = "documents/page.rs"]
mod page;
#[path = "documents/openapi.rs"]
mod openapi;
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
fn the_pipeline_runs_the_readmes_test_command() {
    let command = "cargo test --locked";
    assert!(read("README.md").contains(&format!("\n{command} ")));
    assert!(read(".ci/run").contains(&format!("part tests with_second_chance {command}\n")));
}
