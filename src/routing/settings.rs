//! A route as the plan describes it.

use crate::filters::settings::Settings as FilterSettings;
use crate::request::Class;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// One route. What it matches is beside it in the plan, as a [`super::matcher::RouteKey`].
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSettings {
    /// Its name in metrics and logs.
    pub name: Arc<str>,
    /// Where its requests go.
    pub action: Action,
    /// From the request's head to the answer's head, queue and retries included.
    pub timeout: Duration,
    /// Between two pieces of a body, in either direction.
    pub body_idle: Duration,
    /// From the request's head to the last byte, if bounded.
    pub max_duration: Option<Duration>,
    /// Its exchanges may be long and quiet: bounded as streams, outside the gate, without a least rate, and nothing of
    /// a request is waited for before it is sent.
    pub streaming: bool,
    /// When it is shed.
    pub class: Class,
    /// In flight through this route at most.
    pub max_in_flight: u32,
    /// Where the file says nothing of that: one part in so many of its upstream's cap, which may follow its addresses.
    pub part_of_cap: Option<NonZeroU32>,
    /// `%2f` in the path is let through.
    pub keep_encoded_slash: bool,
    /// Changes and limits.
    pub filters: FilterSettings,
    /// Who says whether its requests may pass: a place among the auths of the plan.
    pub auth: Option<usize>,
    /// What it, its auth or its upstream is made of is gone, and nothing is kept of it: it refuses everything.
    pub missing_secret: bool,
}

impl RouteSettings {
    /// In flight through it at most, behind an upstream whose cap is now `cap`.
    pub fn bound_of(&self, cap: u32) -> u32 {
        self.part_of_cap.map_or(self.max_in_flight, |parts| (cap / parts).max(1))
    }
}

/// What becomes of a request that matched.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Forwarded to the upstream at this place in the plan.
    Upstream(usize),
    /// A fixed answer.
    Respond {
        /// Its status.
        status: StatusCode,
        /// Its body.
        body: Bytes,
        /// Its `Content-Type`.
        content_type: HeaderValue,
    },
    /// A redirect.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: StatusCode,
        /// Replaces the scheme, if given.
        scheme: Option<String>,
        /// Replaces host and port, if given.
        host: Option<String>,
        /// Replaces the path, if given; the query is kept.
        path: Option<String>,
    },
}
