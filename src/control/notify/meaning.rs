//! What a record means to people who are not looking: what it is about, and whether that begins, goes on or is over.
//! Pure, and the only place that reads the fields of records; what it does not know is not told.

use super::family::*;
use crate::telemetry::events::stream::{Kind, Record};
use serde_json::Value;

/// As a member: every one of a topic.
pub const EVERY: &str = "*";

/// What a backend is out by.
const ANSWERS: &str = "answers";
const CHECKS: &str = "checks";

/// What people are told of together: one alert.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Topic {
    /// What it is.
    pub family: &'static Family,
    /// Whom it is about: an upstream, a version, a core.
    pub subject: String,
}

/// One part of what a record means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// What it is about.
    pub topic: Topic,
    /// Which of them: a backend, a reason. A topic lasts as long as one of its members does.
    pub member: String,
    /// What it lasts by, where that may be more than one thing: a member lasts as long as one of them does.
    pub by: &'static str,
    /// What becomes of it.
    pub phase: Phase,
}

/// What becomes of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It lasts from now on; said once for a member.
    Begins,
    /// It takes a step, which is told, and lasts.
    Goes,
    /// The member is over.
    Ends,
    /// The whole topic is over, and somebody says so elsewhere.
    Clears,
    /// It happened, and that is all.
    Once,
}

/// Everything that a record means; nothing for what people need not hear of.
pub fn meanings(record: &Record) -> Vec<Meaning> {
    let what = text(record, "what");
    match record.kind {
        Kind::Shed => shed(record, what),
        Kind::Ejection => ejection(record, what),
        Kind::Ramp => ramp(record, what),
        Kind::Rollout => rollout(record, what),
        Kind::Rollback => vec![of(&ROLLED_BACK, number(record, "from"), "", Phase::Once)],
        Kind::Config => config(record),
        Kind::Limit => limit(record, what),
        Kind::Process => process(record),
        Kind::Certificate => certificate(record, what),
        Kind::Listener => listener(record, what),
        Kind::Name => name(record),
        Kind::Auth => auth(record, what),
        Kind::Audit => audit(record, what),
        Kind::Incident => incident(record, what),
        Kind::Notification => notification(record, what),
        Kind::Gap => Vec::new(),
    }
}

fn of(family: &'static Family, subject: impl Into<String>, member: &str, phase: Phase) -> Meaning {
    Meaning { topic: Topic { family, subject: subject.into() }, member: member.to_owned(), by: "", phase }
}

/// A backend that cannot be used because of its answers, or because of its checks.
fn down(upstream: &str, backend: &str, by: &'static str, phase: Phase) -> Meaning {
    Meaning { by, ..of(&DOWN, upstream, backend, phase) }
}

fn text<'a>(record: &'a Record, field: &str) -> &'a str {
    record.fields.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn number(record: &Record, field: &str) -> String {
    match record.fields.get(field) {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    }
}

fn shed(record: &Record, what: &str) -> Vec<Meaning> {
    let (upstream, reason) = (text(record, "upstream"), text(record, "reason"));
    let of_core = |phase| vec![of(&CORE_BEHIND, number(record, "core"), "", phase)];
    match what {
        // What a ramp sheds is wanted: its own event has told of it, with the forecast.
        _ if reason == "ramp" => Vec::new(),
        "began" | "lasts" => vec![of(&SHEDDING, upstream, reason, Phase::Begins)],
        "ended" => vec![of(&SHEDDING, upstream, reason, Phase::Ends)],
        "classes" => {
            let closed = record.fields.get("classes").and_then(Value::as_array);
            let is_open = closed.is_none_or(Vec::is_empty);
            of_core(if is_open { Phase::Ends } else { Phase::Begins })
        }
        _ => Vec::new(),
    }
}

fn ejection(record: &Record, what: &str) -> Vec<Meaning> {
    let (upstream, backend) = (text(record, "upstream"), text(record, "backend"));
    let meaning = match what {
        "ejected" => down(upstream, backend, ANSWERS, Phase::Begins),
        "returned" => down(upstream, backend, ANSWERS, Phase::Ends),
        "down" => down(upstream, backend, CHECKS, Phase::Begins),
        "up" => down(upstream, backend, CHECKS, Phase::Ends),
        "checks_doubted" => of(&CHECKS_DOUBTED, upstream, backend, Phase::Begins),
        "checks_believed" => of(&CHECKS_DOUBTED, upstream, backend, Phase::Ends),
        // On trial is neither in nor out.
        _ => return Vec::new(),
    };
    vec![meaning]
}

