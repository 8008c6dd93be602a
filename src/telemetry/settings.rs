//! Where access lines go and what is kept out of them.

use http::HeaderName;
use std::path::PathBuf;

/// The `[access_log]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// Where lines go.
    pub target: AccessLogTarget,
    /// Query keys whose values are replaced by `…`.
    pub redact_query: Vec<String>,
    /// Request headers that are logged.
    pub headers: Vec<HeaderName>,
}

/// Where access lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to this file.
    File(PathBuf),
}
