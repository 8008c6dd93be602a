//! Fields of `[rollout]` and of `[[notify]]`.

use super::{Field, Kind, Rises, optional, preset, required, up_to};
use std::time::Duration;

/// `[rollout]`.
pub static ROLLOUT: [Field; 9] = [
    preset("required", Kind::Bool, "true", "Refuse to activate without stages.")
        .low()
        .rises(Rises::Becomes("false")),
    preset(
        "stages",
        Kind::List(&Kind::Percent(0.0, 100.0), 1),
        "[\"5%\", \"100%\"]",
        "Shares of clients that a change reaches, one after the other.",
    )
    .low()
    .rises(Rises::Leaps),
    preset("bake", up_to(86_400), "\"10s\"", "How long each stage is judged at least.")
        .low()
        .rises(Rises::Shrinks),
    preset(
        "cohort",
        Kind::Text,
        "\"client_ip\"",
        "What chooses the clients: client_ip, header:NAME or cookie:NAME.",
    )
    .medium(),
    preset("guard", Kind::Table(&GUARD), "{}", "When a change reverts by itself.").low(),
    preset(
        "approve",
        Kind::Word(&["never", "high", "medium"]),
        "\"never\"",
        "From which risk on a second person is needed.",
    )
    .low()
    .rises(Rises::Weakens(&["medium", "high", "never"])),
    optional("environment", Kind::Name, "The environment that this gateway belongs to.").high(),
    optional(
        "promote_from",
        Kind::Table(&PROMOTE_FROM),
        "The environment whose receipt a version must carry.",
    )
    .low()
    .rises(Rises::Removed),
    preset(
        "probe",
        Kind::Table(&PROBE),
        "{}",
        "What is dialled before a change, and what it is worth that nobody is there.",
    )
    .low(),
];

/// What a finding of the probe is worth.
const WEIGHT: Kind = Kind::Word(&["off", "information", "warning", "gate"]);
const WEAKER: Rises = Rises::Weakens(&["gate", "warning", "information", "off"]);

static PROBE: [Field; 4] = [
    preset("auth", WEIGHT, "\"gate\"", "An auth service of which no backend can be reached.")
        .low()
        .rises(WEAKER),
    preset("jwks", WEIGHT, "\"gate\"", "A server of keys for tokens that cannot be reached.")
        .low()
        .rises(WEAKER),
    preset("upstreams", WEIGHT, "\"gate\"", "An upstream with routes of which no backend can be reached.")
        .low()
        .rises(WEAKER),
    preset("backends", WEIGHT, "\"warning\"", "One backend that cannot be reached.").low().rises(WEAKER),
];

static GUARD: [Field; 3] = [
    preset(
        "max_error_increase",
        Kind::Percent(0.0, 100.0),
        "\"1%\"",
        "Failures more than the version beside it, at most.",
    )
    .low()
    .rises(Rises::Grows),
    preset(
        "max_latency_ratio",
        Kind::Number(1.0, 1000.0),
        "2.0",
        "Latency relative to the version beside it, at most.",
    )
    .low()
    .rises(Rises::Grows),
    preset("min_requests", Kind::Integer(1, 1_000_000), "50", "Requests before it is judged.")
        .low()
        .rises(Rises::Grows),
];

static PROMOTE_FROM: [Field; 2] = [
    required("environment", Kind::Name, "Its name.").high(),
    required("public_key", Kind::Text, "The key that its receipts are checked with.").high(),
];

/// One of `[[notify]]`.
pub static NOTIFY: Kind = Kind::Table(&NOTIFY_FIELDS);

/// What a sink may want to hear of.
const EVENTS: Kind = Kind::Word(&[
    "page",
    "incident",
    "rollout",
    "rollback",
    "ramp",
    "shed",
    "ejection",
    "auth",
    "certificate",
    "process",
    "notification",
    "audit",
    "config",
    "limit",
    "listener",
    "name",
]);

static NOTIFY_FIELDS: [Field; 11] = [
    required("name", Kind::Name, "Its name in metrics.").low(),
    preset(
        "kind",
        Kind::Word(&["webhook", "slack", "alertmanager"]),
        "\"webhook\"",
        "What the receiver understands.",
    )
    .low(),
    required("url", Kind::Text, "Where events are sent; often a secret, so better filled than written.")
        .low(),
    preset(
        "events",
        Kind::List(&EVENTS, 1),
        "[\"page\", \"incident\", \"rollout\", \"rollback\", \"ramp\", \"shed\", \"ejection\", \"auth\", \"certificate\", \"process\", \"notification\"]",
        "Which events; page is whatever pages, of any kind.",
    )
    .low(),
    optional("secret", Kind::Text, "What messages of a webhook are signed with (HMAC-SHA256); filled in.").low(),
    optional("authorization", Kind::Text, "The authorization header, such as \"Bearer ${TOKEN}\"; filled in.")
        .low(),
    preset(
        "timeout",
        Kind::Duration(Duration::from_millis(100), Duration::from_secs(60)),
        "\"5s\"",
        "For one attempt, from the dial to the end of the answer.",
    )
    .low(),
    preset(
        "group_wait",
        Kind::Duration(Duration::from_millis(100), Duration::from_secs(300)),
        "\"2s\"",
        "How long more is waited for before the first message; those that follow wait longer.",
    )
    .low(),
    optional("ca", Kind::Path, "Authorities to trust there instead of the system's.").low(),
    optional(
        "instance",
        Kind::Text,
        "As what Prometheus knows this gateway, so that its alerts and these are one; else the admin address.",
    )
    .low(),
    preset(
        "runbook",
        Kind::Text,
        "\"deploy/RUNBOOK.md\"",
        "Where your copy of the runbook is; messages link to the chapter of their alert behind it.",
    )
    .low(),
];
