//! The files in `config/`: all valid, and the reference complete.

use super::*;
use crate::config::fields::{Field, Need, ROOT};
use crate::config::schema::to_json;
use serde_json::Value;
use std::collections::BTreeSet;
use toml::de::{DeTable, DeValue};

const REFERENCE: &str = include_str!("../../../config/tidegate.toml");

#[test]
fn every_file_in_config_is_valid() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).expect("config/ is part of the repository") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(&path).expect("it can be read");
            let checked = check(&text, &path, &Fake::default());
            assert!(!checked.is_refused(), "{}", checked.render(false));
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} files were found");
}

#[test]
fn the_reference_names_every_key_and_no_other() {
    let (mut known, mut named) = (BTreeSet::new(), BTreeSet::new());
    keys_of_table(&ROOT, "", &mut known);
    let text = with_examples();
    let document = DeTable::parse(&text).expect("the reference with its examples is TOML");
    keys_of_text(&DeValue::Table(document.into_inner()), "", &mut named);
    named.retain(|path| !is_header(path));
    let missing: Vec<_> = known.difference(&named).collect();
    let strange: Vec<_> = named.difference(&known).collect();
    assert!(missing.is_empty() && strange.is_empty(), "missing: {missing:?}, unknown: {strange:?}");
}

#[test]
fn the_reference_with_its_examples_has_valid_values() {
    // Some keys exclude each other; everything else must be right.
    let files = [
        ("/run/secrets/oncall-url", "https://example.com/\n"),
        ("/run/secrets/oncall-secret", "sixteen bytes at least, at random"),
        ("/run/secrets/jwt", "thirty-two bytes at least, at random"),
    ];
    let env = Fake { files: files.into(), variables: [("ALERTS_TOKEN", "t0ken")].into() };
    let errors = check(&with_examples(), Path::new("tidegate.toml"), &env).errors();
    let wrong: Vec<_> = errors.iter().filter(|error| !error.contains("exclude each other")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_reference_says_the_defaults() {
    let document = DeTable::parse(REFERENCE).expect("the reference is TOML");
    let mut compared = 0;
    compare(&ROOT, &DeValue::Table(document.into_inner()), "", &mut compared);
    assert!(compared > 30, "only {compared} defaults were compared");
}

/// The reference with the keys that it leaves out.
fn with_examples() -> String {
    let example = |line: &str| {
        line.strip_prefix('#')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '['))
    };
    REFERENCE.lines().map(|line| if example(line) { &line[1..] } else { line }).collect::<Vec<_>>().join("\n")
}

fn keys_of_table(fields: &'static [Field], path: &str, keys: &mut BTreeSet<String>) {
    for field in fields {
        let path = format!("{path}.{}", field.key);
        if let Some(inner) = field.kind.fields() {
            keys_of_table(inner, &path, keys);
        }
        keys.insert(path);
    }
}

fn keys_of_text(value: &DeValue<'_>, path: &str, keys: &mut BTreeSet<String>) {
    match value {
        DeValue::Table(table) => {
            for (key, value) in table {
                let path = format!("{path}.{}", key.get_ref());
                keys_of_text(value.get_ref(), &path, keys);
                keys.insert(path);
            }
        }
        DeValue::Array(items) => items.iter().for_each(|item| keys_of_text(item.get_ref(), path, keys)),
        _ => {}
    }
}

/// The names of headers are not keys of ours.
fn is_header(path: &str) -> bool {
    path.contains(".set.") || path.contains("routes.headers.") || path.contains("auth.forward.")
}

fn compare(fields: &'static [Field], value: &DeValue<'_>, path: &str, compared: &mut usize) {
    match value {
        DeValue::Array(items) => {
            items.iter().for_each(|item| compare(fields, item.get_ref(), path, compared))
        }
        DeValue::Table(table) => {
            for (key, value) in table {
                let field =
                    fields.iter().find(|field| field.key == key.get_ref()).expect("the reference is valid");
                let path = format!("{path}.{}", field.key);
                match (field.kind.fields(), field.need) {
                    (Some(inner), _) => compare(inner, value.get_ref(), &path, compared),
                    (None, Need::Default(text)) => {
                        assert_eq!(to_json(value.get_ref()), default(text), "{path}");
                        *compared += 1;
                    }
                    (None, _) => {}
                }
            }
        }
        _ => {}
    }
}

fn default(text: &'static str) -> Value {
    to_json(DeValue::parse(text).expect("defaults are TOML").get_ref())
}
