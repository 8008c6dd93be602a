//! The page that is inside the binary is the one whose sources lie beside it, as far as their stamp tells without node.

use super::{read, root};
use aws_lc_rs::digest::{Context, SHA256};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tidegate::control::condition::About;
use tidegate::reject::Reason;

/// Every file below `folder` but those in `left_out`, by its path from there with `/` in it, in byte order.
fn files_of(folder: &Path, left_out: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let entries =
        fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("and readable"));
    let mut files = BTreeMap::new();
    for entry in entries {
        let (name, path) = (entry.file_name().into_string().expect("UTF-8"), entry.path());
        if !path.is_dir() {
            files.insert(name, fs::read(path).expect("a file"));
        } else if !left_out.contains(&&*name) {
            files.extend(
                files_of(&path, &[]).into_iter().map(|(below, text)| (format!("{name}/{below}"), text)),
            );
        }
    }
    files
}

#[test]
fn the_page_in_the_binary_was_built_from_its_sources() {
    let mut hash = Context::new(&SHA256);
    // As `stamp.mjs` beside them has it, which the build of the page runs.
    for (path, content) in files_of(&root().join("src/admin/dashboard"), &["node_modules", "built"]) {
        hash.update(format!("{path}\0{}\0", content.len()).as_bytes());
        hash.update(&content);
    }
    let hex: String = hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let stamp = read("src/admin/dashboard/built/sources.sha256");
    assert_eq!(
        stamp.trim(),
        hex,
        "the page's sources changed: `npm ci && npm run build` in src/admin/dashboard"
    );
}

/// The parts of a chapter of the runbook, on one line each and with links as their words.
fn parts_of(chapter: &str) -> BTreeMap<String, String> {
    let chapter = chapter.split("\n#").next().expect("the first part");
    let words = chapter.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts = words.split("- **").skip(1).filter_map(|part| part.split_once("** "));
    parts.map(|(name, text)| (name.trim_end_matches('.').to_lowercase(), unlinked(text.trim()))).collect()
}

/// `[words](place)` as `words`.
fn unlinked(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        let link = after.split_once("](").and_then(|(words, after)| Some((words, after.split_once(')')?.1)));
        let Some((words, after)) = link else { break };
        plain += &format!("{before}{words}");
        rest = after;
    }
    plain + rest
}

#[test]
fn what_the_page_says_about_a_trouble_is_what_the_runbook_says() {
    let hint = "`npm ci && npm run build` in src/admin/dashboard";
    let json = |path: &str| -> BTreeMap<String, serde_json::Value> {
        serde_json::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let named = json("src/admin/dashboard/src/chapters.json");
    let shown = json("src/admin/dashboard/src/runbook.json");
    let runbook = read("deploy/RUNBOOK.md");
    for (trouble, chapter) in &named {
        let chapter = chapter.as_str().expect("a name");
        let (_, text) = runbook.split_once(&format!("\n### {chapter}\n")).unwrap_or_else(|| {
            panic!("deploy/RUNBOOK.md has no chapter {chapter}, which the page names for {trouble}")
        });
        let said = shown.get(chapter).unwrap_or_else(|| panic!("the page does not have {chapter}: {hint}"));
        assert_eq!(*said, serde_json::json!(parts_of(text)), "{chapter} was written anew: {hint}");
    }
    let unnamed: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| reason.is_shed() && !named.contains_key(reason.as_str()))
        .collect();
    assert!(unnamed.is_empty(), "src/admin/dashboard/src/chapters.json names no chapter for {unnamed:?}");
}

#[test]
fn the_page_knows_whatever_the_gateway_says_of_itself() {
    let known: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(&read("src/admin/dashboard/src/conditions.json")).expect("JSON");
    let said: Vec<String> = About::ALL
        .iter()
        .map(|about| serde_json::to_value(about).expect("a word").as_str().expect("a word").to_owned())
        .collect();
    let unknown: Vec<_> = said.iter().filter(|kind| !known.contains_key(*kind)).collect();
    let unsaid: Vec<_> = known.keys().filter(|kind| !said.contains(kind)).collect();
    assert!(
        unknown.is_empty() && unsaid.is_empty(),
        "not in conditions.json: {unknown:?}; nobody says {unsaid:?}"
    );
    let openapi: serde_json::Value = serde_json::from_str(&read("deploy/openapi.json")).expect("JSON");
    let words = &openapi["components"]["schemas"]["Condition"]["properties"]["kind"]["enum"];
    assert_eq!(*words, serde_json::json!(said), "the kinds of Condition in deploy/openapi.json");
}
