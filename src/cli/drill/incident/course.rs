//! Following a change from its push to its end, as `tidegate apply` does: through `GET /v1/rollout`.

use super::Drill;
use crate::cli::client::ClientError;
use crate::cli::client::text::Said;
use serde_json::Value;
use std::time::{Duration, Instant};

/// What is asked for beside a text.
pub(super) enum How {
    /// Its risk is acknowledged, and it goes by stages.
    Ordinary,
    /// At once, whatever the policy says.
    BrokenGlass,
}

/// What became of a push at once.
pub(super) enum Pushed {
    /// It is under way, or active, with this number.
    Taken(u64),
    /// It was not taken: why.
    Refused(String),
}

/// How a change ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// `good`, `active`, `reverted`, `aborted`, `rolled_back`, `superseded` or `refused`; empty if it did not end.
    pub outcome: String,
    /// Why, in the gateway's words.
    pub why: String,
    /// When that was seen.
    pub at: Option<Instant>,
    /// The last moment when it was seen to serve no client yet, if it ever served any.
    pub offered: Option<Instant>,
    /// The largest share of the clients that it was given, in percent.
    pub most_percent: f64,
    /// The share of the requests that it really served, in percent, and when that was last said: of those that were
    /// over by then.
    pub realised: Option<(f64, Instant)>,
}

impl Drill<'_> {
    /// Pushes a text.
    ///
    /// # Errors
    /// If the gateway does not answer.
    pub(super) fn push(&self, text: &str, how: &How, reason: &str) -> anyhow::Result<Pushed> {
        let query = match how {
            How::Ordinary => "ack_risk=high",
            How::BrokenGlass => "now=true&break_glass=true",
        };
        let said = match self.scene.gateway.propose(text, query, reason) {
            Ok(said) => said,
            Err(ClientError::Refused { detail, .. }) => return Ok(Pushed::Refused(detail)),
            Err(error) => return Err(error.into()),
        };
        Ok(match said {
            Said::Done(answer) | Said::Pending(answer) => {
                Pushed::Taken(answer["version"]["number"].as_u64().unwrap_or_default())
            }
            Said::Invalid(problem) => {
                Pushed::Refused(problem["detail"].as_str().unwrap_or("invalid").to_owned())
            }
        })
    }

    /// Follows a version to its end, or for so long.
    ///
    /// # Errors
    /// If the gateway does not answer.
    pub(super) fn follow(&self, number: u64, patience: Duration) -> anyhow::Result<Ended> {
        let mut ended = Ended::default();
        let mut before = Instant::now();
        self.told.wait_for(patience, || {
            let asked = Instant::now();
            let view: Value = self.scene.gateway.admin().get(&format!("/v1/rollout?version={number}"))?;
            let share = view["share_percent"].as_f64().unwrap_or(0.0);
            if view["version"]["number"] == number && share > 0.0 {
                ended.offered.get_or_insert(before);
                ended.most_percent = ended.most_percent.max(share);
                if let Some(percent) = view["realised_share_percent"].as_f64() {
                    ended.realised = Some((percent, asked));
                }
            }
            before = asked;
            let last = &view["last"];
            if last["number"] != number {
                return Ok(None);
            }
            ended.outcome = last["outcome"].as_str().unwrap_or_default().to_owned();
            ended.why = last["why"].as_str().unwrap_or_default().to_owned();
            ended.at = Some(Instant::now());
            Ok(Some(()))
        })?;
        Ok(ended)
    }
}
