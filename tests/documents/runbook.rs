//! Whoever is paged finds a chapter for the alert, and commands that the program knows. Whether the advice helps cannot
//! be tested here.

use super::{DOCUMENTS, quoted, read, root, section, texts};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use tidegate::control::notify::ALERTS;
use tidegate::telemetry::events::stream::Kind;

/// What each chapter of an alert says.
const PARTS: [&str; 4] = ["**Means.**", "**Look.**", "**Do.**", "**Worry**"];

/// Everything below deploy/ that Prometheus reads.
fn rules() -> Vec<String> {
    let all = texts(&root().join("deploy")).into_iter();
    let rules = all.filter(|(path, _)| path.extension().is_some_and(|end| end == "yml" || end == "yaml"));
    rules.map(|(_, text)| text).collect()
}

/// The alerts of Prometheus by their names, with the severity of each.
fn rules_by_name() -> BTreeMap<String, String> {
    let rules = rules();
    let parts = rules.iter().flat_map(|text| text.split("- alert: ").skip(1));
    let alert = |part: &str| {
        let name = part.lines().next().expect("a name").trim_matches('"').to_owned();
        let (_, severity) = part.split_once("severity: ").unwrap_or_else(|| panic!("{name} has no severity"));
        let word = severity.split(|c: char| !c.is_ascii_lowercase()).next();
        (name, word.expect("a word").to_owned())
    };
    parts.map(alert).collect()
}

/// Every alert that somebody may be told, by Prometheus or by a notification.
fn alerts() -> BTreeSet<String> {
    let told = ALERTS.iter().map(|alert| alert.name.to_owned());
    rules_by_name().into_keys().chain(told).collect()
}

#[test]
fn an_alert_is_as_urgent_in_a_notification_as_it_is_to_prometheus() {
    let rules = rules_by_name();
    assert!(rules.len() > 50 && ALERTS.len() > 30, "{} and {}", rules.len(), ALERTS.len());
    for alert in ALERTS {
        let Some(severity) = rules.get(alert.name) else { continue };
        let told = alert.severity.as_str();
        assert_eq!(told, severity, "{} of notifications and of deploy/prometheus", alert.name);
    }
}

/// What Prometheus does not know stands apart, so that a name that is nearly one of its names is seen.
#[test]
fn what_only_notifications_say_stands_apart_and_wakes_nobody() {
    let runbook = read("deploy/RUNBOOK.md");
    let apart = section(&runbook, "\n## What only notifications say\n");
    let chapters = apart.split("\n### ").skip(1).filter_map(|chapter| chapter.lines().next());
    let rules = rules_by_name();
    let only: Vec<_> = ALERTS.iter().filter(|alert| !rules.contains_key(alert.name)).collect();
    let names: BTreeSet<_> = only.iter().map(|alert| alert.name).collect();
    assert_eq!(chapters.collect::<BTreeSet<_>>(), names, "the chapters below that heading");
    for alert in only {
        assert_ne!(alert.severity.as_str(), "page", "{} pages, and Prometheus cannot say it", alert.name);
    }
}

#[test]
fn every_alert_has_a_chapter_in_the_runbook_and_every_chapter_an_alert() {
    let runbook = read("deploy/RUNBOOK.md");
    let chapters = runbook.split("\n### ").skip(1).filter_map(|chapter| chapter.split_once('\n'));
    let chapters: Vec<_> = chapters.filter(|(name, _)| name.starts_with("Tidegate")).collect();
    let named: BTreeSet<_> = chapters.iter().map(|(name, _)| (*name).to_owned()).collect();
    let alerts = alerts();
    assert!(alerts.len() > 30, "only {} alerts found", alerts.len());
    let missing: Vec<_> = alerts.difference(&named).collect();
    assert!(missing.is_empty(), "deploy/RUNBOOK.md has no chapter `### NAME` for {missing:?}");
    let left: Vec<_> = named.difference(&alerts).collect();
    assert!(left.is_empty(), "deploy/RUNBOOK.md has chapters for {left:?}, which alert nobody");
    for (name, text) in chapters {
        let text = text.split("\n## ").next().expect("the first part");
        for part in PARTS {
            assert!(text.contains(part), "the chapter of {name} lacks {part}");
        }
    }
}

#[test]
fn every_runbook_link_of_an_alert_leads_to_its_chapter() {
    for text in rules() {
        for link in text.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: ")) {
            let link = link.trim_matches('"');
            let (_, anchor) =
                link.split_once("RUNBOOK.md#").unwrap_or_else(|| panic!("{link} names no chapter"));
            let found = alerts().iter().any(|alert| alert.to_ascii_lowercase() == anchor);
            assert!(found, "{link} leads to no alert's chapter");
        }
    }
}

