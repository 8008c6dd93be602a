//! Auths, as operators see them.

use crate::control::condition::{About, Condition};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One auth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuthView {
    /// Its name.
    pub name: String,
    /// `external`, `jwt` or `api_key`.
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
    /// What tokens are checked with, if it takes tokens.
    #[serde(default)]
    pub keys: Option<KeysView>,
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

/// The keys that an auth checks tokens with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeysView {
    /// Where they come from.
    pub source: String,
    /// How many are in use.
    pub keys: usize,
    /// Keys of the set that are not used: for something else, too weak, or not understood.
    pub ignored: usize,
    /// When the source last gave them: UTC, RFC 3339; nothing if it never did.
    pub confirmed: Option<String>,
    /// Seconds since then.
    pub age_seconds: Option<f64>,
    /// Fetches that failed since the last one that succeeded.
    pub failures: u32,
    /// Why the last fetch failed; nothing when it succeeded.
    pub failure: Option<String>,
    /// Fetches that succeeded, ever.
    pub fetched: u64,
    /// Fetches that failed, ever.
    pub failed: u64,
}

impl AuthView {
    /// What the person on call must know of it.
    pub fn condition(&self) -> Option<Condition> {
        let (name, timeout, rule) = (&self.name, self.timeout_ms, &self.on_error);
        if let Some(KeysView { source, keys, failures, failure: Some(why), .. }) = &self.keys {
            return Some(match keys {
                0 => About::KeysMissing.says(format!(
                    "auth {name} has no keys: {source} failed {failures} times: {why}; on_error is {rule}"
                )),
                _ => About::KeysOld.says(format!(
                    "auth {name} stays on its last {keys} keys: {source} failed {failures} times: {why}"
                )),
            });
        }
        let upstream = self.upstream.as_deref().unwrap_or("its service");
        self.silent.then(|| {
            About::AuthSilent.says(format!(
                "auth {name} is silent: {upstream} answered nothing within {timeout} ms; on_error is {rule}"
            ))
        })
    }
}
