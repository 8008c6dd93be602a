//! Every event that people should hear of is understood, and none is misunderstood.

use super::*;
use crate::control::notify::samples::record;
use serde_json::json;

/// The names of the alerts and what becomes of them, as the fields have it.
fn meant(kind: Kind, fields: Value) -> Vec<(&'static str, String, Phase)> {
    let fields: Vec<(&str, Value)> = fields
        .as_object()
        .expect("fields")
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    let record = record(kind, "it happened", 0, &fields);
    meanings(&record)
        .into_iter()
        .map(|meaning| (meaning.topic.family.name, meaning.topic.subject, meaning.phase))
        .collect()
}

#[test]
fn an_incident_that_is_closed_with_its_freeze_is_over_and_stays_so() {
    let closed = |what: &str| meant(Kind::Incident, json!({"what": what, "incident": 7, "state": "closed"}));
    assert!(closed("closed").contains(&("TidegateIncidentOpen", "7".to_owned(), Phase::Ends)));
    assert_eq!(closed("thawed"), []);
}

#[test]
fn nobody_is_woken_for_what_a_ramp_sheds() {
    for what in ["began", "lasts", "ended"] {
        let meant =
            |reason: &str| meant(Kind::Shed, json!({"what": what, "reason": reason, "upstream": "u"}));
        assert_eq!((meant("ramp").len(), meant("queue_full").len()), (0, 1));
    }
}

#[test]
fn what_begins_and_ends_is_one_alert_of_one_subject() {
    let pairs = [
        (
            Kind::Ejection,
            json!({"what": "ejected", "upstream": "u", "backend": "a"}),
            json!({"what": "returned", "upstream": "u", "backend": "a"}),
        ),
        (
            Kind::Ejection,
            json!({"what": "down", "upstream": "u", "backend": "a"}),
            json!({"what": "up", "upstream": "u", "backend": "a"}),
        ),
        (
            Kind::Ejection,
            json!({"what": "checks_doubted", "upstream": "u"}),
            json!({"what": "checks_believed", "upstream": "u"}),
        ),
        (
            Kind::Shed,
            json!({"what": "classes", "reason": "cpu", "core": 1, "classes": ["batch"]}),
            json!({"what": "classes", "reason": "cpu", "core": 1, "classes": []}),
        ),
        (
            Kind::Shed,
            json!({"what": "began", "upstream": "u", "reason": "queue_full"}),
            json!({"what": "ended", "upstream": "u", "reason": "queue_full"}),
        ),
        (
            Kind::Ramp,
            json!({"what": "drained", "upstream": "u", "backend": "a"}),
            json!({"what": "ready", "upstream": "u", "backend": "a"}),
        ),
        (
            Kind::Ramp,
            json!({"what": "set", "upstream": "u", "percent": 25.0, "by": "ops"}),
            json!({"what": "step", "upstream": "u", "percent": 100.0, "by": "ops"}),
        ),
        (
            Kind::Ramp,
            json!({"what": "set", "upstream": "u", "percent": 25.0, "by": "ops"}),
            json!({"what": "cleared", "upstream": "u", "by": "ops"}),
        ),
        (
            Kind::Ramp,
            json!({"what": "incarnation", "upstream": "u", "backend": "a", "by": "tidegate"}),
            json!({"what": "done", "upstream": "u", "backend": "a", "by": "tidegate", "percent": 100.0}),
        ),
        (
            Kind::Rollout,
            json!({"what": "begun", "version": 7}),
            json!({"what": "ended", "outcome": "good", "version": 7}),
        ),
        (
            Kind::Rollout,
            json!({"what": "glass_broken", "version": 7}),
            json!({"what": "glass_acknowledged", "version": 7}),
        ),
        (
            Kind::Limit,
            json!({"what": "limit_at_floor", "upstream": "u"}),
            json!({"what": "limit_above_floor", "upstream": "u"}),
        ),
        (
            Kind::Process,
            json!({"step": "stuck_core", "worker": 3}),
            json!({"step": "core_recovered", "worker": 3}),
        ),
        (
            Kind::Auth,
            json!({"what": "silent", "auth": "session"}),
            json!({"what": "answers", "auth": "session"}),
        ),
        (
            Kind::Auth,
            json!({"what": "keys_failed", "source": "https://k"}),
            json!({"what": "keys_fetched", "source": "https://k"}),
        ),
        (Kind::Audit, json!({"what": "unavailable"}), json!({"what": "available"})),
        (
            Kind::Certificate,
            json!({"what": "refused", "owner": "listener edge"}),
            json!({"what": "renewed", "owner": "listener edge"}),
        ),
        (
            Kind::Certificate,
            json!({"what": "expires", "owner": "listener edge", "certificate": "c"}),
            json!({"what": "renewed", "owner": "listener edge"}),
        ),
        (
            Kind::Incident,
            json!({"what": "drafted", "incident": 3}),
            json!({"what": "dismissed", "incident": 3}),
        ),
        (Kind::Incident, json!({"what": "opened", "incident": 3}), json!({"what": "closed", "incident": 3})),
        (
            Kind::Notification,
            json!({"what": "failed", "sink": "oncall"}),
            json!({"what": "recovered", "sink": "oncall"}),
        ),
        (Kind::Config, json!({"outcome": "refused", "error": "line 3"}), json!({"outcome": "applied"})),
        (Kind::Config, json!({"outcome": "degraded", "error": "gone"}), json!({"outcome": "applied"})),
    ];
    for (kind, begins, ends) in pairs {
        let begun = meant(kind, begins.clone());
        let (name, subject, _) = begun.iter().find(|(.., phase)| *phase == Phase::Begins).expect("it begins");
        let ended = meant(kind, ends.clone());
        let is_end = |(ended, of, phase): &&(&str, String, Phase)| {
            ended == name && of == subject && *phase == Phase::Ends
        };
        assert!(ended.iter().any(|end| is_end(&end)), "{begins} {ends}: {begun:?} {ended:?}");
    }
}

