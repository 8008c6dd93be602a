//! What a route changes in requests and answers, and how much a request may carry.

pub use crate::filters::edits::HeaderEdits;

/// Filters of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of a request body at most, declared or streamed.
    pub max_body: u64,
    /// The literal prefix taken off the path before the request is forwarded.
    pub strip_prefix: Option<String>,
    /// Changes to the request's headers.
    pub request_headers: HeaderEdits,
    /// Changes to the answer's headers.
    pub response_headers: HeaderEdits,
}
