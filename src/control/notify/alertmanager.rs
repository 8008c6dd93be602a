//! Messages for Alertmanager's API v2: each topic is an alert, known by labels that never change while it lasts.
//!
//! Alertmanager forgets what it does not hear of, so what lasts says until when it is to be believed, and is told again
//! long before. What only happened fires for a few minutes, or nobody would be told.

use super::family::{CORE_BEHIND, CORE_STUCK, KEYS_MISSING, KEYS_OLD};
use super::lasting::Stands;
use super::meaning::Topic;
use super::message::{Item, Message};
use super::sender::Sender;
use super::spool::AGAIN;
use super::webhook::time;
use crate::telemetry::events::stream::Kind;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

/// How long something that only happened fires.
const HAPPENED: SignedDuration = SignedDuration::from_mins(5);

/// The body; `now` is when it is sent, which may be long after it happened.
pub fn body(message: &Message, sender: &Sender, now: Timestamp) -> String {
    let alerts = message.items.iter().map(|item| alert(item, sender, now));
    Value::Array(alerts.collect()).to_string()
}

fn alert(item: &Item, sender: &Sender, now: Timestamp) -> Value {
    let mut annotations = Map::new();
    annotations.insert("summary".into(), item.sentence().into());
    annotations.insert("action".into(), format!("`{}`", item.next()).into());
    annotations.insert("runbook_url".into(), sender.chapter(item.topic.family).into());
    if !item.members.is_empty() {
        annotations.insert("members".into(), item.members.join(", ").into());
    }
    if item.late {
        annotations.insert("late".into(), "the process ended before it was told".into());
    }
    if item.lasting > 1 {
        annotations.insert("lasting".into(), item.lasting.to_string().into());
    }
    json!({
        "labels": labels(item, sender),
        "annotations": annotations,
        "startsAt": time(item.since),
        "endsAt": time(ends(item, now)),
        "generatorURL": sender.admin,
    })
}

/// What it is known by: where `deploy/prometheus/` has the same alert, the labels that Alertmanager groups and inhibits
/// by are called as there. Empty values are as good as none there.
fn labels(item: &Item, sender: &Sender) -> Map<String, Value> {
    let family = item.topic.family;
    let subject = subject_label(item);
    let all = [
        ("alertname", family.name),
        ("severity", family.severity.as_str()),
        ("kind", family.kind.as_str()),
        ("instance", &sender.instance),
        ("gateway", &sender.name),
        ("environment", sender.environment.as_deref().unwrap_or_default()),
        subject,
    ];
    let said = all.into_iter().filter(|(_, value)| !value.is_empty());
    said.map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// What it is about, as the metrics call it.
fn subject_label(item: &Item) -> (&'static str, &str) {
    let Topic { family, subject } = &item.topic;
    let name = match family.kind {
        _ if [&CORE_BEHIND, &CORE_STUCK].contains(family) => "worker",
        _ if [&KEYS_OLD, &KEYS_MISSING].contains(family) => "source",
        Kind::Shed | Kind::Ejection | Kind::Ramp | Kind::Limit | Kind::Name => "upstream",
        Kind::Rollout | Kind::Rollback => "version",
        Kind::Auth => "auth",
        Kind::Listener => "listener",
        Kind::Certificate => {
            return match subject.split_once(' ') {
                Some(("listener", name)) => ("listener", name),
                Some(("upstream", name)) => ("upstream", name),
                _ => ("owner", subject),
            };
        }
        Kind::Incident => "incident",
        Kind::Notification => "sink",
        Kind::Audit => "actor",
        Kind::Config | Kind::Process | Kind::Gap => "subject",
    };
    (name, subject)
}

/// Until when it is to be believed: never before it began, also when the clock was set back since, because then the
/// whole message would be refused.
fn ends(item: &Item, now: Timestamp) -> Timestamp {
    let now = now.max(item.since);
    let later = |by: SignedDuration| now.checked_add(by).unwrap_or(now);
    match item.stands {
        Stands::Firing => later(SignedDuration::try_from(AGAIN * 4).unwrap_or(HAPPENED)),
        Stands::Happened => later(HAPPENED),
        Stands::Resolved => item.last().map_or(now, |record| record.at.max(item.since)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::notify::family::{CERTIFICATE_EXPIRED, DOWN, ROLLED_BACK, SHEDDING};
    use crate::control::notify::samples::{message, night, notice, sender};

    fn alerts(stands: Stands, now: Timestamp) -> Value {
        let family = if stands == Stands::Happened { &ROLLED_BACK } else { &SHEDDING };
        let body = body(&message([notice(family, "orders", "queue_full", stands, 5)]), &sender(), now);
        serde_json::from_str(&body).expect("JSON")
    }

    fn later(seconds: i64) -> Timestamp {
        Timestamp::from_second(night().as_second() + seconds).expect("a time")
    }

    #[test]
    fn an_alert_looks_like_this() {
        let expected = json!([{
            "labels": {
                "alertname": "TidegateShedding",
                "severity": "page",
                "kind": "shed",
                "instance": "127.0.0.1:9900",
                "gateway": "edge-1",
                "environment": "production",
                "upstream": "orders",
            },
            "annotations": {
                "summary": "orders/queue_full is firing",
                "action": "`tidegate permits --upstream orders`",
                "runbook_url": "https://wiki.example/RUNBOOK.md#tidegateshedding",
                "members": "queue_full",
            },
            "startsAt": "2026-11-01T03:00:00.000Z",
            "endsAt": "2026-11-01T03:04:10.000Z",
            "generatorURL": "http://127.0.0.1:9900/",
        }]);
        assert_eq!(alerts(Stands::Firing, later(10)), expected);
    }

    #[test]
    fn what_it_is_about_is_called_as_in_the_metrics() {
        let label = |family, subject| {
            let item = Item::of(notice(family, subject, "", Stands::Firing, 0));
            let (name, subject) = subject_label(&item);
            format!("{name}={subject}")
        };
        assert_eq!(label(&CERTIFICATE_EXPIRED, "listener edge"), "listener=edge");
        assert_eq!(label(&CERTIFICATE_EXPIRED, "upstream orders"), "upstream=orders");
        assert_eq!(label(&CORE_STUCK, "3"), "worker=3");
        assert_eq!(label(&DOWN, "orders"), "upstream=orders");
    }

    #[test]
    fn it_is_known_by_the_same_labels_for_as_long_as_it_lasts() {
        let (firing, over) = (alerts(Stands::Firing, later(10)), alerts(Stands::Resolved, later(90)));
        assert_eq!(firing[0]["labels"], over[0]["labels"]);
        assert_eq!(over[0]["endsAt"], "2026-11-01T03:00:05.000Z");
    }

    #[test]
    fn what_only_happened_fires_also_when_it_is_told_late() {
        let told = alerts(Stands::Happened, later(3600));
        assert_eq!(told[0]["endsAt"], time(later(3600 + 300)));
        let set_back = alerts(Stands::Firing, later(-86_400));
        assert_eq!(set_back[0]["endsAt"], time(later(240)), "not before it began");
    }
}
