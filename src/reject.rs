//! Every way in which the gateway refuses or fails a request: whose fault, which status, which reason, and
//! whether trying again helps. One place turns it into an answer (`design.md`, "Answers that the gateway
//! makes itself"): problem+json (RFC 9457) with `Proxy-Status` (RFC 9209), or gRPC status in HTTP 200.

mod answer;
mod reference;

pub use answer::REASON;

use http::{HeaderName, HeaderValue, StatusCode};
use std::borrow::Cow;
use std::sync::Arc;

/// Why; its text is what `x-tidegate-reason`, the access log and the metrics say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is a word of the contract: design.md says when it is given")]
pub enum Reason {
    // 503: no room.
    ProcessLimit,
    UpstreamLimit,
    BackendLimit,
    RouteLimit,
    ClassLimit,
    QueueFull,
    QueueTimeout,
    Ramp,
    NoBackend,
    AuthOverload,
    Draining,
    Cpu,
    Memory,
    MissingSecret,
    // 503, and not for want of room.
    AuthFailed,
    // 504: a deadline passed.
    Timeout,
    AuthTimeout,
    // 502: the backend broke.
    ConnectFailed,
    Reset,
    BadResponse,
    // 4xx: the request is at fault.
    BadRequest,
    BodyTooLarge,
    UriTooLong,
    HeadersTooLarge,
    RequestTimeout,
    NotFound,
    MethodNotAllowed,
    Misdirected,
    ConnectRefused,
    // Policy.
    Unauthenticated,
    Forbidden,
    RateLimited,
    ClientAborts,
    // Ended in the middle: no status can be sent any more, but the log and the metrics say why.
    ClientTooSlow,
    BackendTooSlow,
    ClientGone,
    // Our own fault.
    Internal,
}

impl Reason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Reason; 37] = [
        Reason::ProcessLimit,
        Reason::UpstreamLimit,
        Reason::BackendLimit,
        Reason::RouteLimit,
        Reason::ClassLimit,
        Reason::QueueFull,
        Reason::QueueTimeout,
        Reason::Ramp,
        Reason::NoBackend,
        Reason::AuthOverload,
        Reason::Draining,
        Reason::Cpu,
        Reason::Memory,
        Reason::MissingSecret,
        Reason::AuthFailed,
        Reason::Timeout,
        Reason::AuthTimeout,
        Reason::ConnectFailed,
        Reason::Reset,
        Reason::BadResponse,
        Reason::BadRequest,
        Reason::BodyTooLarge,
        Reason::UriTooLong,
        Reason::HeadersTooLarge,
        Reason::RequestTimeout,
        Reason::NotFound,
        Reason::MethodNotAllowed,
        Reason::Misdirected,
        Reason::ConnectRefused,
        Reason::Unauthenticated,
        Reason::Forbidden,
        Reason::RateLimited,
        Reason::ClientAborts,
        Reason::ClientTooSlow,
        Reason::BackendTooSlow,
        Reason::ClientGone,
        Reason::Internal,
    ];

    /// The word in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::ProcessLimit => "process_limit",
            Reason::UpstreamLimit => "upstream_limit",
            Reason::BackendLimit => "backend_limit",
            Reason::RouteLimit => "route_limit",
            Reason::ClassLimit => "class_limit",
            Reason::QueueFull => "queue_full",
            Reason::QueueTimeout => "queue_timeout",
            Reason::Ramp => "ramp",
            Reason::NoBackend => "no_backend",
            Reason::AuthOverload => "auth_overload",
            Reason::Draining => "draining",
            Reason::Cpu => "cpu",
            Reason::Memory => "memory",
            Reason::MissingSecret => "missing_secret",
            Reason::AuthFailed => "auth_failed",
            Reason::Timeout => "timeout",
            Reason::AuthTimeout => "auth_timeout",
            Reason::ConnectFailed => "connect_failed",
            Reason::Reset => "reset",
            Reason::BadResponse => "bad_response",
            Reason::BadRequest => "bad_request",
            Reason::BodyTooLarge => "body_too_large",
            Reason::UriTooLong => "uri_too_long",
            Reason::HeadersTooLarge => "headers_too_large",
            Reason::RequestTimeout => "request_timeout",
            Reason::NotFound => "not_found",
            Reason::MethodNotAllowed => "method_not_allowed",
            Reason::Misdirected => "misdirected",
            Reason::ConnectRefused => "connect_refused",
            Reason::Unauthenticated => "unauthenticated",
            Reason::Forbidden => "forbidden",
            Reason::RateLimited => "rate_limited",
            Reason::ClientAborts => "client_aborts",
            Reason::ClientTooSlow => "client_too_slow",
            Reason::BackendTooSlow => "backend_too_slow",
            Reason::ClientGone => "client_gone",
            Reason::Internal => "internal",
        }
    }

    /// The HTTP status that goes with it.
    pub const fn status(self) -> StatusCode {
        match self {
            Reason::ProcessLimit
            | Reason::UpstreamLimit
            | Reason::BackendLimit
            | Reason::RouteLimit
            | Reason::ClassLimit
            | Reason::QueueFull
            | Reason::QueueTimeout
            | Reason::Ramp
            | Reason::NoBackend
            | Reason::AuthOverload
            | Reason::Draining
            | Reason::Cpu
            | Reason::Memory
            | Reason::MissingSecret
            | Reason::AuthFailed => StatusCode::SERVICE_UNAVAILABLE,
            Reason::Timeout | Reason::AuthTimeout | Reason::BackendTooSlow => StatusCode::GATEWAY_TIMEOUT,
            Reason::ConnectFailed | Reason::Reset | Reason::BadResponse => StatusCode::BAD_GATEWAY,
            Reason::BadRequest => StatusCode::BAD_REQUEST,
            Reason::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::UriTooLong => StatusCode::URI_TOO_LONG,
            Reason::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Reason::RequestTimeout | Reason::ClientTooSlow | Reason::ClientGone => {
                StatusCode::REQUEST_TIMEOUT
            }
            Reason::NotFound => StatusCode::NOT_FOUND,
            Reason::MethodNotAllowed | Reason::ConnectRefused => StatusCode::METHOD_NOT_ALLOWED,
            Reason::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Reason::Unauthenticated => StatusCode::UNAUTHORIZED,
            Reason::Forbidden => StatusCode::FORBIDDEN,
            Reason::RateLimited | Reason::ClientAborts => StatusCode::TOO_MANY_REQUESTS,
            Reason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// True for refusals for want of room: these cost the upstream nothing, carry `Retry-After`, and count
    /// as sheds.
    pub const fn is_shed(self) -> bool {
        (self as u8) <= (Reason::MissingSecret as u8)
    }
}

/// A refusal or failure on its way to the client.
#[derive(Clone, Debug)]
pub struct Reject {
    /// Why.
    pub reason: Reason,
    /// One sentence for the person who reads the answer; never a secret, never another client's data.
    pub detail: Cow<'static, str>,
    /// Seconds for `Retry-After`, if trying again helps.
    pub retry_after: Option<u8>,
    /// The value of `Allow` for a 405.
    pub allow: Option<HeaderValue>,
    /// The connection cannot be used any further (its framing is in doubt).
    pub close: bool,
    /// What whoever judged the request adds to the answer, such as `WWW-Authenticate`.
    pub headers: Option<Arc<[(HeaderName, HeaderValue)]>>,
}

impl Reject {
    /// A refusal with a sentence for the client.
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Reject { reason, detail: detail.into(), retry_after: None, allow: None, close: false, headers: None }
    }

    /// The same, and the connection closes after the answer.
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }
}
