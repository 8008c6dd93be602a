//! The steps of each kind of event, in the order in which they happen.

use super::{Shape, Step};

/// What operators do to a ramp or a drain.
const LEVER: &[&str] = &["upstream", "backend", "percent", "by", "reason"];
/// What happens to a backend that comes back by itself.
const COMEBACK: &[&str] = &["upstream", "backend", "percent", "by", "cause", "reason"];
/// A backend that is judged.
const JUDGED: &[&str] = &["upstream", "backend", "reason", "seconds"];
/// A change on its way.
const CHANGE: &[&str] = &["version", "hash", "percent", "by"];
/// Glass that is broken.
const GLASS: &[&str] = &["version", "by", "reason"];
/// An incident, as it is from here on.
const INCIDENT_NOW: &[&str] = &[
    "incident",
    "title",
    "severity",
    "state",
    "upstreams",
    "public",
    "freeze",
    "by",
    "text",
    "drafted_because",
];
/// A spell of sheds.
const SPELL: &[&str] = &["upstream", "reason", "count", "total", "since", "seconds"];
/// A limit that moved.
const MOVED: &[&str] = &["upstream", "mode", "from", "to", "reason", "because", "objective_seconds"];
/// A limit at its floor, or no more.
const FLOOR: &[&str] = &["upstream", "mode", "limit", "because"];

const fn step(word: &'static str, when: &'static str, fields: &'static [&'static str]) -> Step {
    Step { word, when, fields }
}

/// Configurations.
pub static CONFIG: Shape = Shape {
    by: Some("outcome"),
    steps: &[
        step(
            "applied",
            "A configuration is active.",
            &["version", "hash", "cause", "by", "reason", "notices"],
        ),
        step("refused", "One was read and changed nothing.", &["cause", "error"]),
        step("held", "One was read and waits for the end of a freeze.", &["cause", "why"]),
        step(
            "degraded",
            "The process started on something other than what it was told to run.",
            &["error", "hash"],
        ),
        step("probed", "Somebody had a text probed.", &["by", "hash", "findings", "gates"]),
    ],
};

/// Versions that were taken back.
pub static ROLLBACK: Shape = Shape {
    by: None,
    steps: &[step(
        "",
        "A version, or a rollout, was taken back: cause is operator, guard, unconfirmed or crash_loop.",
        &["from", "to", "hash", "cause", "by", "reason", "notices"],
    )],
};

/// Changes on their way.
pub static ROLLOUT: Shape = Shape {
    by: Some("what"),
    steps: &[
        step("begun", "A change was accepted, and is on its way.", CHANGE),
        step("approved", "A second person let it begin.", CHANGE),
        step("probed", "What it names was looked for.", CHANGE),
        step("offered", "It serves its first share of the clients.", CHANGE),
        step("widened", "It serves a larger one.", CHANGE),
        step("active", "It serves everyone.", CHANGE),
        step("promoted", "Somebody sent it on without waiting for traffic.", CHANGE),
        step("confirmed", "Somebody keeps what was applied with a confirmation.", CHANGE),
        step(
            "ended",
            "Its end: outcome is good, active, reverted, aborted, rolled_back, superseded, refused or interrupted.",
            &["outcome", "version", "hash", "why"],
        ),
        step("glass_broken", "Somebody went around the stages.", GLASS),
        step("glass_acknowledged", "Somebody has seen that.", GLASS),
    ],
};

/// Requests that were refused for want of room, by upstream and reason; and cores that refuse classes.
pub static SHED: Shape = Shape {
    by: Some("what"),
    steps: &[
        step(
            "began",
            "An upstream refuses requests, or holds them against a client, for this reason.",
            SPELL,
        ),
        step(
            "lasts",
            "It goes on: count is since it was last told, 30 seconds ago; total since it began.",
            SPELL,
        ),
        step("ended", "There was none for ten seconds, or the upstream is gone: how many there were.", SPELL),
        step(
            "classes",
            "A core refuses other classes than before, for reason cpu.",
            &["reason", "core", "classes", "late_ms"],
        ),
    ],
};

/// Ramps and drains: first what operators do, then what happens to backends that restart.
pub static RAMP: Shape = Shape {
    by: Some("what"),
    steps: &[
        step("set", "A ramp was set.", LEVER),
        step("cleared", "It was ended.", LEVER),
        step("paused", "Its clock was stopped.", LEVER),
        step("resumed", "Its clock goes on.", LEVER),
        step("step", "It went a step on: an operator's, or a guarded one.", COMEBACK),
        step("drained", "A backend gets nothing new.", LEVER),
        step("ready", "It gets work again.", LEVER),
        step("conflict", "A new version means something else under one; the message says what.", &[]),
        step("incarnation", "A backend restarted.", COMEBACK),
        step("hold", "It does not go up yet.", COMEBACK),
        step("back_off", "It went back, because too much failed.", COMEBACK),
        step("alert", "It fails again and again, and is tried once a minute.", COMEBACK),
        step("done", "It is back.", COMEBACK),
        step("fleet_ramp", "Half of a fleet or more comes back together.", COMEBACK),
        step("withdrawn", "What was taken for a restart was none.", COMEBACK),
        step("shared", "Several servers are behind one address, so its boot ids tell nothing.", COMEBACK),
        step(
            "cohort",
            "A ramped upstream chooses otherwise whom it serves.",
            &["upstream", "manner", "percent", "clients"],
        ),
    ],
};

