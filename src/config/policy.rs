//! How a change reaches clients, as the file describes it.
//!
//! These settings stand here and not in the control room because that room is above this one: it imports them. The
//! policy of the *active* version governs its successor (`design.md`, "Change").

use crate::config::fields::Risk;
use crate::request::cohort::Fact;
use std::time::Duration;

/// The `[rollout]` table.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Nothing reaches everyone without stages.
    pub required: bool,
    /// The parts of the clients that a change reaches one after the other, 0 to 1, rising; the last is 1.
    pub stages: Vec<f64>,
    /// How long each stage is judged at least.
    pub bake: Duration,
    /// What chooses the clients of a stage.
    pub cohort: Fact,
    /// When a change reverts by itself.
    pub guard: Guard,
    /// The risk from which on a second person is needed; nothing: never.
    pub approve: Option<Risk>,
    /// The environment that this gateway belongs to.
    pub environment: Option<String>,
    /// Whose receipt a version must carry.
    pub promote_from: Option<PromoteFrom>,
}

/// The bars of a rollout's guard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guard {
    /// The part of the requests, 0 to 1, that may fail more than with the version beside it.
    pub max_error_increase: f64,
    /// Latency relative to the version beside it.
    pub max_latency_ratio: f64,
    /// Requests of the candidate before it is judged; a route that fails wholly is judged sooner.
    pub min_requests: u64,
}

/// Another environment, whose gateways say what was good there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromoteFrom {
    /// Its name.
    pub environment: String,
    /// The ed25519 key that its receipts are checked with: base64 of its 32 bytes, or of its
    /// SubjectPublicKeyInfo (RFC 8410), as it is written.
    pub public_key: String,
}

impl Default for Policy {
    /// What holds without `[rollout]`.
    fn default() -> Self {
        Policy {
            required: true,
            stages: vec![0.05, 1.0],
            bake: Duration::from_secs(10),
            cohort: Fact::Address,
            guard: Guard { max_error_increase: 0.01, max_latency_ratio: 2.0, min_requests: 50 },
            approve: None,
            environment: None,
            promote_from: None,
        }
    }
}