fn ramp(record: &Record, what: &str) -> Vec<Meaning> {
    let (upstream, backend) = (text(record, "upstream"), text(record, "backend"));
    let full = record.fields.get("percent").and_then(Value::as_f64).is_some_and(|percent| percent >= 100.0);
    let by_itself = text(record, "by") == "tidegate";
    let one = |family, phase| vec![of(family, upstream, backend, phase)];
    match what {
        "drained" => one(&DRAINED, Phase::Begins),
        "ready" => one(&DRAINED, Phase::Ends),
        "set" | "step" if full && !by_itself => one(&RAMPED, Phase::Ends),
        "set" => one(&RAMPED, Phase::Begins),
        "cleared" => {
            let ends = |family| of(family, upstream, backend, Phase::Ends);
            vec![ends(&RAMPED), ends(&RESTARTED), ends(&RAMP_STUCK)]
        }
        "step" | "hold" | "back_off" | "fleet_ramp" if by_itself => one(&RESTARTED, Phase::Goes),
        "step" | "paused" | "resumed" => one(&RAMPED, Phase::Goes),
        "incarnation" if text(record, "reason").ends_with("it is not ramped for that") => {
            one(&RESTARTED, Phase::Once)
        }
        "incarnation" => one(&RESTARTED, Phase::Begins),
        "alert" => one(&RAMP_STUCK, Phase::Begins),
        "done" | "withdrawn" => {
            let ends = |family| of(family, upstream, backend, Phase::Ends);
            vec![ends(&RESTARTED), ends(&RAMP_STUCK)]
        }
        "shared" => vec![
            of(&RESTARTED, upstream, backend, Phase::Ends),
            of(&RAMP_CONFLICT, upstream, backend, Phase::Once),
        ],
        "conflict" => one(&RAMP_CONFLICT, Phase::Once),
        _ => Vec::new(),
    }
}

fn rollout(record: &Record, what: &str) -> Vec<Meaning> {
    let version = number(record, "version");
    match what {
        "begun" => vec![of(&ROLLOUT, version, "", Phase::Begins)],
        "ended" => match text(record, "outcome") {
            "good" | "active" => vec![of(&ROLLOUT, version, "", Phase::Ends)],
            outcome => {
                // Where it served everyone, the rollback says so too: the same of the same version.
                let taken_back = ["reverted", "rolled_back"].contains(&outcome);
                let family = if taken_back { &ROLLED_BACK } else { &ROLLOUT_FAILED };
                vec![of(&ROLLOUT, version.clone(), "", Phase::Clears), of(family, version, "", Phase::Once)]
            }
        },
        "glass_broken" => vec![of(&GLASS_BROKEN, version, "", Phase::Begins)],
        "glass_acknowledged" => vec![of(&GLASS_BROKEN, version, "", Phase::Ends)],
        "" => Vec::new(),
        _ => vec![of(&ROLLOUT, version, "", Phase::Goes)],
    }
}

fn config(record: &Record) -> Vec<Meaning> {
    match text(record, "outcome") {
        "applied" => vec![
            of(&CONFIG_REFUSED, "", EVERY, Phase::Ends),
            of(&DEGRADED, "", EVERY, Phase::Ends),
            of(&CONFIG_APPLIED, "", "", Phase::Once),
        ],
        // Another mistake is another message.
        "refused" => vec![of(&CONFIG_REFUSED, "", text(record, "error"), Phase::Begins)],
        "degraded" => vec![of(&DEGRADED, "", "", Phase::Begins)],
        _ => Vec::new(),
    }
}

fn limit(record: &Record, what: &str) -> Vec<Meaning> {
    let (family, phase) = match what {
        "limit_at_floor" => (&LIMIT_AT_FLOOR, Phase::Begins),
        "limit_above_floor" => (&LIMIT_AT_FLOOR, Phase::Ends),
        _ => (&LIMIT_MOVED, Phase::Once),
    };
    vec![of(family, text(record, "upstream"), "", phase)]
}

fn process(record: &Record) -> Vec<Meaning> {
    let core = || number(record, "worker");
    match text(record, "step") {
        "ready" => vec![of(&STARTED, "", "", Phase::Once)],
        "draining" => vec![of(&LEAVING, "", "", Phase::Once)],
        "drain_timeout" => vec![of(&DRAIN_TIMED_OUT, "", "", Phase::Once)],
        "stuck_core" => vec![of(&CORE_STUCK, core(), "", Phase::Begins)],
        "core_recovered" => vec![of(&CORE_STUCK, core(), "", Phase::Ends)],
        _ => Vec::new(),
    }
}

