//! Every field of the table of fields: changed alone it is one difference, of its class at least.

use super::*;
use crate::config::fields::{Field, Kind, Rises};
use crate::config::value::{Data, Value};
use http::{HeaderName, HeaderValue, Method};

const REFERENCE: &str = include_str!("../../../../config/tidegate.toml");

/// The reference with the keys that it leaves out, so that it says every key.
fn with_examples() -> String {
    let example = |line: &str| {
        line.strip_prefix('#')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '['))
    };
    REFERENCE.lines().map(|line| if example(line) { &line[1..] } else { line }).collect::<Vec<_>>().join("\n")
}

fn end(root: &Table, text: &str) -> End<'static> {
    End { source: Source { name: String::new(), text: text.to_owned() }, root: root.clone(), plan: None }
}

/// Another value of the same kind.
fn other(value: &mut Value, kind: &Kind) {
    match &mut value.data {
        Data::Text(text) => match kind {
            Kind::Word(words) => {
                *text = words.iter().find(|word| *word != text).unwrap_or(&"other").to_string()
            }
            _ => text.push('x'),
        },
        Data::Bool(on) => *on = !*on,
        Data::Integer(number) => *number += 1,
        Data::Number(number) => *number += 1.0,
        Data::Duration(time) => *time += Duration::from_secs(1),
        Data::Socket(address) => address.set_port(address.port() + 1),
        Data::Network(network) => *network = "192.0.2.0/24".parse().expect("a network"),
        Data::Endpoint(address) => address.port += 1,
        Data::Path(path) => path.push("x"),
        Data::HeaderName(name) => *name = HeaderName::from_static("x-other"),
        Data::Method(method) => *method = Method::PATCH,
        Data::Headers(headers) => {
            headers.push((HeaderName::from_static("x-more"), HeaderValue::from_static("1"), 0..0));
        }
        Data::List(items) => match items.last_mut() {
            Some(last) => match kind {
                Kind::List(item, _) => other(last, item),
                _ => other(last, kind),
            },
            None => items.push(Value {
                span: 0..0,
                written: true,
                filled: false,
                data: Data::Text("more".into()),
            }),
        },
        Data::Table(table) => {
            let (key, value) = table.entries.first_mut().expect("a table of the reference says something");
            let field = kind.fields().and_then(|fields| fields.iter().find(|field| field.key == *key));
            other(value, &field.expect("it is known").kind);
        }
    }
}

/// Changes each field of a table alone, wherever it stands in the tree, and looks at what is said.
fn each(
    root: &Table,
    fields: &'static [Field],
    path: &mut Vec<(&'static str, usize)>,
    look: &mut dyn FnMut(&str, &'static Field, Table),
) {
    for field in fields {
        let Some(table) = at(root, path) else { return };
        let Some(value) = table.get(field.key) else { continue };
        let name: Vec<&str> = path.iter().map(|(key, _)| *key).chain([field.key]).collect();
        let name = name.join(".");
        let named = field.kind.fields().is_some_and(|inner| inner.iter().any(|inner| inner.key == "name"));
        match (&value.data, field.kind.fields()) {
            (Data::List(items), Some(inner)) if named => {
                let tables = items.len();
                for index in 0..tables {
                    path.push((field.key, index));
                    each(root, inner, path, look);
                    path.pop();
                }
                let mut fewer = root.clone();
                if let Some(Data::List(items)) = at_mut(&mut fewer, path).map(|table| data(table, field.key))
                {
                    items.pop();
                }
                look(&name, field, fewer);
            }
            (Data::Table(_), Some(inner)) => {
                path.push((field.key, 0));
                each(root, inner, path, look);
                path.pop();
            }
            _ if field.key == "name" => {}
            _ => {
                let mut changed = root.clone();
                if let Some(table) = at_mut(&mut changed, path) {
                    let entry = table.entries.iter_mut().find(|(key, _)| *key == field.key);
                    other(&mut entry.expect("it is there").1, &field.kind);
                }
                look(&name, field, changed);
            }
        }
    }
}

fn data<'t>(table: &'t mut Table, key: &str) -> &'t mut Data {
    &mut table.entries.iter_mut().find(|(known, _)| *known == key).expect("it is there").1.data
}

fn at<'t>(root: &'t Table, path: &[(&'static str, usize)]) -> Option<&'t Table> {
    path.iter().try_fold(root, |table, (key, index)| match &table.get(key)?.data {
        Data::Table(inner) => Some(inner),
        Data::List(items) => match &items.get(*index)?.data {
            Data::Table(inner) => Some(inner),
            _ => None,
        },
        _ => None,
    })
}

fn at_mut<'t>(root: &'t mut Table, path: &[(&'static str, usize)]) -> Option<&'t mut Table> {
    path.iter().try_fold(root, |table, (key, index)| match data(table, key) {
        Data::Table(inner) => Some(inner),
        Data::List(items) => match &mut items.get_mut(*index)?.data {
            Data::Table(inner) => Some(inner),
            _ => None,
        },
        _ => None,
    })
}

#[test]
fn each_field_changed_alone_is_one_difference_of_its_class_at_least() {
    let text = with_examples();
    let root = walk::written(&Source { name: String::new(), text: text.clone() });
    let mut seen = std::collections::BTreeSet::new();
    each(&root, &crate::config::fields::ROOT, &mut Vec::new(), &mut |name, field, changed| {
        let ends = [end(&root, &text), end(&changed, &text)];
        let changes = pairs::changes(&ends);
        assert_eq!(changes.len(), 1, "{name}: {changes:#?}");
        let (risk, why) = risk::Judge::new(&ends, &changes).weigh(&changes[0]);
        assert!(risk >= field.risk && !why.is_empty(), "{name}: {risk} {why}");
        let sentence = words::sentence(&changes[0]);
        assert!(
            sentence.contains(field.key) || sentence.contains(" moves ") || sentence.ends_with("removed"),
            "{sentence}"
        );
        seen.insert(name.to_owned());
    });
    assert!(seen.len() > 150, "only {} fields were changed: {seen:?}", seen.len());
}

#[test]
fn classes_are_what_was_decided_and_not_what_was_left() {
    // A bound whose class rises when it is doubled would say nothing if it were high already.
    fn visit(fields: &'static [Field], path: &str) {
        for field in fields {
            let path = format!("{path}.{}", field.key);
            assert!(field.rises == Rises::Never || field.risk < Risk::High, "{path} cannot rise");
            if let Some(inner) = field.kind.fields() {
                visit(inner, &path);
            }
        }
    }
    visit(&crate::config::fields::ROOT, "");
}
