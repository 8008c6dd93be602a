//! A difference as a sentence: whose it is, what of it, from what to what.

use super::pairs::{Change, Event, Step};
use super::said::{Said, cut};
use crate::config::fields::{Kind, Need};

/// A path with the names of tables: `upstreams.orders.backends.b.address`.
pub(super) fn path(steps: &[Step]) -> String {
    let words: Vec<String> = steps.iter().map(word).collect();
    words.join(".")
}

/// What differs, in a sentence without a full stop.
pub(super) fn sentence(change: &Change) -> String {
    let Place { owner, key } = place(&change.path);
    let (before, after) = (shown(&change.before), shown(&change.after));
    if key.is_empty() {
        return match (&change.event, before.or(after)) {
            (Event::Removed, Some(address)) => format!("{owner} at {address} is removed"),
            (Event::Removed, None) => format!("{owner} is removed"),
            (_, Some(address)) => format!("{owner} is added at {address}"),
            (_, None) => format!("{owner} is added"),
        };
    }
    if let Event::Refilled(placeholders) = &change.event {
        return format!("{owner}: what fills {} in {key} has changed", placeholders.join(" and "));
    }
    if change.field.key == "address"
        && let (Some(before), Some(after)) = (before, after)
    {
        return format!("{owner} moves from {before} to {after}");
    }
    if let (Kind::List(..), Some(before), Some(after)) = (&change.field.kind, &change.before, &change.after)
        && let Some(moved) = items(before, after)
    {
        return format!("{owner}: {key} {moved}");
    }
    let left_to_rule = |said: &Option<Said>| said.as_ref().is_some_and(|said| !said.written);
    let rule = matches!(change.field.need, Need::Rule(_));
    match (before, after) {
        (Some(before), Some(after)) if rule && left_to_rule(&change.after) => {
            format!("{owner}: {key} {before} is left to its rule, which makes it {after} now")
        }
        (Some(before), Some(after)) if rule && left_to_rule(&change.before) => {
            format!("{owner}: {key} {before} (by its rule) → {after}")
        }
        (Some(before), Some(after)) => format!("{owner}: {key} {before} → {after}"),
        (None, Some(after)) => format!("{owner}: {key} is set to {after}"),
        (Some(before), None) => format!("{owner}: {key} is removed (it was {before})"),
        (None, None) => match change.event {
            Event::Added => format!("{owner}: {key} is added"),
            Event::Removed => format!("{owner}: {key} is removed"),
            _ => format!("{owner}: {key} changes"),
        },
    }
}

/// Whose something is, and what of it.
struct Place {
    owner: String,
    /// Empty: the owner itself.
    key: String,
}

fn place(steps: &[Step]) -> Place {
    let (owner, rest) = match steps {
        [Step::Key(list), Step::Name(name), rest @ ..] => (format!("{} {}", singular(list), cut(name)), rest),
        [Step::Key("access_log"), rest @ ..] => ("access log".to_owned(), rest),
        [Step::Key(table), rest @ ..] => ((*table).to_owned(), rest),
        rest => (String::new(), rest),
    };
    match rest {
        // A list of tables within a table: backends, tokens, keys. Headers have names too, below a key of their own.
        [Step::Key(list @ ("backends" | "tokens" | "keys")), Step::Name(name), rest @ ..] => {
            Place { owner: format!("{owner}: {} {}", singular(list), cut(name)), key: path(rest) }
        }
        rest => Place { owner, key: path(rest) },
    }
}

/// The word for one of a list.
fn singular(list: &str) -> &str {
    match list {
        "listeners" => "listener",
        "upstreams" => "upstream",
        "routes" => "route",
        "backends" => "backend",
        "tokens" => "token",
        "keys" => "key",
        other => other,
    }
}

/// What a list gains and loses; nothing if that is not what differs.
fn items(before: &Said, after: &Said) -> Option<String> {
    // Long ones are shown as they are, cut.
    let few = |said: &Said| said.parts.len() <= 40 && said.parts.iter().all(|part| part.len() <= 60);
    if !few(before) || !few(after) || !before.amounts.is_empty() || !after.amounts.is_empty() {
        return None;
    }
    let missing = |from: &Said, of: &Said| -> Vec<String> {
        of.parts.iter().filter(|part| !from.parts.contains(part)).cloned().collect()
    };
    let (lost, gained) = (missing(after, before), missing(before, after));
    match (lost.is_empty(), gained.is_empty()) {
        (true, true) => None,
        (true, false) => Some(format!("gains {}", gained.join(", "))),
        (false, true) => Some(format!("loses {}", lost.join(", "))),
        (false, false) => Some(format!("loses {} and gains {}", lost.join(", "), gained.join(", "))),
    }
}

fn shown(said: &Option<Said>) -> Option<&str> {
    said.as_ref()?.shown.as_deref()
}

/// A name before filling may be as long as the file, and stands in every path below it.
fn word(step: &Step) -> String {
    match step {
        Step::Key(key) => (*key).to_owned(),
        Step::Name(name) => cut(name),
    }
}