fn certificate(record: &Record, what: &str) -> Vec<Meaning> {
    let (owner, file) = (text(record, "owner"), text(record, "certificate"));
    match what {
        "refused" => vec![of(&CERTIFICATE_REFUSED, owner, "", Phase::Begins)],
        "expires" => vec![of(&CERTIFICATE_EXPIRES, owner, file, Phase::Begins)],
        "expired" => {
            vec![
                of(&CERTIFICATE_EXPIRES, owner, file, Phase::Clears),
                of(&CERTIFICATE_EXPIRED, owner, file, Phase::Begins),
            ]
        }
        // Files are renewed together.
        "renewed" => [&CERTIFICATE_REFUSED, &CERTIFICATE_EXPIRES, &CERTIFICATE_EXPIRED]
            .map(|family| of(family, owner, EVERY, Phase::Ends))
            .into(),
        _ => Vec::new(),
    }
}

fn listener(record: &Record, what: &str) -> Vec<Meaning> {
    let listener = text(record, "listener");
    match what {
        "accept_failed" => vec![of(&ACCEPT_FAILED, listener, "", Phase::Begins)],
        _ => vec![of(&LISTENER_CHANGED, listener, "", Phase::Once)],
    }
}

/// Who went is neither out nor down any more.
fn name(record: &Record) -> Vec<Meaning> {
    let (upstream, backend) = (text(record, "upstream"), text(record, "backend"));
    let mut all = vec![of(&ADDRESSES_CHANGED, upstream, backend, Phase::Once)];
    let went = record.fields.get("went").and_then(Value::as_array).is_some_and(|went| !went.is_empty());
    if went {
        all.extend([ANSWERS, CHECKS].map(|by| down(upstream, backend, by, Phase::Ends)));
    }
    all
}

fn auth(record: &Record, what: &str) -> Vec<Meaning> {
    let (auth, source) = (text(record, "auth"), text(record, "source"));
    let has_keys = record.fields.get("keys").and_then(Value::as_u64).is_some_and(|keys| keys > 0);
    match what {
        "silent" => vec![of(&AUTH_SILENT, auth, "", Phase::Begins)],
        "answers" => vec![of(&AUTH_SILENT, auth, "", Phase::Ends)],
        "keys_failed" if has_keys => vec![of(&KEYS_OLD, source, "", Phase::Begins)],
        "keys_failed" => vec![of(&KEYS_MISSING, source, "", Phase::Begins)],
        "keys_fetched" => [&KEYS_OLD, &KEYS_MISSING].map(|family| of(family, source, "", Phase::Ends)).into(),
        _ => Vec::new(),
    }
}

fn audit(record: &Record, what: &str) -> Vec<Meaning> {
    match what {
        "unavailable" => vec![of(&UNRECORDED, "", "", Phase::Begins)],
        "available" => vec![of(&UNRECORDED, "", "", Phase::Ends)],
        _ => vec![of(&AUDITED, text(record, "actor"), text(record, "action"), Phase::Once)],
    }
}

/// An incident is known by its number; a draft is not one yet.
fn incident(record: &Record, what: &str) -> Vec<Meaning> {
    let id = number(record, "incident");
    let draft = |phase| of(&INCIDENT_DRAFTED, id.clone(), "", phase);
    match what {
        "drafted" => vec![draft(Phase::Begins)],
        "opened" | "published" => {
            vec![draft(Phase::Clears), of(&INCIDENT, id.clone(), "", Phase::Begins)]
        }
        "closed" => vec![of(&INCIDENT, id.clone(), "", Phase::Ends)],
        // It never was an incident: whoever is paged for those has not heard of it.
        "dismissed" => vec![draft(Phase::Ends)],
        _ if text(record, "state") == "draft" => vec![draft(Phase::Goes)],
        // The freeze that ends with it; its end was told.
        _ if text(record, "state") == "closed" => Vec::new(),
        _ => vec![of(&INCIDENT, id.clone(), "", Phase::Goes)],
    }
}

fn notification(record: &Record, what: &str) -> Vec<Meaning> {
    let (family, phase) = match what {
        "failed" => (&SINK_FAILING, Phase::Begins),
        "recovered" => (&SINK_FAILING, Phase::Ends),
        "dropped" => (&SINK_FAILING, Phase::Once),
        _ => (&EVENTS_LOST, Phase::Once),
    };
    vec![of(family, text(record, "sink"), "", phase)]
}

#[cfg(test)]
mod tests;
