//! Fields of `[[upstreams]]`.

use std::time::Duration;

use super::{Field, Kind, Rises, optional, preset, required, ruled, up_to};

/// One of `[[upstreams]]`.
pub static UPSTREAM: Kind = Kind::Table(&FIELDS);

static FIELDS: [Field; 20] = [
    required(
        "name",
        Kind::Name,
        "Its name; permits, caps and operators' ramps belong to it across versions.",
    ).medium(),
    required("backends", Kind::List(&Kind::Table(&BACKEND), 1), "Its backends.").medium(),
    ruled(
        "max_in_flight",
        Kind::Integer(1, 1_000_000),
        "the smaller of max_in_flight_per_backend × backends (each address of a name is one) and process cap × max(25 %, 90 % ÷ upstreams)",
        "Hard cap of requests in flight; at most 90 % of the process.",
    ).medium().rises(Rises::Doubled),
    preset(
        "max_in_flight_per_backend",
        Kind::Integer(1, 1_000_000),
        "64",
        "In flight at one backend at most, connecting ones included; never more than the upstream's cap.",
    ).medium().rises(Rises::Doubled),
    preset(
        "queue",
        Kind::Table(&QUEUE),
        "{}",
        "Where requests wait for a permit while waiting will probably help.",
    ).medium(),
    ruled(
        "latency_objective",
        up_to(600),
        "the smaller of 250ms and a quarter of the shortest timeout of its routes",
        "Mean time to an answer's head that the adaptive limit aims at.",
    ).medium().rises(Rises::Doubled),
    preset(
        "adaptive_limit",
        Kind::Word(&["off", "shadow", "enforce"]),
        "\"shadow\"",
        "Whether a limit that finds itself is off, only watched, or refuses.",
    ).medium().rises(Rises::Touches("enforce")),
    preset(
        "connect_timeout",
        up_to(60),
        "\"500ms\"",
        "From the wish to connect to an established connection, TLS and the wait for a connect slot included.",
    ).medium().rises(Rises::Doubled),
    preset(
        "max_connects",
        Kind::Integer(1, 1000),
        "8",
        "Connections being established to one backend at once, at most.",
    ).medium().rises(Rises::Doubled),
    preset(
        "host",
        Kind::Text,
        "\"preserve\"",
        "What the backend sees as Host: preserve (the client's), backend (its own address), or a name.",
    ).high(),
    preset("keepalive_idle", up_to(3600), "\"60s\"", "How long an unused connection is kept.").medium(),
    preset(
        "protocol",
        Kind::Word(&["http1", "http2", "auto"]),
        "\"http1\"",
        "The protocol spoken to backends; auto asks by ALPN where there is TLS.",
    ).high(),
    optional("tls", Kind::Table(&TLS), "TLS towards backends.").high(),
    preset("max_streams", Kind::Integer(1, 1_000_000), "1000", "Tunnels and streams at one backend at most.").medium().rises(Rises::Doubled),
    optional("health", Kind::Table(&HEALTH), "Active checks of every backend, on connections of their own.").medium().rises(Rises::Removed),
    preset("ejection", Kind::Table(&EJECTION), "{}", "How failing backends are left out.").medium(),
    preset("retry", Kind::Table(&RETRY), "{}", "Sending again what no backend can have acted on twice.").medium(),
    preset(
        "on_nxdomain",
        Kind::Word(&["keep", "drop", "keep_for"]),
        "\"keep_for\"",
        "What becomes of a name's last good addresses when its name server says that there are none: keep them, drop them at once, or keep them for the time of keep_for. While it says nothing, or fails, they stay.",
    ).medium(),
    preset(
        "keep_for",
        up_to(604_800),
        "\"15m\"",
        "How long a name must be said to have no address before its last good ones are dropped.",
    ).medium(),
    preset("ramp", Kind::Table(&RAMP), "{}", "How restarted backends come back.").medium(),
];

/// One of `backends`.
static BACKEND: [Field; 3] = [
    required("name", Kind::Name, "Its name, unique within the upstream.").medium(),
    required(
        "address",
        Kind::Endpoint,
        "Its host and port, or the name of a service (_http._tcp.orders.internal) whose SRV records have both. Names are resolved in the background; each address is a backend of its own under this name.",
    ).high(),
    preset("weight", Kind::Integer(1, 10_000), "100", "Its share relative to its peers; of a name, each address's, and SRV weights share it out.").medium(),
];

