//! The walk over the parsed file by the table of fields.
//!
//! It goes on after every mistake, so that all of them are reported at once; what stands wrong is replaced by its
//! default where there is one. Values are filled from the environment here, and only here.

use super::diagnostics::{Finding, Source, Span};
use super::fields::{Field, Kind, Need, ROOT};
use super::fills::Fills;
use super::interpolate::{Environment, fill_noting};
use super::scalar;
use super::suggest::nearest;
use super::syntax;
use super::value::{Data, Table, Value};
use http::{HeaderName, HeaderValue};
use std::borrow::Cow;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Walks `source`: the tree of its values, and everything that one field alone shows to be wrong.
///
/// Placeholders in paths are relative to `directory`.
pub fn walk(source: &Source, directory: &Path, env: &dyn Environment) -> (Table, Vec<Finding>, Fills) {
    let (document, errors) = DeTable::parse_recoverable(&source.text);
    let mut walker = Walker::new(source, directory, Some(env), !errors.is_empty());
    let table = walker.table(&ROOT, document.get_ref(), source.first_line(), "");
    (table, syntax::merge(source, &errors, walker.findings), walker.fills)
}

/// The tree of a text as it is written: what holds a placeholder is that text, whatever its kind, so nothing that fills
/// one can be in it. What is wrong is left out without a word.
pub fn written(source: &Source) -> Table {
    let (document, errors) = DeTable::parse_recoverable(&source.text);
    let mut walker = Walker::new(source, Path::new(""), None, !errors.is_empty());
    walker.table(&ROOT, document.get_ref(), source.first_line(), "")
}

struct Walker<'a> {
    source: &'a Source,
    directory: &'a Path,
    /// Nothing: placeholders stay as they are.
    env: Option<&'a dyn Environment>,
    /// What filled placeholders.
    fills: Fills,
    /// Parts of the text could not be read, so a key that is missing may stand there.
    broken_text: bool,
    findings: Vec<Finding>,
}

impl<'a> Walker<'a> {
    fn new(
        source: &'a Source,
        directory: &'a Path,
        env: Option<&'a dyn Environment>,
        broken_text: bool,
    ) -> Self {
        Walker { source, directory, env, fills: Fills::default(), broken_text, findings: Vec::new() }
    }

    fn table(&mut self, fields: &'static [Field], table: &DeTable<'_>, span: Span, path: &str) -> Table {
        let mut entries = Vec::with_capacity(fields.len());
        for (key, value) in table {
            let Some(field) = fields.iter().find(|field| field.key == key.get_ref().as_ref()) else {
                self.unknown_key(fields, key);
                continue;
            };
            let path = join(path, field.key);
            let before = self.findings.len();
            if let Some(value) = self.value(&field.kind, value, &path) {
                entries.push((field.key, value));
            } else if let Need::Default(text) = field.need {
                debug_assert!(
                    self.findings.len() > before || self.broken_text,
                    "{path} vanished without a word"
                );
                entries.push((field.key, self.preset(&field.kind, text, span.clone())));
            }
        }
        for field in fields {
            if table.contains_key(field.key) {
                continue;
            }
            match field.need {
                Need::Required => self.missing(field, &span, path),
                Need::Default(text) => {
                    entries.push((field.key, self.preset(&field.kind, text, span.clone())))
                }
                Need::Optional | Need::Rule(_) => {}
            }
        }
        Table { span, entries }
    }

    /// The default of a field: walked like the file, so that tables inside it have their defaults too.
    fn preset(&mut self, kind: &'static Kind, text: &'static str, span: Span) -> Value {
        let parsed = DeValue::parse(text).expect("defaults are TOML: a test walks them all");
        let data = match (kind, parsed.get_ref()) {
            (Kind::Table(fields), DeValue::Table(table)) => {
                let findings = std::mem::take(&mut self.findings);
                let table = self.table(fields, table, span.clone(), "");
                self.findings = findings;
                Some(Data::Table(table))
            }
            _ => self.value(kind, &parsed, "").map(|value| value.data),
        };
        Value {
            span,
            written: false,
            filled: false,
            data: data.expect("defaults are valid: a test walks them all"),
        }
    }

    /// A value, or `None` after saying why not.
    fn value(&mut self, kind: &'static Kind, value: &Spanned<DeValue<'_>>, path: &str) -> Option<Value> {
        let span = value.span();
        // The parser puts something without a place where it found no value, after saying so.
        if self.broken_text && span.is_empty() {
            return None;
        }
        let (data, filled) = match kind {
            Kind::Table(_) | Kind::Headers | Kind::List(..) => (self.container(kind, value, path)?, false),
            _ => self.scalar(kind, value)?,
        };
        Some(Value { span, written: true, filled, data })
    }

    /// A table, headers or a list.
    fn container(&mut self, kind: &'static Kind, value: &Spanned<DeValue<'_>>, path: &str) -> Option<Data> {
        let span = value.span();
        match (kind, value.get_ref()) {
            (Kind::Table(fields), DeValue::Table(table)) => {
                Some(Data::Table(self.table(fields, table, span, path)))
            }
            (Kind::Headers, DeValue::Table(table)) => Some(Data::Headers(self.headers(table))),
            (Kind::List(_, least), DeValue::Array(items)) if items.len() < *least => {
                let message = format!("`{path}` is empty");
                self.findings.push(Finding::error(span, message).hint("write at least one"));
                None
            }
            (Kind::List(item, _), DeValue::Array(items)) => {
                let walked = items.iter().enumerate();
                let list = walked.filter_map(|(i, value)| self.value(item, value, &format!("{path}[{i}]")));
                Some(Data::List(list.collect()))
            }
            (_, found) => {
                let hint = match (kind, found) {
                    (Kind::List(..), DeValue::String(_)) => "put it into brackets: [\"…\"]".to_owned(),
                    (Kind::List(..), DeValue::Table(_)) => {
                        format!("write [[{path}]] above each of its tables")
                    }
                    _ => format!("`{path}` is {}", kind.expected()),
                };
                self.wrong(&span, kind, found, hint);
                None
            }
        }
    }

