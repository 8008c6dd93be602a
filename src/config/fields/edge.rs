//! Fields of the process, the operators' door, listeners and the access log.

use super::{Field, Kind, Rises, optional, preset, required, ruled, up_to};
use std::time::Duration;

/// `[gateway]`.
pub static GATEWAY: [Field; 8] = [
    preset(
        "workers",
        Kind::Workers,
        "\"auto\"",
        "Cores of the data plane; auto is every core the process may use.",
    ).high(),
    preset("max_in_flight", Kind::Integer(1, 1_000_000), "8192", "Requests in the process at most.").medium().rises(Rises::Doubled),
    preset(
        "max_in_flight_streams",
        Kind::Integer(1, 1_000_000),
        "8192",
        "Tunnels and streams in the process at most.",
    ).medium().rises(Rises::Doubled),
    ruled(
        "max_buffered",
        Kind::Size(1 << 20, 1 << 40),
        "a quarter of the memory that the process may use",
        "Bytes buffered in the process at most: beginnings of bodies, answers read ahead, what clients have not taken.",
    ).medium().rises(Rises::Doubled),
    preset(
        "drain_timeout",
        up_to(3600),
        "\"30s\"",
        "From the end of accepting to the end of the process, at most.",
    ).medium(),
    preset(
        "drain_delay",
        Kind::Duration(Duration::ZERO, Duration::from_secs(600)),
        "\"5s\"",
        "How long a draining process keeps accepting, so that balancers in front notice first.",
    ).medium(),
    preset(
        "trusted_proxies",
        Kind::List(&Kind::Network, 0),
        "[]",
        "Whose X-Forwarded-For and Forwarded headers are believed; nobody's by default.",
    ).high(),
    preset(
        "resolver",
        Kind::List(&Kind::Socket, 0),
        "[]",
        "Name servers that backends' names are asked of, whole names only; by default those of resolv.conf, with its search domains.",
    ).high(),
];

/// `[admin]`.
pub static ADMIN: [Field; 5] = [
    preset("address", Kind::Socket, "\"127.0.0.1:9900\"", "Where the admin server listens.").high(),
    preset(
        "state_dir",
        Kind::Path,
        "\"/var/lib/tidegate\"",
        "The last good version, ramps, drains, references, limits and fetched keys; --state-dir and TIDEGATE_STATE_DIR win over it.",
    ).high(),
    preset("socket", Kind::Bool, "true", "Also listen on state_dir/admin.sock, for its owner and root only.").high(),
    preset(
        "tokens",
        Kind::List(&Kind::Table(&TOKEN), 0),
        "[]",
        "Who may talk to the admin server; none is allowed on loopback only.",
    ).high(),
    optional(
        "metrics_token",
        Kind::Hash,
        "Hash of the token that /metrics asks for; made by `tidegate hash-token`.",
    ).high(),
];

/// One of `[admin] tokens`.
static TOKEN: [Field; 3] = [
    required("name", Kind::Name, "Its name: the author of what it changes.").high(),
    required(
        "role",
        Kind::Word(&["viewer", "operator", "admin"]),
        "What it may do; each role includes those before it.",
    )
    .high(),
    required(
        "hash",
        Kind::Hash,
        "Hash of the token, made by `tidegate hash-token`; the token itself is never stored.",
    )
    .high(),
];

/// One of `[[listeners]]`.
pub static LISTENER: Kind = Kind::Table(&LISTENER_FIELDS);

static LISTENER_FIELDS: [Field; 14] = [
    required("name", Kind::Name, "Its name in metrics and logs.").high(),
    required("address", Kind::Socket, "Where it listens; port 0 lets the system choose.").high(),
    optional("tls", Kind::Table(&TLS), "Certificates, if clients speak TLS here.").high(),
    preset(
        "max_connections",
        Kind::Integer(1, 1_000_000),
        "10000",
        "Open connections at most; clamped to the descriptor limit at start.",
    )
    .high(),
    ruled(
        "max_connections_per_source",
        Kind::Integer(1, 1_000_000),
        "max_connections: a balancer or a NAT in front is one source",
        "Open connections of one source address at most; set it where clients connect directly.",
    )
    .high(),
    preset("max_handshakes", Kind::Integer(1, 100_000), "512", "Handshakes in progress at most.").high(),
    preset("handshake_timeout", up_to(300), "\"10s\"", "From accept to the end of the TLS handshake.").high(),
    preset("header_timeout", up_to(300), "\"10s\"", "From the first byte of a request's head to its last.")
        .high(),
    preset("idle_timeout", up_to(3600), "\"75s\"", "Between the requests of a connection.").high(),
    preset("redirect_https", Kind::Bool, "false", "Answer every request with a redirect to https.").high(),
    preset(
        "max_head_bytes",
        Kind::Size(4096, 1 << 20),
        "\"32KiB\"",
        "Bytes of request line and headers at most.",
    )
    .high(),
    preset("max_headers", Kind::Integer(8, 1000), "100", "Header lines at most.").high(),
    preset("max_uri_bytes", Kind::Size(256, 64 << 10), "\"8KiB\"", "Bytes of the request target at most.")
        .high(),
    preset(
        "max_h2_streams",
        Kind::Integer(1, 10_000),
        "100",
        "Concurrent HTTP/2 streams of one connection at most.",
    )
    .high(),
];

/// `tls` of a listener.
static TLS: [Field; 2] = [
    required(
        "certificates",
        Kind::List(&Kind::Table(&CERTIFICATE), 1),
        "Chosen by server name; the first is the default.",
    )
    .high(),
    optional(
        "client_ca",
        Kind::Path,
        "Clients must show a certificate that one of these authorities signed.",
    )
    .high(),
];

/// One of `tls.certificates`.
static CERTIFICATE: [Field; 2] = [
    required("certificate", Kind::Path, "The chain in PEM, leaf first.").high(),
    required("key", Kind::Path, "Its private key in PEM.").high(),
];

/// `[access_log]`.
pub static ACCESS_LOG: [Field; 5] = [
    preset("target", Kind::Text, "\"stdout\"", "Where lines go: stdout, off, or a file.").low(),
    preset("format", Kind::Word(&["json"]), "\"json\"", "What a line looks like.").low(),
    preset(
        "redact_query",
        Kind::List(&Kind::Text, 0),
        "[\"access_token\", \"api_key\", \"apikey\", \"code\", \"id_token\", \"key\", \"password\", \"secret\", \"sig\", \"signature\", \"token\"]",
        "Query keys whose values are left out of the path in a line.",
    ).low().rises(Rises::Loses),
    preset("headers", Kind::List(&Kind::HeaderName, 0), "[]", "Request headers that are logged.").low(),
    preset(
        "redact_headers",
        Kind::List(&Kind::HeaderName, 0),
        "[\"authorization\", \"cookie\", \"proxy-authorization\", \"x-api-key\"]",
        "Request headers that `headers` may not name.",
    ).low().rises(Rises::Loses),
];