#[test]
fn what_went_wrong_with_a_rollout_is_more_than_its_end() {
    for (outcome, alert) in [
        ("reverted", "TidegateRolledBack"),
        ("rolled_back", "TidegateRolledBack"),
        ("aborted", "TidegateRolloutFailed"),
        ("interrupted", "TidegateRolloutFailed"),
    ] {
        let ended = meant(
            Kind::Rollout,
            json!({"what": "ended", "outcome": outcome, "version": 7, "why": "12 of 50 failed"}),
        );
        let seven = |name, phase| (name, "7".to_owned(), phase);
        assert_eq!(ended, [seven("TidegateRollout", Phase::Clears), seven(alert, Phase::Once)]);
    }
    let taken_back = meant(Kind::Rollback, json!({"from": 7, "to": 6}));
    assert_eq!(
        taken_back,
        [("TidegateRolledBack", "7".to_owned(), Phase::Once)],
        "the same of the same version"
    );
}

#[test]
fn keys_that_are_gone_page_and_keys_that_are_old_do_not() {
    let failed = |keys: u32| meant(Kind::Auth, json!({"what": "keys_failed", "source": "k", "keys": keys}));
    assert_eq!(failed(0), [("TidegateKeysMissing", "k".to_owned(), Phase::Begins)]);
    assert_eq!(failed(3), [("TidegateKeysOld", "k".to_owned(), Phase::Begins)]);
    let fetched = meant(Kind::Auth, json!({"what": "keys_fetched", "source": "k"}));
    assert_eq!(fetched.len(), 2, "whichever it was is over: {fetched:?}");
}

#[test]
fn a_draft_is_no_incident_until_somebody_opens_it() {
    let drafted = meant(Kind::Incident, json!({"what": "updated", "incident": 3, "state": "draft"}));
    assert_eq!(drafted, [("TidegateIncidentDrafted", "3".to_owned(), Phase::Goes)]);
    let published = meant(Kind::Incident, json!({"what": "published", "incident": 3, "state": "open"}));
    assert_eq!(published[0], ("TidegateIncidentDrafted", "3".to_owned(), Phase::Clears));
    assert_eq!(published[1], ("TidegateIncidentOpen", "3".to_owned(), Phase::Begins));
    let dismissed = meant(Kind::Incident, json!({"what": "dismissed", "incident": 3, "state": "closed"}));
    assert_eq!(dismissed, [("TidegateIncidentDrafted", "3".to_owned(), Phase::Ends)]);
}

#[test]
fn whoever_is_resolved_no_more_is_neither_out_nor_down() {
    let went =
        meant(Kind::Name, json!({"upstream": "u", "backend": "a", "came": [], "went": ["10.0.0.1:80"]}));
    assert!(went.contains(&("TidegateBackendDown", "u".to_owned(), Phase::Ends)), "{went:?}");
    let came =
        meant(Kind::Name, json!({"upstream": "u", "backend": "a", "came": ["10.0.0.1:80"], "went": []}));
    assert_eq!(came.len(), 1, "{came:?}");
}

#[test]
fn what_nobody_has_to_hear_is_not_told_and_nonsense_is_no_error() {
    for (kind, fields) in [
        (Kind::Process, json!({"step": "start"})),
        (Kind::Process, json!({"step": "accepting_stopped"})),
        (Kind::Ejection, json!({"what": "probing", "upstream": "u", "backend": "a"})),
        (Kind::Ramp, json!({"what": "cohort", "upstream": "u"})),
        (Kind::Config, json!({"outcome": "probed"})),
        (Kind::Gap, json!({})),
    ] {
        assert!(meant(kind, fields.clone()).is_empty(), "{fields}");
    }
    for kind in Kind::ALL {
        meant(kind, json!({}));
        meant(kind, json!({"what": 7, "upstream": [], "version": "seven", "classes": "all", "went": 3}));
    }
}