    /// What is no container, and whether it was filled in.
    fn scalar(&mut self, kind: &'static Kind, value: &Spanned<DeValue<'_>>) -> Option<(Data, bool)> {
        let span = value.span();
        let (read, filled) = match value.get_ref() {
            DeValue::String(text) => {
                let (text, filled) = self.filled(text, &span)?;
                if filled && self.env.is_none() {
                    return Some((Data::Text(text.into_owned()), true));
                }
                (scalar::from_text(kind, &text, filled, self.directory), filled)
            }
            found => match scalar::from_toml(kind, found) {
                Some(read) => (read, false),
                None => {
                    self.wrong(&span, kind, found, scalar::example(kind));
                    return None;
                }
            },
        };
        match read {
            Ok(data) => Some((data, filled)),
            Err(reason) => {
                let excerpt = self.source.excerpt(&span);
                self.findings.push(reason.finding(span, kind, &excerpt, filled));
                None
            }
        }
    }

    /// Text with its placeholders filled, and whether there were any.
    fn filled<'t>(&mut self, text: &'t str, span: &Span) -> Option<(Cow<'t, str>, bool)> {
        let Some(env) = self.env else { return Some((Cow::Borrowed(text), text.contains("${"))) };
        match fill_noting(text, self.directory, env, &mut |inner, value| self.fills.note(inner, value)) {
            Ok(None) => Some((Cow::Borrowed(text), false)),
            Ok(Some(filled)) => Some((Cow::Owned(filled), true)),
            Err(errors) => {
                let errors = errors.into_iter();
                self.findings.extend(errors.map(|e| Finding::error(span.clone(), e.message).hint(e.hint)));
                None
            }
        }
    }

    fn headers(&mut self, table: &DeTable<'_>) -> Vec<(HeaderName, HeaderValue, Span)> {
        let mut headers: Vec<(HeaderName, HeaderValue, Span)> = Vec::with_capacity(table.len());
        for (key, value) in table {
            let span = value.span();
            let Ok(name) = HeaderName::from_bytes(key.get_ref().as_bytes()) else {
                let message = format!("`{}` is not the name of a header", self.source.excerpt(&key.span()));
                self.findings.push(
                    Finding::error(key.span(), message)
                        .hint("names are letters, digits and `-`, without spaces"),
                );
                continue;
            };
            if headers.iter().any(|(known, ..)| *known == name) {
                self.findings.push(Finding::error(key.span(), format!("the header `{name}` is given twice")));
            }
            let DeValue::String(text) = value.get_ref() else {
                self.wrong(&span, &Kind::Text, value.get_ref(), "put it into quotes".into());
                continue;
            };
            let Some((text, filled)) = self.filled(text, &span) else { continue };
            // As it is written, a placeholder may hold what no header can.
            match HeaderValue::from_str(&text).or_else(|error| match self.env {
                Some(_) => Err(error),
                None => HeaderValue::from_bytes(text.as_bytes()).map_err(|_| error),
            }) {
                Ok(mut header) => {
                    header.set_sensitive(filled);
                    headers.push((name, header, span));
                }
                Err(_) => self.findings.push(
                    Finding::error(span, format!("the value of `{name}` cannot be sent in a header"))
                        .hint("header values are visible ASCII text, without line breaks"),
                ),
            }
        }
        headers
    }

    fn wrong(&mut self, span: &Span, kind: &Kind, found: &DeValue<'_>, hint: String) {
        let message = format!("expected {}, found {}", kind.expected(), type_name(found));
        self.findings.push(Finding::error(span.clone(), message).hint(hint));
    }

    fn missing(&mut self, field: &Field, span: &Span, path: &str) {
        if self.broken_text {
            return;
        }
        let message = match path {
            "" => format!("`{}` is missing", field.key),
            _ => format!("`{}` is missing in `{path}`", field.key),
        };
        self.findings.push(Finding::error(span.clone(), message).hint(format!(
            "{} Write {}",
            field.doc,
            field.kind.expected()
        )));
    }

    fn unknown_key(&mut self, fields: &'static [Field], key: &Spanned<Cow<'_, str>>) {
        let name = key.get_ref().as_ref();
        let hint = match nearest(name, fields.iter().map(|field| field.key)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => elsewhere(name).unwrap_or_else(|| {
                let known: Vec<&str> = fields.iter().map(|field| field.key).collect();
                format!("known here are {}", known.join(", "))
            }),
        };
        let message = format!("unknown key `{}`", name.escape_debug());
        self.findings.push(Finding::error(key.span(), message).hint(hint));
    }
}

/// Where a key that is unknown here exists.
fn elsewhere(key: &str) -> Option<String> {
    let holders: Vec<&str> = ROOT
        .iter()
        .filter(|table| table.kind.fields().is_some_and(|fields| fields.iter().any(|field| field.key == key)))
        .map(|table| table.key)
        .collect();
    (!holders.is_empty()).then(|| format!("`{key}` belongs to {}", holders.join(", ")))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
