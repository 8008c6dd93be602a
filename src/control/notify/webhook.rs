//! Messages for a webhook: JSON of a stable schema, signed.
//!
//! The schema is a contract (README, "Notifications"): members are added, never renamed or taken away, within
//! `tidegate.notification/1`. The signature covers the time and the body, so that neither can be another's.

use super::lasting::Stands;
use super::message::{Item, Message};
use super::sender::Sender;
use aws_lc_rs::hmac;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fmt::Write;

/// The name and the number of the schema.
pub const SCHEMA: &str = "tidegate.notification/1";

/// The body.
pub fn body(message: &Message, sender: &Sender) -> String {
    let events = message.items.iter().enumerate().map(|(place, item)| event(message, place, item));
    let body = json!({
        "schema": SCHEMA,
        "id": message.id,
        "at": time(message.at),
        "gateway": {
            "name": sender.name,
            "environment": sender.environment,
            "program": env!("CARGO_PKG_VERSION"),
        },
        "version": sender.version,
        "events": events.collect::<Vec<_>>(),
    });
    body.to_string()
}

fn event(message: &Message, place: usize, item: &Item) -> Value {
    let family = item.topic.family;
    let ends = item.last().filter(|_| item.stands == Stands::Resolved).map(|record| time(record.at));
    let samples: Vec<Value> = item.samples.iter().map(|record| {
        json!({ "at": time(record.at), "message": record.message, "fields": record.fields })
    }).collect();
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
        "fields": item.last().map(|record| &record.fields),
        "since": time(item.since),
        "until": ends,
        "count": item.count,
        "lasting": item.lasting,
        "samples": samples,
        "next": item.next(),
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

    #[test]
    fn the_signature_is_what_anybody_computes() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let at = Timestamp::from_second(1_700_000_000).expect("a time");
        let signed = signature(b"0123456789abcdef", "{\"a\":1}", at);
        assert_eq!(signed, "t=1700000000,v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23");
        assert_ne!(signed, signature(b"0123456789abcdee", "{\"a\":1}", at));
        assert_ne!(signed, signature(b"0123456789abcdef", "{\"a\":2}", at));
    }
}
