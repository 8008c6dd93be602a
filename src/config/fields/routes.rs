//! Fields of `[[routes]]`.

use super::{Field, Kind, Rises, optional, preset, required, ruled, up_to};

/// One of `[[routes]]`.
pub static ROUTE: Kind = Kind::Table(&FIELDS);

static FIELDS: [Field; 23] = [
    required("name", Kind::Name, "Its name in metrics and logs.").medium(),
    optional(
        "hosts",
        Kind::List(&Kind::Text, 1),
        "Hosts it answers for, exact or *.suffix; every host if left out.",
    )
    .high(),
    optional("path_prefix", Kind::Text, "Whole leading segments of the path; / if no path key is given.")
        .high(),
    optional("path", Kind::Text, "The exact path.").high(),
    optional("path_pattern", Kind::Text, "A path with parameters such as /users/{id}.").high(),
    optional("methods", Kind::List(&Kind::Method, 1), "Methods it answers for; every method if left out.")
        .high(),
    optional("headers", Kind::Headers, "Headers that a request must carry, with this value; * is any value.")
        .high(),
    optional(
        "listeners",
        Kind::List(&Kind::Text, 1),
        "Listeners whose clients it serves, by name; every listener if left out.",
    )
    .high(),
    optional("upstream", Kind::Text, "The upstream that requests go to.").high(),
    optional("respond", Kind::Table(&RESPOND), "A fixed answer instead of an upstream.").high(),
    optional("redirect", Kind::Table(&REDIRECT), "A redirect instead of an upstream.").high(),
    preset(
        "timeout",
        up_to(3600),
        "\"10s\"",
        "From the request's head to the answer's head, queue and retries included.",
    )
    .medium()
    .rises(Rises::Doubled),
    preset("body_idle", up_to(3600), "\"60s\"", "Between two pieces of a body, in either direction.")
        .medium()
        .rises(Rises::Doubled),
    optional(
        "max_duration",
        up_to(604_800),
        "From the request's head to the last byte; unbounded if left out, body_idle still binds.",
    )
    .medium()
    .rises(Rises::Doubled),
    preset("streaming", Kind::Bool, "false", "Long answers, bounded by max_streams instead of the gate.")
        .high(),
    preset(
        "class",
        Kind::Word(&["critical", "default", "sheddable", "batch"]),
        "\"default\"",
        "The order in which requests are shed, last first.",
    )
    .medium(),
    optional("auth", Kind::Text, "The [[auth]] that requests must pass.").high(),
    ruled(
        "max_in_flight",
        Kind::Integer(1, 1_000_000),
        "half of the upstream's when two or more routes share it, else the upstream's",
        "In flight through this route at most.",
    )
    .medium()
    .rises(Rises::Doubled),
    preset(
        "max_body",
        Kind::Size(0, 1 << 40),
        "\"10MiB\"",
        "Bytes of a request body at most, declared or streamed.",
    )
    .medium()
    .rises(Rises::Doubled),
    preset("strip_prefix", Kind::Bool, "false", "Take path_prefix off before the request is forwarded.")
        .high(),
    preset(
        "encoded_slash",
        Kind::Word(&["reject", "keep"]),
        "\"reject\"",
        "What happens to %2f in the path.",
    )
    .high(),
    preset("request_headers", Kind::Table(&EDITS), "{}", "Changes to the request's headers.").medium(),
    preset("response_headers", Kind::Table(&EDITS), "{}", "Changes to the answer's headers.").medium(),
];

static EDITS: [Field; 2] = [
    optional("set", Kind::Headers, "Set, replacing what is there, after removal.").medium(),
    preset("remove", Kind::List(&Kind::HeaderName, 0), "[]", "Removed, before anything is set.").medium(),
];

static RESPOND: [Field; 3] = [
    preset("status", Kind::Integer(200, 599), "200", "The answer's status.").medium(),
    preset("body", Kind::Text, "\"\"", "The answer's body.").medium(),
    preset("content_type", Kind::Text, "\"text/plain; charset=utf-8\"", "The answer's Content-Type.")
        .medium(),
];

static REDIRECT: [Field; 4] = [
    preset("status", Kind::Integer(301, 308), "308", "301, 302, 303, 307 or 308.").medium(),
    optional("scheme", Kind::Word(&["http", "https"]), "Replaces the scheme.").medium(),
    optional("host", Kind::Text, "Replaces host and port.").medium(),
    optional("path", Kind::Text, "Replaces the path; the query is kept.").medium(),
];
