//! A change under way as operators and programs see it: `GET /v1/rollout`, `tidegate apply`, `status`.

use crate::control::store::ledger::Glass;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The change under way, and what is left of the last one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RolloutView {
    /// `none`, `approval`, `probing`, `rolling_out`, `activating` or `settling`.
    pub state: String,
    /// The version, if one is under way.
    pub version: Option<ChangeView>,
    /// Percentages of the clients, one after the other.
    #[serde(default)]
    pub stages_percent: Vec<f64>,
    /// The share of the clients that it should serve now.
    #[serde(default)]
    pub share_percent: f64,
    /// The share of the requests that it served of late, if any came.
    #[serde(default)]
    pub realised_share_percent: Option<f64>,
    /// Each request stands for itself: too few clients, or one that is larger than the share.
    #[serde(default)]
    pub per_request: bool,
    /// What it waits for, in a sentence.
    #[serde(default)]
    pub waiting: Option<String>,
    /// Time alone will not decide it: somebody is to `promote` or `abort`.
    #[serde(default)]
    pub needs_person: bool,
    /// What the guard sees.
    #[serde(default)]
    pub guard: Value,
    /// A version that goes back unless it is confirmed.
    #[serde(default)]
    pub unconfirmed: Option<UnconfirmedView>,
    /// A file that waits for its turn.
    #[serde(default)]
    pub pending_file: Option<PendingView>,
    /// How the last change ended, or the one that was asked for.
    #[serde(default)]
    pub last: Option<EndedView>,
    /// A change that went around the stages and was not acknowledged.
    #[serde(default)]
    pub break_glass: Option<GlassView>,
}

impl RolloutView {
    /// Seconds since the version began to serve clients; nothing while it serves none.
    pub fn began_seconds(&self) -> Option<f64> {
        self.guard["age_seconds"].as_f64()
    }

    /// Nothing goes on before somebody says a word.
    pub fn waits_for_person(&self) -> bool {
        self.state == "approval" || self.unconfirmed.is_some() || self.needs_person
    }
}

/// A version under way.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ChangeView {
    /// Its number.
    pub number: u64,
    /// Blake3 of the text, hex.
    pub hash: String,
    /// `boot`, `watch`, `signal` or `api`.
    pub cause: String,
    /// Who asked.
    pub by: Option<String>,
    /// Why, in their words.
    pub reason: Option<String>,
    /// `low`, `medium` or `high`.
    pub risk: String,
    /// The second person, if one was needed.
    pub approved_by: Option<String>,
}

/// A version that waits for its confirmation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UnconfirmedView {
    /// Its number.
    pub number: u64,
    /// Until it goes back.
    pub seconds_left: f64,
}

/// A text of the file that waits for its turn.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PendingView {
    /// Blake3 of the text, hex.
    pub hash: String,
    /// `watch` or `signal`.
    pub cause: String,
    /// The incident whose freeze it waits for, the oldest of several; nothing where it waits for another change.
    #[serde(default)]
    pub held_by: Option<u64>,
}

/// How a change ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EndedView {
    /// The version's number.
    pub number: u64,
    /// Blake3 of the text, hex.
    pub hash: String,
    /// `good`, `active` (unconfirmed), `reverted`, `aborted`, `rolled_back`, `superseded` or `refused`.
    pub outcome: String,
    /// Why, with the numbers.
    pub why: String,
}

/// A change that went around the stages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GlassView {
    /// The version's number.
    pub number: u64,
    /// Who.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// When: UTC, RFC 3339.
    pub at: String,
}

impl From<Glass> for GlassView {
    fn from(Glass { number, by, reason, at }: Glass) -> Self {
        GlassView { number, by, reason, at }
    }
}

impl From<GlassView> for Glass {
    fn from(GlassView { number, by, reason, at }: GlassView) -> Self {
        Glass { number, by, reason, at }
    }
}
