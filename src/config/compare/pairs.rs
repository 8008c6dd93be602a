//! The walk over two trees at once, by the table of fields: each place where they do not say the same.

use super::said::{Said, cut};
use super::{End, ruled};
use crate::config::fields::{Field, Kind, Need, ROOT};
use crate::config::interpolate::placeholders;
use crate::config::value::{Data, Table, Value};
use http::{HeaderName, HeaderValue};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Bounds that follow something else as long as they are left out, such as the number of addresses: to write down what
/// they are now is a difference.
const FOLLOWS: [&str; 2] = ["max_in_flight", "max_waiting"];

/// One part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A key.
    Key(&'static str),
    /// The name of a table in a list, or of a header.
    Name(String),
}

/// A place where two versions do not say the same.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// Where.
    pub(super) path: Vec<Step>,
    /// The field; of a table in a list, the list.
    pub(super) field: &'static Field,
    /// What happened there.
    pub(super) event: Event,
    /// What was said.
    pub(super) before: Option<Said>,
    /// What is said.
    pub(super) after: Option<Said>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It came.
    Added,
    /// It went.
    Removed,
    /// It says something else.
    Changed,
    /// It says the same, and these placeholders are filled with something else.
    Refilled(Vec<String>),
}

/// Every place where two versions do not say the same.
pub(super) fn changes(ends: &[End<'_>; 2]) -> Vec<Change> {
    let mut pairs = Pairs { ends, path: Vec::new(), found: Vec::new() };
    pairs.tables(&ROOT, &ends[0].root, &ends[1].root);
    pairs.found
}

struct Pairs<'e> {
    ends: &'e [End<'e>; 2],
    path: Vec<Step>,
    found: Vec<Change>,
}

impl Step {
    /// It is this key.
    pub(super) fn is(&self, key: &str) -> bool {
        matches!(self, Step::Key(known) if *known == key)
    }
}

impl Pairs<'_> {
    fn tables(&mut self, fields: &'static [Field], before: &Table, after: &Table) {
        for field in fields {
            self.path.push(Step::Key(field.key));
            self.field(field, before.get(field.key), after.get(field.key));
            self.path.pop();
        }
    }

    fn field(&mut self, field: &'static Field, before: Option<&Value>, after: Option<&Value>) {
        match (&field.kind, before.map(|value| &value.data), after.map(|value| &value.data)) {
            (Kind::Table(inner), Some(Data::Table(before)), Some(Data::Table(after))) => {
                self.tables(inner, before, after);
            }
            (Kind::Table(_), None, Some(_)) => self.note(field, Event::Added, None, None),
            (Kind::Table(_), Some(_), None) => self.note(field, Event::Removed, None, None),
            (Kind::Table(_), ..) => {}
            (Kind::List(Kind::Table(inner), _), ..) if is_named(inner) => {
                self.items(field, inner, [before, after]);
            }
            (Kind::Headers, ..) => self.headers(field, [before, after].map(headers_of)),
            _ => self.value(field, [before, after]),
        }
    }

    /// Tables with names, whose order decides nothing.
    fn items(&mut self, field: &'static Field, inner: &'static [Field], lists: [Option<&Value>; 2]) {
        let [before, after] = lists.map(tables_of);
        let later: HashMap<&str, &Table> = after.iter().map(|table| (name_of(table), *table)).collect();
        let known: HashSet<&str> = before.iter().map(|table| name_of(table)).collect();
        for table in before {
            self.path.push(Step::Name(name_of(table).to_owned()));
            match later.get(name_of(table)) {
                Some(other) => self.tables(inner, table, other),
                None => {
                    let said = Said::address(table, &self.ends[0].source);
                    self.note(field, Event::Removed, said, None);
                }
            }
            self.path.pop();
        }
        for table in after.into_iter().filter(|table| !known.contains(name_of(table))) {
            self.path.push(Step::Name(name_of(table).to_owned()));
            let said = Said::address(table, &self.ends[1].source);
            self.note(field, Event::Added, None, said);
            self.path.pop();
        }
    }

    fn headers(&mut self, field: &'static Field, [before, after]: [Vec<(&HeaderName, &HeaderValue)>; 2]) {
        let find = |headers: &[(&HeaderName, &HeaderValue)], wanted: &HeaderName| {
            headers.iter().find(|(name, _)| *name == wanted).map(|(name, value)| Said::header(name, value))
        };
        let names: BTreeSet<&str> = before.iter().chain(&after).map(|(name, _)| name.as_str()).collect();
        for name in names {
            let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else { continue };
            self.path.push(Step::Name(name.to_owned()));
            self.pair(field, find(&before, &header), find(&after, &header));
            self.path.pop();
        }
    }

    /// Anything that is compared as a whole.
    fn value(&mut self, field: &'static Field, values: [Option<&Value>; 2]) {
        // What follows a rule on both sides is a consequence of something else.
        if values.iter().all(Option::is_none) {
            return;
        }
        let said = |at: usize| {
            let end = &self.ends[at];
            match values[at] {
                Some(value) => Some(Said::of(field, value, &end.source)),
                None => ruled::ruled(end.plan?, &self.path).map(|data| Said::by_rule(field, data)),
            }
        };
        self.pair(field, said(0), said(1));
    }

    fn pair(&mut self, field: &'static Field, before: Option<Said>, after: Option<Said>) {
        let event = match (&before, &after) {
            (None, None) => return,
            (None, Some(_)) => Event::Added,
            (Some(_), None) => Event::Removed,
            (Some(one), Some(other)) if one.parts != other.parts => Event::Changed,
            (Some(one), Some(other)) => {
                let refilled = self.refilled(one);
                let unruled = matches!(field.need, Need::Rule(_)) && one.written != other.written;
                match refilled.is_empty() {
                    false => Event::Refilled(refilled),
                    true if unruled && FOLLOWS.contains(&field.key) => Event::Changed,
                    true => return,
                }
            }
        };
        self.note(field, event, before, after);
    }

    /// The placeholders of what both sides say that are not filled with the same.
    fn refilled(&self, said: &Said) -> Vec<String> {
        let [Some(before), Some(after)] = [self.ends[0].plan, self.ends[1].plan] else { return Vec::new() };
        if !said.filled {
            return Vec::new();
        }
        let mut inner: Vec<&str> = said.parts.iter().flat_map(|part| placeholders(part)).collect();
        inner.sort_unstable();
        inner.dedup();
        inner.retain(|inner| before.fills.differ(&after.fills, inner));
        inner.into_iter().map(|inner| cut(&format!("${{{inner}}}"))).collect()
    }

    fn note(&mut self, field: &'static Field, event: Event, before: Option<Said>, after: Option<Said>) {
        self.found.push(Change { path: self.path.clone(), field, event, before, after });
    }
}

fn is_named(fields: &[Field]) -> bool {
    fields.iter().any(|field| field.key == "name")
}

fn name_of(table: &Table) -> &str {
    table.text("name").unwrap_or_default()
}

fn tables_of(value: Option<&Value>) -> Vec<&Table> {
    let items: &[Value] = match value.map(|value| &value.data) {
        Some(Data::List(items)) => items,
        _ => &[],
    };
    let tables = items.iter().filter_map(|item| match &item.data {
        Data::Table(table) => Some(table),
        _ => None,
    });
    tables.collect()
}

fn headers_of(value: Option<&Value>) -> Vec<(&HeaderName, &HeaderValue)> {
    match value.map(|value| &value.data) {
        Some(Data::Headers(headers)) => headers.iter().map(|(name, value, _)| (name, value)).collect(),
        _ => Vec::new(),
    }
}
