//! A configuration as a tree that can be changed, and its text again.
//!
//! Comments and order are lost: the text is the drill's own, made to be run and compared, not to be kept.

use crate::config::schema;
use anyhow::anyhow;
use serde_json::{Map, Value};
use toml::de::DeTable;

/// The tree of a text that was checked.
///
/// # Errors
/// If it is no TOML.
pub(super) fn read(text: &str) -> anyhow::Result<Value> {
    let table = DeTable::parse(text).map_err(|error| anyhow!("{error}"))?;
    Ok(schema::to_json(&toml::de::DeValue::Table(table.into_inner())))
}

/// The text of a tree: one line for each key at the top, and one for each item of a list there, so that two texts
/// differ in as many lines as they differ in things.
pub(super) fn write(root: &Value) -> String {
    let mut text = String::new();
    for (key, value) in root.as_object().into_iter().flatten() {
        text += &format!("{} = ", quoted(key));
        match value {
            Value::Array(items) if items.iter().any(Value::is_object) => {
                let items = items.iter().map(|item| format!("    {},\n", inline(item)));
                text += &format!("[\n{}]\n", items.collect::<String>());
            }
            value => text += &format!("{}\n", inline(value)),
        }
    }
    text
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Object(table) => {
            let entry = |(key, value): (&String, &Value)| format!("{} = {}", quoted(key), inline(value));
            format!("{{ {} }}", table.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        // Numbers and switches are written alike; there is nothing that is null.
        other => other.to_string(),
    }
}

/// A basic string. JSON's escapes are TOML's, but for one character that TOML wants escaped too.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// The tables of a list at the top; none if there is no such list.
pub(super) fn tables<'a>(root: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let items = root.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten();
    items.filter_map(Value::as_object_mut)
}

/// What a table says by a key, as text.
pub(super) fn word<'a>(table: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    table.get(key)?.as_str()
}

/// Changes every text of a tree.
pub(super) fn each_text(value: &mut Value, change: &impl Fn(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, change)),
        Value::Object(table) => table.values_mut().for_each(|value| each_text(value, change)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, ProcessEnvironment};
    use proptest::prelude::*;
    use std::path::Path;

    #[test]
    fn the_reference_says_the_same_after_it_was_read_and_written() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/tidegate.toml");
        let text = std::fs::read_to_string(&file).expect("the reference");
        let again = write(&read(&text).expect("it is TOML"));
        assert_eq!(read(&again).expect("it is TOML"), read(&text).expect("it is TOML"));
        let plan = |text: &str| config::check(text, &file, &ProcessEnvironment).plan.map(|plan| plan.routes);
        assert_eq!(plan(&again), plan(&text));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_survives(key in "\\PC{1,8}|[\u{0}-\u{7f}]{1,8}", value in "\\PC{0,20}|[\u{0}-\u{7f}]{0,20}") {
            let tree = serde_json::json!({ key: { "list": [value, 7, true, 1.5] } });
            prop_assert_eq!(read(&write(&tree)).expect("it is TOML"), tree);
        }
    }
}
