//! Records, notices and messages for the tests of this room.

use super::family::Family;
use super::lasting::{Notice, Stands};
use super::meaning::Topic;
use super::message::{Item, Message};
use super::sender::Sender;
use crate::telemetry::events::stream::{Kind, Record};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// Three in the morning.
pub fn night() -> Timestamp {
    "2026-11-01T03:00:00Z".parse().expect("a time")
}

/// A record so many seconds into the night.
pub fn record(kind: Kind, message: &str, second: i64, fields: &[(&str, Value)]) -> Arc<Record> {
    let at = Timestamp::from_second(night().as_second() + second).expect("a time");
    let record = fields
        .iter()
        .fold(Record::new(kind, message), |record, (name, value)| record.with(name, value.clone()));
    Arc::new(Record { at, ..record })
}

/// What is news of a topic.
pub fn notice(family: &'static Family, subject: &str, member: &str, stands: Stands, second: i64) -> Notice {
    let message = format!("{subject}/{member} is {}", stands.as_str());
    Notice {
        topic: Topic { family, subject: subject.to_owned() },
        member: member.to_owned(),
        stands,
        since: night(),
        lasting: usize::from(stands == Stands::Firing),
        record: record(family.kind, &message, second, &[("upstream", subject.into())]),
        told: false,
    }
}

/// A message of these.
pub fn message(notices: impl IntoIterator<Item = Notice>) -> Message {
    let items = notices.into_iter().map(Item::of).collect();
    Message { id: "00000000000000aa-1".into(), at: night(), items }
}

/// A gateway.
pub fn sender() -> Sender {
    Sender {
        name: "edge-1".into(),
        environment: Some("production".into()),
        version: 7,
        admin: "http://127.0.0.1:9900/".into(),
        instance: "127.0.0.1:9900".into(),
        runbook: "https://wiki.example/RUNBOOK.md".into(),
    }
}
