//! The JSON Schema of the file, for editors: made from the table of fields, so it cannot say anything else.
//!
//! `config/schema.json` is a copy of it; a test compares them. Cross-checks between fields are not in it.

use super::fields::{Field, Kind, Need, ROOT};
use serde_json::{Map, Value, json};
use toml::de::DeValue;

/// The schema, JSON Schema 2020-12.
pub fn schema() -> Value {
    let mut schema = table(&ROOT);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Tidegate");
    schema["description"] = json!(
        "The configuration of Tidegate. Every value may hold ${NAME}, ${NAME:default} or ${file:PATH}."
    );
    schema
}

fn table(fields: &'static [Field]) -> Value {
    let properties: Map<String, Value> = fields.iter().map(|f| (f.key.to_owned(), property(f))).collect();
    let required: Vec<&str> =
        fields.iter().filter(|field| matches!(field.need, Need::Required)).map(|field| field.key).collect();
    let mut schema = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn property(field: &Field) -> Value {
    let mut schema = kind(&field.kind);
    let mut description = field.doc.to_owned();
    match field.need {
        Need::Default(text) => schema["default"] = literal(text),
        Need::Rule(rule) => description.push_str(&format!(" Default: {rule}.")),
        Need::Required | Need::Optional => {}
    }
    schema["description"] = json!(description);
    schema["x-risk"] = json!(field.risk.as_str());
    if let Some(when) = field.rises.sentence() {
        schema["x-high-risk-when"] = json!(when);
    }
    schema
}

fn kind(kind: &Kind) -> Value {
    match kind {
        Kind::Text | Kind::Path | Kind::Socket | Kind::Network | Kind::Endpoint => {
            json!({ "type": "string" })
        }
        Kind::Name => text("^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$"),
        Kind::HeaderName => text("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"),
        Kind::Method => text("^[!#$%&'*+.^_`|~0-9A-Z-]+$"),
        Kind::Hash => text("^[0-9A-Fa-f]{64}$"),
        Kind::Duration(..) => text("^\\s*([0-9]+(\\.[0-9]+)?\\s*(us|ms|s|m|h|d)\\s*)+$"),
        Kind::Percent(..) => text("^\\s*[0-9]+(\\.[0-9]+)?\\s*%\\s*$"),
        Kind::Word(words) => or_filled(json!({ "enum": words })),
        Kind::Bool => or_filled(json!({ "type": "boolean" })),
        Kind::Integer(least, most) => {
            or_filled(json!({ "type": "integer", "minimum": least, "maximum": most }))
        }
        Kind::Number(least, most) => {
            or_filled(json!({ "type": "number", "minimum": least, "maximum": most }))
        }
        Kind::Size(least, most) => json!({ "anyOf": [
            { "type": "integer", "minimum": least, "maximum": most },
            { "type": "string", "pattern": "^\\s*[0-9]+(\\.[0-9]+)?\\s*(B|KiB|MiB|GiB|kB|KB|MB|GB)?\\s*$" },
            filled(),
        ]}),
        Kind::Workers => json!({ "anyOf": [
            { "const": "auto" },
            { "type": "integer", "minimum": 1, "maximum": super::scalar::MAX_WORKERS },
            filled(),
        ]}),
        Kind::Headers => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Table(fields) => table(fields),
        Kind::List(item, least) => json!({ "type": "array", "items": self::kind(item), "minItems": least }),
    }
}

fn text(pattern: &str) -> Value {
    or_filled(json!({ "type": "string", "pattern": pattern }))
}

/// Where a text with a placeholder may stand for the value.
fn or_filled(schema: Value) -> Value {
    json!({ "anyOf": [schema, filled()] })
}

fn filled() -> Value {
    json!({ "type": "string", "pattern": "\\$\\{" })
}

/// A default of the table of fields as JSON.
fn literal(text: &str) -> Value {
    let value = DeValue::parse(text).expect("defaults are TOML: a test walks them all");
    to_json(value.get_ref())
}

/// A TOML value as JSON; numbers that JSON cannot hold become texts.
pub fn to_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => json!(text),
        DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
            .map_or_else(|_| json!(digits.as_str()), |number| json!(number)),
        DeValue::Float(digits) => {
            digits.as_str().parse::<f64>().map_or_else(|_| json!(digits.as_str()), |number| json!(number))
        }
        DeValue::Boolean(on) => json!(on),
        DeValue::Datetime(time) => json!(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| to_json(item.get_ref())).collect(),
        DeValue::Table(table) => {
            let entries =
                table.iter().map(|(key, value)| (key.get_ref().to_string(), to_json(value.get_ref())));
            Value::Object(entries.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_schema_is_the_one_that_is_printed() {
        let printed = format!("{:#}\n", schema());
        let committed = include_str!("../../config/schema.json");
        assert!(printed == committed, "config/schema.json is out of date: write `tidegate schema` into it");
    }

    #[test]
    fn every_table_refuses_unknown_keys_and_every_property_is_described() {
        fn visit(schema: &Value, path: &str) {
            if let Some(properties) = schema["properties"].as_object() {
                assert_eq!(schema["additionalProperties"], false, "{path}");
                for (key, property) in properties {
                    let path = format!("{path}.{key}");
                    assert!(property["description"].is_string(), "{path}");
                    visit(property, &path);
                    visit(&property["items"], &path);
                }
            }
        }
        visit(&schema(), "");
    }
}