/// The commands that a text tells people to type: in backticks, or on lines of their own, wrapped or not.
fn commands(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim_start);
    let lines = lines.filter(|line| line.starts_with("tidegate ") || line.starts_with("$ tidegate "));
    let lines =
        lines.map(|line| line.trim_start_matches("$ ").split(" # ").next().unwrap_or(line).to_owned());
    let inline = text.lines().collect::<Vec<_>>().join(" ");
    let inline: Vec<_> =
        quoted(&inline).filter(|word| word.starts_with("tidegate ")).map(str::to_owned).collect();
    lines.chain(inline).collect()
}

/// What the program says of a verb, or of a verb of a verb.
fn help(verbs: &[&str]) -> Option<String> {
    let output =
        Command::new(env!("CARGO_BIN_EXE_tidegate")).args(verbs).arg("--help").output().expect("runs");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn every_command_of_a_document_is_one_that_the_program_knows() {
    let documents = DOCUMENTS.into_iter().map(|document| (document, read(document)));
    let rules = rules().into_iter().map(|text| ("an alert", text));
    let mut tried = BTreeSet::new();
    for (document, text) in documents.chain(rules) {
        for command in commands(&text) {
            let words: Vec<_> =
                command.split_whitespace().skip(1).map(|word| word.trim_matches(['[', ']'])).collect();
            let verb = words.first().filter(|word| !word.starts_with('-')).copied();
            let Some(verb) = verb.filter(|verb| !verb.contains(|c: char| c.is_ascii_uppercase())) else {
                continue;
            };
            let verbs = match (verb, words.get(1)) {
                ("ramp" | "drill" | "incident" | "notify" | "receipt", Some(inner))
                    if !inner.starts_with('-') =>
                {
                    vec![verb, inner.split('|').next().unwrap_or(inner)]
                }
                _ => vec![verb],
            };
            let help =
                help(&verbs).unwrap_or_else(|| panic!("{document} has `{command}`, which is no command"));
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap_or(flag);
                assert!(help.contains(flag), "{document} has `{command}`, which knows no {flag}");
            }
            for kinds in words.windows(2).filter(|pair| pair[0] == "--kind").map(|pair| pair[1]) {
                let unknown = kinds.split(',').find(|kind| Kind::named(kind).is_none());
                assert_eq!(unknown, None, "{document} has `{command}`, and there are no such events");
            }
            tried.insert(command);
        }
    }
    assert!(tried.len() > 30, "only {} commands found", tried.len());
}

/// Whether a path that a person reads is one of the interface's, whose names stand in braces.
fn is_of(template: &str, path: &str) -> bool {
    let parts = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (wanted, said) = (parts(template), parts(path));
    let fits = |(wanted, said): (&String, &String)| match (wanted.find('{'), wanted.find('}')) {
        (Some(from), Some(to)) => said.starts_with(&wanted[..from]) && said.ends_with(&wanted[to + 1..]),
        _ => wanted == said,
    };
    wanted.len() == said.len() && wanted.iter().zip(&said).all(fits)
}

#[test]
fn every_request_that_the_runbook_or_an_alert_says_to_make_is_one_that_is_answered() {
    let interface: Value = serde_json::from_str(&read("deploy/openapi.json")).expect("JSON");
    let paths = interface["paths"].as_object().expect("paths");
    let mut tried = BTreeSet::new();
    for text in rules().into_iter().chain([read("deploy/RUNBOOK.md")]) {
        let text = text.replace("{{ $labels.upstream }}", "ORDERS");
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let asks = format!("{method} /");
            let ends = |c: char| c.is_whitespace() || "`,?…\"".contains(c);
            let after = text.split(&asks).skip(1).filter_map(|rest| rest.split(ends).next());
            for said in after.map(|said| format!("/{}", said.trim_end_matches(['.', ':', ';']))) {
                // The way to write such a path, said once.
                if said == "/v1/" {
                    continue;
                }
                let known = paths.iter().any(|(template, methods)| {
                    is_of(template, &said) && methods[method.to_ascii_lowercase()].is_object()
                });
                assert!(known, "{method} {said} is nothing that the admin side answers");
                tried.insert(said);
            }
        }
    }
    assert!(tried.len() >= 6, "only {tried:?} found");
}

#[test]
fn every_verb_is_in_the_table_of_the_command_line() {
    let operating = read("deploy/OPERATING.md");
    let table = section(&operating, "\n**Command line.**");
    let listed: Vec<_> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let help = help(&[]).expect("the program has a help");
    let verbs = help.split_once("Commands:").expect("with its verbs").1.lines().skip(1);
    let verbs = verbs.take_while(|line| line.starts_with(' ')).filter(|line| line.as_bytes()[2] != b' ');
    let verbs: Vec<_> =
        verbs.filter_map(|line| line.split_whitespace().next()).filter(|verb| *verb != "help").collect();
    assert!(verbs.len() > 20, "only {} verbs found", verbs.len());
    for verb in verbs {
        let found =
            listed.iter().any(|line| quoted(line).any(|word| word.split_whitespace().next() == Some(verb)));
        assert!(found, "deploy/OPERATING.md has no row for `{verb}` in the table of its command line");
    }
}
