//! Fields of `[[auth]]`.

use super::{Field, Kind, optional, preset, required, ruled, up_to};

/// One of `[[auth]]`.
pub static AUTH: Kind = Kind::Table(&FIELDS);

static FIELDS: [Field; 12] = [
    required("name", Kind::Name, "Its name, for routes, logs and metrics.").high(),
    preset("kind", Kind::Word(&["external", "jwt", "api_key"]), "\"external\"", "How requests are judged.")
        .high(),
    optional("upstream", Kind::Text, "The upstream that judges, with its own gate and queue.").high(),
    optional("path", Kind::Text, "What is asked for there, with GET.").high(),
    preset("timeout", up_to(60), "\"200ms\"", "For a decision, every wait included.").high(),
    preset(
        "on_error",
        Kind::Word(&["deny", "allow", "stale"]),
        "\"deny\"",
        "What happens without a decision: refuse, pass unverified, or pass by the last decision if it is not too old.",
    )
    .high(),
    optional("cache", Kind::Table(&CACHE), "Decisions that are kept; none are if it is left out.").high(),
    preset(
        "headers",
        Kind::List(&Kind::HeaderName, 0),
        "[\"authorization\", \"cookie\", \"x-api-key\"]",
        "The client's headers that the service is told, beside x-forwarded-*.",
    )
    .high(),
    preset(
        "copy_headers",
        Kind::List(&Kind::HeaderName, 0),
        "[]",
        "Headers of its answer that the backend is told; taken out of every client's requests, on every route.",
    )
    .high(),
    preset(
        "refusal_headers",
        Kind::List(&Kind::HeaderName, 0),
        "[\"www-authenticate\"]",
        "Headers of its 401 or 403 that the client is told.",
    )
    .high(),
    optional("subject_header", Kind::HeaderName, "The header of its answer that names who the client is.").high(),
    ruled(
        "max_in_flight",
        Kind::Integer(1, 1_000_000),
        "half of the upstream's when routes or other auths share it, else the upstream's",
        "Questions in flight at most.",
    )
    .high(),
];

static CACHE: [Field; 5] = [
    preset("ttl", up_to(86_400), "\"30s\"", "How long a decision that lets pass is fresh.").high(),
    ruled(
        "refused_ttl",
        up_to(86_400),
        "the smaller of ttl and 5s",
        "How long a decision that refuses is fresh.",
    )
    .high(),
    preset("stale", up_to(86_400), "\"5m\"", "How long after that one that lets pass may stand in, if on_error is stale.")
        .high(),
    preset(
        "max_entries",
        Kind::Integer(1, 10_000_000),
        "100000",
        "Decisions that let pass kept at most, over all cores; refusals have a table of their own, a sixteenth of it.",
    )
    .high(),
    ruled(
        "key",
        Kind::List(&Kind::Text, 1),
        "route, method, host, uri, client_ip, and every header that the service is told",
        "What tells requests apart: route, method, host, path, uri, client_ip, header:NAME.",
    )
    .high(),
];
