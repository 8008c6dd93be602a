//! Auths, as operators see them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One auth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuthView {
    /// Its name.
    pub name: String,
    /// `external`.
    pub kind: String,
    /// The upstream that is asked, if one is.
    pub upstream: Option<String>,
    /// The service has not answered lately, so nobody waits for it but the one who tries.
    pub silent: bool,
    /// For a decision, every wait included.
    pub timeout_ms: u64,
    /// `deny`, `allow` or `stale`.
    pub on_error: String,
    /// Questions in flight, those that were given up included.
    pub in_flight: u32,
    /// Of these at most.
    pub max_in_flight: u32,
    /// Decisions that are kept; nothing where none are.
    pub kept: Option<KeptView>,
    /// Requests that were judged, ever, by what became of them.
    pub results: BTreeMap<String, u64>,
}

/// Decisions that are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptView {
    /// Those that let pass, fresh or not.
    pub passed: usize,
    /// Of these at most.
    pub max_passed: u32,
    /// Those that refuse.
    pub refused: usize,
    /// Bytes of both, by and large.
    pub bytes: usize,
}

impl AuthView {
    /// What the person on call must know of it.
    pub fn reason(&self) -> Option<String> {
        let (name, timeout, rule) = (&self.name, self.timeout_ms, &self.on_error);
        let upstream = self.upstream.as_deref().unwrap_or("its service");
        self.silent.then(|| {
            format!(
                "auth {name} is silent: {upstream} answered nothing within {timeout} ms; on_error is {rule}"
            )
        })
    }
}
