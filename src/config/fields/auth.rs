//! Fields of `[[auth]]`.

use super::{Field, Kind, Rises, optional, preset, required, ruled, up_to};
use std::time::Duration;

/// One of `[[auth]]`.
pub static AUTH: Kind = Kind::Table(&FIELDS);

static FIELDS: [Field; 30] = [
    required("name", Kind::Name, "Its name, for routes, logs and metrics.").high(),
    preset("kind", Kind::Word(&["external", "jwt", "api_key"]), "\"external\"", "How requests are judged.").high(),
    optional("upstream", Kind::Text, "The upstream that judges, with its own gate and queue; or has the keys for tokens.").high(),
    optional("path", Kind::Text, "What is asked for there, with GET.").high(),
    preset("timeout", up_to(60), "\"200ms\"", "For a decision, every wait included.").high(),
    preset(
        "on_error",
        Kind::Word(&["deny", "allow", "stale"]),
        "\"deny\"",
        "What happens without a decision: refuse, pass unverified, or pass by the last decision if it is not too old.",
    ).high(),
    optional("cache", Kind::Table(&CACHE), "Decisions that are kept; none are if it is left out.").high(),
    preset(
        "headers",
        Kind::List(&Kind::HeaderName, 0),
        "[\"authorization\", \"cookie\", \"x-api-key\"]",
        "The client's headers that the service is told, beside x-forwarded-*.",
    ).high(),
    preset(
        "copy_headers",
        Kind::List(&Kind::HeaderName, 0),
        "[]",
        "Headers of its answer that the backend is told; taken out of every client's requests, on every route.",
    ).high(),
    preset(
        "refusal_headers",
        Kind::List(&Kind::HeaderName, 0),
        "[\"www-authenticate\"]",
        "Headers of its 401 or 403 that the client is told.",
    ).high(),
    optional("subject_header", Kind::HeaderName, "The header of its answer that names who the client is.").high(),
    ruled(
        "max_in_flight",
        Kind::Integer(1, 1_000_000),
        "half of the upstream's when routes or other auths share it, else the upstream's",
        "Questions in flight at most.",
    ).high(),
    ruled(
        "header",
        Kind::HeaderName,
        "authorization for tokens, x-api-key for keys",
        "Where a token or key is shown; after Bearer in authorization, whole in others.",
    ).high(),
    optional("jwks_url", Kind::Text, "Where the keys that tokens are checked with are fetched, as a key set.").high(),
    optional("jwks_file", Kind::Path, "A key set in a file, looked at every 10s.").high(),
    optional("secret", Kind::Text, "What is shared with whoever signs; at least 32 bytes, and filled in.").high(),
    optional("ca", Kind::Path, "The authorities that jwks_url is trusted by, instead of the system's.").high(),
    preset("refresh", up_to(86_400), "\"5m\"", "Between fetches of keys at most; half of max-age if that is less.").high(),
    preset("fetch_timeout", up_to(60), "\"5s\"", "For one fetch of keys; no request waits for it longer than timeout.").high(),
    ruled(
        "algorithms",
        Kind::List(&Kind::Word(&ALGORITHMS), 1),
        "RS256, ES256 and EdDSA; HS256 with a secret",
        "How tokens may be signed.",
    ).high(),
    preset("issuers", Kind::List(&Kind::Text, 0), "[]", "Who may issue tokens: one of these as iss.").high(),
    preset("audiences", Kind::List(&Kind::Text, 0), "[]", "For whom tokens must be: one of these in aud.").high(),
    preset("any_audience", Kind::Bool, "false", "Tokens for anybody may pass.").high(),
    preset(
        "leeway",
        Kind::Duration(Duration::ZERO, Duration::from_secs(300)),
        "\"30s\"",
        "How far the clocks of issuers may be apart from ours.",
    ).high(),
    preset("max_token", Kind::Size(256, 64 << 10), "\"8KiB\"", "Bytes of a token at most.").high(),
    preset("subject", Kind::Text, "\"sub\"", "The claim that names who the client is, for logs.").high(),
    preset("require_scopes", Kind::List(&Kind::Text, 0), "[]", "Scopes without which a token gets 403.").high(),
    optional("keys", Kind::List(&Kind::Table(&KEY), 1), "Keys that may pass.").high(),
    optional(
        "forward",
        Kind::Headers,
        "Headers that the backend is told, with the claim that fills each; taken out of every client's requests.",
    ).high(),
    preset(
        "classes",
        Kind::List(&Kind::Table(&CLASS), 0),
        "[]",
        "Requests that stand in another class than their route; the first that matches, and never a higher one.",
    ).medium(),
];

/// Signatures that can be verified.
static ALGORITHMS: [&str; 12] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256", "HS384",
    "HS512",
];

static KEY: [Field; 2] = [
    required("name", Kind::Text, "Whose it is: the subject of its requests.").high(),
    required("hash", Kind::Hash, "Its hash, made by `tidegate hash-token`; the key itself is never stored.")
        .high(),
];

static CLASS: [Field; 3] = [
    required("claim", Kind::Text, "The claim that is looked at; of a key there is only name.").medium(),
    required("value", Kind::Text, "What it says, or holds if it is a list.").medium(),
    required(
        "class",
        Kind::Word(&["critical", "default", "sheddable", "batch"]),
        "The class of such requests, unless their route's is shed earlier.",
    )
    .medium(),
];

static CACHE: [Field; 5] = [
    preset("ttl", up_to(86_400), "\"30s\"", "How long a decision that lets pass is fresh.").high(),
    ruled(
        "refused_ttl",
        up_to(86_400),
        "the smaller of ttl and 5s",
        "How long a decision that refuses is fresh.",
    ).high(),
    preset("stale", up_to(86_400), "\"5m\"", "How long after that one that lets pass may stand in, if on_error is stale.").high(),
    preset(
        "max_entries",
        Kind::Integer(1, 10_000_000),
        "100000",
        "Decisions that let pass kept at most, over all cores; refusals have a table of their own, a sixteenth of it.",
    ).medium().rises(Rises::Doubled),
    ruled(
        "key",
        Kind::List(&Kind::Text, 1),
        "route, method, host, uri, client_ip, and every header that the service is told",
        "What tells requests apart: route, method, host, path, uri, client_ip, header:NAME.",
    ).high(),
];
