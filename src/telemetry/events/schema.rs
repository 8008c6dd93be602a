//! The stable schema of events: which steps a kind has, which fields each may carry, and what a field is. The reference
//! is made of it, and whoever is notified may rely on it: fields are added, never renamed or given another type.
//!
//! Every record is held against it where debug assertions are on, so in every test; a release does not look.

mod fields;
mod kinds;
#[cfg(test)]
mod emitted;

pub use fields::FIELDS;

use super::stream::{Kind, Record};
use serde_json::Value;

/// The events of a kind.
#[derive(Debug)]
pub struct Shape {
    /// The field whose word says which step it is; nothing where there is only one.
    pub by: Option<&'static str>,
    /// Its steps.
    pub steps: &'static [Step],
}

/// One step of a kind.
#[derive(Debug)]
pub struct Step {
    /// Its word in the field that the shape names; empty where that field is not there.
    pub word: &'static str,
    /// When it is told.
    pub when: &'static str,
    /// Fields that it may carry beside that word; each may be missing or null where there is nothing to say.
    pub fields: &'static [&'static str],
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// A text.
    Text,
    /// A number.
    Number,
    /// True or false.
    Flag,
    /// A list of texts.
    Texts,
    /// Texts by name.
    Named,
}

impl Holds {
    /// The word in the reference.
    pub const fn as_str(self) -> &'static str {
        match self {
            Holds::Text => "text",
            Holds::Number => "number",
            Holds::Flag => "true or false",
            Holds::Texts => "list of texts",
            Holds::Named => "texts by name",
        }
    }

    /// Whether a value is one; null is always, for it says that there is nothing to say.
    fn is_held_by(self, value: &Value) -> bool {
        match (self, value) {
            (_, Value::Null)
            | (Holds::Text, Value::String(_))
            | (Holds::Number, Value::Number(_))
            | (Holds::Flag, Value::Bool(_)) => true,
            (Holds::Texts, Value::Array(items)) => items.iter().all(Value::is_string),
            (Holds::Named, Value::Object(entries)) => entries.values().all(Value::is_string),
            _ => false,
        }
    }
}

impl Kind {
    /// The shape of its events.
    pub const fn shape(self) -> &'static Shape {
        match self {
            Kind::Config => &kinds::CONFIG,
            Kind::Rollback => &kinds::ROLLBACK,
            Kind::Shed => &kinds::SHED,
            Kind::Ramp => &kinds::RAMP,
            Kind::Ejection => &kinds::EJECTION,
            Kind::Limit => &kinds::LIMIT,
            Kind::Rollout => &kinds::ROLLOUT,
            Kind::Process => &kinds::PROCESS,
            Kind::Certificate => &kinds::CERTIFICATE,
            Kind::Listener => &kinds::LISTENER,
            Kind::Name => &kinds::NAME,
            Kind::Auth => &kinds::AUTH,
            Kind::Audit => &kinds::AUDIT,
            Kind::Incident => &kinds::INCIDENT,
            Kind::Notification => &kinds::NOTIFICATION,
            Kind::Gap => &kinds::GAP,
        }
    }
}

/// What in a record is not as the schema says, as a sentence that says what to do; nothing if all is.
pub fn fault(record: &Record) -> Option<String> {
    const HINT: &str = "hint: say so in src/telemetry/events/schema, and write `tidegate reference` into \
                        deploy/REFERENCE.md";
    let (kind, shape) = (record.kind.as_str(), record.kind.shape());
    let word = shape.by.and_then(|by| record.fields.get(by)).and_then(Value::as_str).unwrap_or_default();
    let Some(step) = shape.steps.iter().find(|step| step.word == word) else {
        return Some(format!("events of kind {kind} have no step {word:?}. {HINT}"));
    };
    record.fields.iter().find_map(|(name, value)| {
        if shape.by == Some(name) {
            return None;
        }
        if !step.fields.contains(&name.as_str()) {
            return Some(format!("events of kind {kind}, step {word:?}, have no field {name}. {HINT}"));
        }
        let holds = FIELDS.iter().find(|(known, ..)| known == name).map(|(_, holds, _)| *holds);
        match holds {
            None => Some(format!("the field {name} is not described. {HINT}")),
            Some(holds) if !holds.is_held_by(value) => {
                Some(format!("the field {name} of {kind} {word:?} is no {}: {value}", holds.as_str()))
            }
            Some(_) => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_field_that_nobody_declared_is_a_fault_and_so_is_one_of_another_type() {
        let shed =
            || Record::new(Kind::Shed, "orders is shedding").with("what", "began").with("upstream", "orders");
        assert_eq!(fault(&shed().with("reason", "queue_full")), None);
        assert_eq!(fault(&shed().with("reason", None::<&str>)), None);
        assert!(fault(&shed().with("colour", "red")).expect("a fault").contains("no field colour"));
        assert!(fault(&shed().with("reason", 7)).expect("a fault").contains("is no text"));
        let step = Record::new(Kind::Process, "x").with("step", "dancing");
        assert!(fault(&step).expect("a fault").contains("no step \"dancing\""));
    }

    #[test]
    fn every_field_of_a_step_is_described_and_every_described_one_is_of_some_step() {
        let names: Vec<_> = FIELDS.iter().map(|(name, ..)| *name).collect();
        assert!(names.is_sorted(), "in the order of the alphabet, so that one is found");
        let steps = || Kind::ALL.into_iter().flat_map(|kind| kind.shape().steps);
        let used: BTreeSet<_> = steps().flat_map(|step| step.fields.iter().copied()).collect();
        let by: BTreeSet<_> = Kind::ALL.into_iter().filter_map(|kind| kind.shape().by).collect();
        assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), &used | &by);
        assert!(steps().all(|step| step.when.ends_with('.')));
    }
}
