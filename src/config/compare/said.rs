//! What a value says, for comparing and for showing: one spelling for what is the same (`1000ms`, `1s`), the words of
//! the file where they are shown, and nothing where they had better not be.

use crate::config::diagnostics::{Source, Span};
use crate::config::fields::{Field, Kind};
use crate::config::value::{Data, Table, Value};
use http::{HeaderName, HeaderValue};
use std::time::Duration;

/// Characters of a value or a name that are shown at most.
const MAX_SHOWN: usize = 80;

/// Lists whose order decides something.
const ORDERED: [&str; 4] = ["certificates", "classes", "stages", "steps"];

/// Headers whose values are credentials, also where somebody wrote them into the file.
const CREDENTIALS: [&str; 5] = ["authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key"];

/// What one side says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    /// In the spelling that equals another if and only if it says the same; of a list, its items.
    pub(super) parts: Vec<String>,
    /// How much it is, where that is a number; of a list of numbers, each.
    pub(super) amounts: Vec<f64>,
    /// It holds placeholders, so how much it is nobody here knows.
    pub(super) filled: bool,
    /// It stands in the file, and is no default.
    pub(super) written: bool,
    /// As the file has it; nothing if it had better not be shown.
    pub(super) shown: Option<String>,
}

impl Said {
    /// What a value of `field` says.
    pub(super) fn of(field: &Field, value: &Value, source: &Source) -> Said {
        let source = Some(source);
        let mut said = match &value.data {
            Data::List(items) => list(field, items, source.filter(|_| value.written)),
            _ => scalar(&field.kind, value, source),
        };
        said.written = value.written;
        if is_hidden(field) {
            said.shown = None;
        }
        if field.key == "jwks_url" {
            // A query may hold a credential.
            said.shown = said.shown.map(|url| url.split('?').take(1).collect());
        }
        said
    }

    /// What a rule makes of a field that is left out.
    pub(super) fn by_rule(field: &Field, data: Data) -> Said {
        let value = Value { span: 0..0, written: false, filled: false, data };
        scalar(&field.kind, &value, None)
    }

    /// The value of a header.
    pub(super) fn header(name: &HeaderName, value: &HeaderValue) -> Said {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let filled = value.is_sensitive();
        let hidden = !filled && CREDENTIALS.contains(&name.as_str());
        Said {
            shown: (!hidden).then(|| cut(&text)),
            filled,
            written: true,
            parts: vec![text],
            amounts: Vec::new(),
        }
    }

    /// Where something is: the address of a table that has one.
    pub(super) fn address(table: &Table, source: &Source) -> Option<Said> {
        let value = table.get("address")?;
        let kind = if matches!(value.data, Data::Socket(_)) { Kind::Socket } else { Kind::Endpoint };
        Some(scalar(&kind, value, Some(source)))
    }
}

/// What identifies or opens something by itself.
fn is_hidden(field: &Field) -> bool {
    matches!(field.kind, Kind::Hash) || field.key == "url"
}

/// A list; without a source where it is a default, whose items stand in no file.
fn list(field: &Field, items: &[Value], source: Option<&Source>) -> Said {
    let item = match field.kind {
        Kind::List(item, _) => item,
        _ => &field.kind,
    };
    let mut said = Said::default();
    let mut shown = Vec::with_capacity(items.len());
    for value in items {
        let one = scalar(item, value, source);
        said.filled |= one.filled;
        said.amounts.extend(one.amounts);
        said.parts.extend(one.parts);
        shown.extend(one.shown);
    }
    if !ORDERED.contains(&field.key) {
        said.parts.sort_unstable();
        shown.sort_unstable();
    }
    said.shown = Some(if shown.is_empty() { "none".to_owned() } else { cut(&shown.join(", ")) });
    said
}

fn scalar(kind: &Kind, value: &Value, source: Option<&Source>) -> Said {
    let text = text(kind, &value.data);
    let has_unit = matches!(kind, Kind::Duration(..) | Kind::Size(..) | Kind::Percent(..));
    // A number with a unit is shown as somebody wrote it.
    let shown = match source.filter(|_| has_unit && value.written && !value.filled) {
        Some(source) => as_written(source, &value.span),
        None => text.clone(),
    };
    Said {
        amounts: if is_filled(value) { Vec::new() } else { amount(&value.data).into_iter().collect() },
        filled: is_filled(value),
        written: value.written,
        shown: Some(cut(&shown)),
        parts: vec![text],
    }
}

/// Itself, or anything in it.
fn is_filled(value: &Value) -> bool {
    match &value.data {
        Data::Table(table) => table.entries.iter().any(|(_, value)| is_filled(value)),
        Data::List(items) => items.iter().any(is_filled),
        Data::Headers(headers) => headers.iter().any(|(_, value, _)| value.is_sensitive()),
        _ => value.filled,
    }
}

fn as_written(source: &Source, span: &Span) -> String {
    source.excerpt(span).trim_matches(['"', '\'']).to_owned()
}

fn amount(data: &Data) -> Option<f64> {
    match data {
        Data::Integer(number) => Some(*number as f64),
        Data::Number(number) => Some(*number),
        Data::Duration(time) => Some(time.as_secs_f64()),
        _ => None,
    }
}

/// One spelling for what is the same.
fn text(kind: &Kind, data: &Data) -> String {
    match data {
        Data::Text(text) => text.clone(),
        Data::Bool(on) => on.to_string(),
        Data::Integer(0) if matches!(kind, Kind::Workers) => "auto".to_owned(),
        Data::Integer(number) => number.to_string(),
        Data::Number(number) if matches!(kind, Kind::Percent(..)) => format!("{number}%"),
        Data::Number(number) => number.to_string(),
        Data::Duration(time) => duration(*time),
        Data::Socket(address) => address.to_string(),
        Data::Network(network) => network.to_string(),
        Data::Endpoint(address) => address.to_string(),
        Data::Path(path) => path.display().to_string(),
        Data::HeaderName(name) => name.to_string(),
        Data::Method(method) => method.to_string(),
        Data::Headers(headers) => {
            let pairs = headers
                .iter()
                .map(|(name, value, _)| format!("{name} = {}", String::from_utf8_lossy(value.as_bytes())));
            braces(pairs.collect())
        }
        Data::Table(table) => braces(table.entries.iter().map(|entry| pair(kind, entry)).collect()),
        Data::List(items) => items.iter().map(|item| text(kind, &item.data)).collect::<Vec<_>>().join(", "),
    }
}

/// `key = value` of a table that is compared as a whole.
fn pair(kind: &Kind, (key, value): &(&'static str, Value)) -> String {
    let field = kind.fields().and_then(|fields| fields.iter().find(|field| field.key == *key));
    let inner = field.map_or(kind, |field| &field.kind);
    format!("{key} = {}", text(inner, &value.data))
}

fn braces(mut pairs: Vec<String>) -> String {
    pairs.sort_unstable();
    format!("{{ {} }}", pairs.join(", "))
}

/// A time, exactly, in its largest whole unit.
fn duration(time: Duration) -> String {
    match (time.as_secs(), time.subsec_nanos()) {
        (seconds, 0) => format!("{seconds}s"),
        (_, nanos) if nanos.is_multiple_of(1_000_000) => format!("{}ms", time.as_millis()),
        (_, nanos) if nanos.is_multiple_of(1_000) => format!("{}us", time.as_micros()),
        _ => format!("{}ns", time.as_nanos()),
    }
}

/// The beginning of its first line.
pub(super) fn cut(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if line.len() < text.len() => format!("{line}…"),
        None => line.to_owned(),
    }
}