/// What checks and outcomes decide about backends.
pub static EJECTION: Shape = Shape {
    by: Some("what"),
    steps: &[
        step("ejected", "Its answers fail; it is out for so many seconds.", JUDGED),
        step("probing", "It is tried with one request at a time.", JUDGED),
        step("returned", "It is back.", JUDGED),
        step("down", "Its checks fail.", JUDGED),
        step("up", "Its checks pass again.", JUDGED),
        step(
            "checks_doubted",
            "Every backend of an upstream fails its checks, so requests decide.",
            &["upstream"],
        ),
        step("checks_believed", "The checks are believed again.", &["upstream"]),
    ],
};

/// Limits that find themselves; one of each in ten seconds at most.
pub static LIMIT: Shape = Shape {
    by: Some("what"),
    steps: &[
        step("moved", "The limit moved by much: reason is failing, slow, futile, wanted or bounds.", MOVED),
        step(
            "objective_raised",
            "Fewer in flight did not make answers faster, so more time is aimed at.",
            MOVED,
        ),
        step("limit_at_floor", "It has been as low as it goes for ten seconds, in somebody's way.", FLOOR),
        step("limit_above_floor", "It is no more.", FLOOR),
    ],
};

/// Names of backends.
pub static NAME: Shape = Shape {
    by: Some("what"),
    steps: &[step(
        "addresses",
        "A name has other addresses; reason is what the name server said where they went for good.",
        &["upstream", "backend", "name", "came", "went", "reason"],
    )],
};

/// Who judges requests.
pub static AUTH: Shape = Shape {
    by: Some("what"),
    steps: &[
        step(
            "silent",
            "A service answered nothing within its timeout, several times.",
            &["auth", "upstream", "timeout_ms"],
        ),
        step("answers", "It answers again.", &["auth", "upstream"]),
        step("keys_failed", "Keys for tokens cannot be fetched.", &["source", "error", "keys"]),
        step("keys_fetched", "They are fetched again.", &["source"]),
    ],
};

/// Certificates and their files.
pub static CERTIFICATE: Shape = Shape {
    by: Some("what"),
    steps: &[
        step("renewed", "Changed files are in use.", &["owner", "not_after"]),
        step("refused", "Changed files cannot be used; the last good ones stay.", &["owner", "error"]),
        step(
            "expires",
            "One in use ends within 14 days; told once a day.",
            &["owner", "certificate", "not_after"],
        ),
        step("expired", "One in use has ended.", &["owner", "certificate", "not_after"]),
    ],
};

/// Where clients come in.
pub static LISTENER: Shape = Shape {
    by: Some("what"),
    steps: &[
        step("opened", "Clients can connect here.", &["listener", "address"]),
        step("closed", "Nobody can any more; connections finish.", &["listener", "address"]),
        step(
            "accept_failed",
            "The system had no descriptor or memory; accepting pauses.",
            &["listener", "error", "pause_ms"],
        ),
    ],
};

/// The process.
pub static PROCESS: Shape = Shape {
    by: Some("step"),
    steps: &[
        step("start", "It begins.", &["program", "process_id"]),
        step("ready", "Clients are served.", &["admin", "listeners"]),
        step("draining", "It is told to leave, and still accepts.", &["delay_s"]),
        step("accepting_stopped", "It accepts no more.", &["timeout_s"]),
        step("drained", "Every request ended.", &[]),
        step("drain_timeout", "Time is up; what is in flight is cut.", &["in_flight"]),
        step("stuck_core", "A core does not turn.", &["worker"]),
        step("core_recovered", "It turns again.", &["worker"]),
    ],
};

/// Who did what.
pub static AUDIT: Shape = Shape {
    by: Some("what"),
    steps: &[
        step(
            "",
            "A row of the audit: outcome is done, refused or failed.",
            &[
                "recorded", "seq", "hash", "late", "actor", "address", "action", "target", "version",
                "reason", "outcome", "why", "times",
            ],
        ),
        step("unavailable", "Nothing can be recorded; rows wait in memory.", &["error"]),
        step("available", "It can again.", &["error"]),
    ],
};

/// What people say is wrong, or what the gateway drafted for them to read.
pub static INCIDENT: Shape = Shape {
    by: Some("what"),
    steps: &[
        step("drafted", "The gateway wrote one that nobody has read yet.", INCIDENT_NOW),
        step("opened", "A person opened one.", INCIDENT_NOW),
        step("published", "A person opened a draft.", INCIDENT_NOW),
        step("updated", "Something was said of it, or changed in it.", INCIDENT_NOW),
        step("frozen", "It holds risky changes from here on.", INCIDENT_NOW),
        step("thawed", "It holds them no more.", INCIDENT_NOW),
        step("closed", "It is over.", INCIDENT_NOW),
        step("dismissed", "A person dropped a draft: it never was an incident.", INCIDENT_NOW),
    ],
};

/// Sinks of `[[notify]]`.
pub static NOTIFICATION: Shape = Shape {
    by: Some("what"),
    steps: &[
        step(
            "failed",
            "A sink was not told: it is tried again, or the message is lost.",
            &["sink", "host", "why", "given_up"],
        ),
        step("recovered", "It is told again.", &["sink", "host"]),
        step(
            "dropped",
            "It was taken out of the configuration while so many events waited for it; they are not told.",
            &["sink", "host", "lost"],
        ),
        step("test", "Somebody tries it; told to that sink alone.", &["sink", "by"]),
        step("lost", "Events came faster than they could be looked at.", &["lost"]),
    ],
};

/// Events that are missing from a stream.
pub static GAP: Shape = Shape {
    by: None,
    steps: &[step(
        "",
        "Some were lost on their way (lost), or are no longer kept (after, until).",
        &["lost", "after", "until"],
    )],
};
