//! Messages for a webhook: JSON of a stable schema, signed.
//!
//! The schema is a contract (README, "Notifications"): members are added, never renamed or taken away, within
//! `tidegate.notification/1`. The signature covers the time and the body, so that neither can be another's.

use super::lasting::Stands;
use super::message::{Item, Message};
use super::sender::Sender;
use crate::telemetry::events::stream::Record;
use aws_lc_rs::hmac;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::Arc;

/// The name and the number of the schema.
pub const SCHEMA: &str = "tidegate.notification/1";

/// Bytes of a body at most, as far as leaving out details can keep it there.
const MAX_BODY: usize = 256 * 1024;

/// How much is told of each event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Everything,
    /// Without samples.
    Less,
    /// Without fields too.
    Least,
}

/// The body; of a message that would be too large, without details.
pub fn body(message: &Message, sender: &Sender) -> String {
    let least = detailed(message, sender, Detail::Everything);
    [Detail::Less, Detail::Least].into_iter().fold(least, |body, detail| match body.len() > MAX_BODY {
        true => detailed(message, sender, detail),
        false => body,
    })
}

fn detailed(message: &Message, sender: &Sender, detail: Detail) -> String {
    let events = message.items.iter().enumerate();
    let events = events.map(|(place, item)| event((message, sender), place, item, detail));
    let body = json!({
        "schema": SCHEMA,
        "id": message.id,
        "at": time(message.at),
        "gateway": {
            "name": sender.name,
            "instance": sender.instance,
            "environment": sender.environment,
            "program": env!("CARGO_PKG_VERSION"),
        },
        "version": sender.version,
        "events": events.collect::<Vec<_>>(),
    });
    body.to_string()
}

fn event((message, sender): (&Message, &Sender), place: usize, item: &Item, detail: Detail) -> Value {
    let family = item.topic.family;
    let ends = item.last().filter(|_| item.stands == Stands::Resolved).map(|record| time(record.at));
    let samples = item.samples.iter().filter(|_| detail == Detail::Everything && item.count > 1);
    let sample = |record: &Arc<Record>| json!({ "at": time(record.at), "message": record.message, "fields": record.fields });
    let fields = item.last().filter(|_| detail != Detail::Least).map(|record| &record.fields);
    json!({
        "id": format!("{}.{}", message.id, place + 1),
        "at": item.last().map(|record| time(record.at)),
        "kind": family.kind.as_str(),
        "alert": family.name,
        "subject": item.topic.subject,
        "members": item.members,
        "state": item.stands.as_str(),
        "severity": family.severity.as_str(),
        "message": item.sentence(),
        "fields": fields,
        "since": time(item.since),
        "until": ends,
        "count": item.count,
        "lasting": item.lasting,
        "samples": samples.map(sample).collect::<Vec<_>>(),
        "late": item.late,
        "next": item.next(),
        "runbook": sender.chapter(family),
    })
}

/// UTC with milliseconds, as events have it.
pub fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// What says that the body is ours and of this time: `t=…,v1=…`.
pub fn signature(secret: &[u8], body: &str, at: Timestamp) -> String {
    let seconds = at.as_second();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut context = hmac::Context::with_key(&key);
    context.update(seconds.to_string().as_bytes());
    context.update(b".");
    context.update(body.as_bytes());
    let signature = format!("t={seconds},v1=");
    // Writing to a String cannot fail.
    context.sign().as_ref().iter().fold(signature, |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::notify::family::{DOWN, SHEDDING};
    use crate::control::notify::samples::{message, night, notice, record, sender};
    use crate::telemetry::events::stream::Kind;

    #[test]
    fn a_message_looks_like_this() {
        let message = message([notice(&SHEDDING, "orders", "queue_full", Stands::Firing, 5)]);
        let body: Value = serde_json::from_str(&body(&message, &sender())).expect("JSON");
        let expected = json!({
            "schema": "tidegate.notification/1",
            "id": "00000000000000aa-1",
            "at": "2026-11-01T03:00:00.000Z",
            "gateway": {
                "name": "edge-1",
                "instance": "127.0.0.1:9900",
                "environment": "production",
                "program": env!("CARGO_PKG_VERSION"),
            },
            "version": 7,
            "events": [{
                "id": "00000000000000aa-1.1",
                "at": "2026-11-01T03:00:05.000Z",
                "kind": "shed",
                "alert": "TidegateShedding",
                "subject": "orders",
                "members": ["queue_full"],
                "state": "firing",
                "severity": "page",
                "message": "orders/queue_full is firing",
                "fields": { "upstream": "orders" },
                "since": "2026-11-01T03:00:00.000Z",
                "until": null,
                "count": 1,
                "lasting": 1,
                "samples": [],
                "late": false,
                "next": "tidegate permits --upstream orders",
                "runbook": "https://wiki.example/RUNBOOK.md#tidegateshedding",
            }],
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn what_is_over_says_until_when() {
        let message = message([notice(&DOWN, "orders", "a", Stands::Resolved, 65)]);
        let body: Value = serde_json::from_str(&body(&message, &sender())).expect("JSON");
        let event = &body["events"][0];
        assert_eq!(
            (&event["state"], &event["until"]),
            (&json!("resolved"), &json!("2026-11-01T03:01:05.000Z"))
        );
    }

    #[test]
    fn a_message_that_would_be_too_large_goes_without_details() {
        let large = |n: usize| {
            let mut notice = notice(&DOWN, &format!("u{n}"), "a", Stands::Firing, 0);
            let text = "x".repeat(2_000);
            let fields: Vec<(String, Value)> =
                (0..20).map(|n| (format!("f{n}"), text.clone().into())).collect();
            let fields: Vec<(&str, Value)> =
                fields.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
            notice.record = record(Kind::Ejection, &text, 0, &fields);
            notice
        };
        let sent = body(&message((0..50).map(large)), &sender());
        assert!(sent.len() <= MAX_BODY, "{}", sent.len());
        let sent: Value = serde_json::from_str(&sent).expect("JSON");
        assert_eq!(sent["events"].as_array().map(Vec::len), Some(50), "none is left out");
        assert_eq!(night(), message([]).at);
    }

    #[test]
    fn the_signature_is_what_anybody_computes() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let at = Timestamp::from_second(1_700_000_000).expect("a time");
        let signed = signature(b"0123456789abcdef", "{\"a\":1}", at);
        assert_eq!(
            signed,
            "t=1700000000,v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23"
        );
        assert_ne!(signed, signature(b"0123456789abcdee", "{\"a\":1}", at));
        assert_ne!(signed, signature(b"0123456789abcdef", "{\"a\":2}", at));
    }
}