/// `queue`.
static QUEUE: [Field; 2] = [
    ruled(
        "max_waiting",
        Kind::Integer(0, 1024),
        "twice max_in_flight, at most 1024",
        "Requests that may wait; 0 refuses at once.",
    )
    .medium()
    .rises(Rises::Doubled),
    ruled(
        "max_wait",
        up_to(60),
        "the smaller of 50ms and 5 % of the shortest timeout of its routes",
        "How long one may wait.",
    )
    .medium()
    .rises(Rises::Doubled),
];

/// `tls` of an upstream.
static TLS: [Field; 4] = [
    optional(
        "server_name",
        Kind::Text,
        "The name that is verified and sent; the backend's host if left out.",
    )
    .high(),
    optional("ca", Kind::Path, "Trust these authorities instead of the system's.").high(),
    optional("certificate", Kind::Path, "A client certificate; needs key.").high(),
    optional("key", Kind::Path, "The client certificate's key; needs certificate.").high(),
];

static HEALTH: [Field; 6] = [
    preset(
        "kind",
        Kind::Word(&["http", "tcp", "grpc"]),
        "\"http\"",
        "A GET answered with 200 to 399, a connection (with TLS where the upstream has it), or grpc.health.v1.",
    ).medium(),
    ruled(
        "path",
        Kind::Text,
        "/healthz for http, the whole server for grpc",
        "What a GET asks for; with grpc the name of the service.",
    ).medium(),
    preset(
        "interval",
        Kind::Duration(Duration::from_millis(100), Duration::from_secs(3600)),
        "\"2s\"",
        "Between two checks of one backend, a tenth more or less.",
    ).medium(),
    preset("timeout", up_to(600), "\"1s\"", "For one check.").medium(),
    preset("healthy", Kind::Integer(1, 100), "2", "Successes in a row that bring a backend back.").medium(),
    preset("unhealthy", Kind::Integer(1, 100), "3", "Failures in a row that take it out.").medium(),
];

static EJECTION: [Field; 4] = [
    preset("consecutive_failures", Kind::Integer(1, 1000), "5", "Failures in a row that eject a backend.")
        .medium(),
    preset("base", up_to(3600), "\"5s\"", "How long the first ejection lasts.").medium(),
    preset("max", up_to(86_400), "\"60s\"", "How long an ejection lasts at most.").medium(),
    preset("max_ejected", Kind::Percent(0.0, 100.0), "\"50%\"", "Backends that may be out at once.").medium(),
];

static RETRY: [Field; 2] = [
    preset(
        "max_retries",
        Kind::Integer(0, 5),
        "1",
        "Further backends tried for a request that was provably not sent, or is idempotent, has no body and broke off.",
    ).medium().rises(Rises::Doubled),
    preset(
        "budget",
        Kind::Percent(0.0, 100.0),
        "\"10%\"",
        "Retries relative to successes, at most, beside three a second; and relative to what is in flight.",
    ).medium().rises(Rises::Doubled),
];

static RAMP: [Field; 5] = [
    preset(
        "steps",
        Kind::List(&Kind::Percent(0.0, 100.0), 1),
        "[\"25%\", \"50%\", \"75%\", \"100%\"]",
        "Shares that a restarted backend carries, one after the other; [\"100%\"] is no ramp.",
    )
    .medium()
    .rises(Rises::Leaps),
    preset("dwell", up_to(3600), "\"5s\"", "How long each step lasts at least.")
        .medium()
        .rises(Rises::Shrinks),
    preset("guard", Kind::Bool, "true", "Hold a step while the backend fails, and go back if it fails much.")
        .medium()
        .rises(Rises::Becomes("false")),
    preset(
        "boot_header",
        Kind::HeaderName,
        "\"x-boot-id\"",
        "An answer header that changes with every start of a backend.",
    )
    .medium(),
    preset(
        "cohort",
        Kind::Text,
        "\"client_ip\"",
        "What chooses the clients that a ramped upstream serves: client_ip, header:NAME or cookie:NAME.",
    )
    .medium(),
];
