//! How a change reaches clients, as the file describes it.
//!
//! These settings stand here and not in the control room because that room is above this one: it imports them. The
//! policy of the *active* version governs its successor (`design.md`, "Change").

use crate::config::fields::Risk;
use crate::request::cohort::Fact;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
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
    /// What is dialled before a change, and what it is worth that nobody is there.
    pub probe: Probe,
}

/// What a finding of the probe does to a change. Only what the change touches can gate it: everything else is a
/// warning at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// It is told.
    Information,
    /// It is told as something that is probably wrong.
    Warning,
    /// The change is refused.
    Gate,
}

/// What the probe looks for; nothing: that is not looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// An auth service of which no backend can be reached.
    pub auth: Option<Weight>,
    /// A server of keys for tokens that cannot be reached.
    pub jwks: Option<Weight>,
    /// An upstream with routes of which no backend can be reached.
    pub upstreams: Option<Weight>,
    /// One backend that cannot be reached.
    pub backends: Option<Weight>,
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
            probe: Probe::default(),
        }
    }
}

impl Default for Probe {
    /// What is touched and would fail every request of somebody refuses the change; one backend of many does not,
    /// because ejection leaves it out.
    fn default() -> Self {
        let gate = Some(Weight::Gate);
        Probe { auth: gate, jwks: gate, upstreams: gate, backends: Some(Weight::Warning) }
    }
}

impl Weight {
    /// The word in the file and in findings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Weight::Information => "information",
            Weight::Warning => "warning",
            Weight::Gate => "gate",
        }
    }
}

/// What every ed25519 key begins with in its SubjectPublicKeyInfo (RFC 8410), in DER.
pub const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl PromoteFrom {
    /// The 32 bytes of the key.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with it.
    pub fn key(&self) -> Result<[u8; 32], &'static str> {
        let text = self.public_key.trim();
        let bytes = STANDARD.decode(text).map_err(|_| "is not base64")?;
        let raw = bytes.strip_prefix(&SPKI_PREFIX).unwrap_or(&bytes);
        let key: [u8; 32] = raw.try_into().map_err(|_| "is no ed25519 key of 32 bytes")?;
        // A placeholder, and a point with which anybody can sign.
        if key == [0; 32] { Err("is a key of zeros") } else { Ok(key) }
    }
}
