//! What a person may do: which request each act is, and what came of it in the words of the other verbs.

use crate::cli::client::text::in_query;
use crate::cli::client::{Client, ClientError};
use crate::cli::ramp::{self, Target};
use crate::cli::rollback;
use crate::control::history::{VersionOutcome, VersionSummary};
use crate::control::steering::forecast::Forecast;
use http::Method;
use serde_json::{Value, json};

/// Something that changes the gateway.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    /// Lets an upstream or a backend carry a percentage.
    Ramp { target: Target, percent: f64 },
    /// Stops the clock of a ramp's next step, or lets it go on.
    Clock { target: Target, stop: bool },
    /// Takes a ramp away.
    Clear { target: Target },
    /// Sends a backend no new requests, or brings it back.
    Drain { target: Target, drain: bool },
    /// Goes on to the next stage of this version.
    Promote { version: u64 },
    /// Ends the rollout of this version.
    Abort { version: u64 },
    /// Brings this version back, or whichever the gateway goes back to.
    Rollback { version: Option<u64> },
    /// Tells that something is wrong.
    OpenIncident { title: String, severity: &'static str, upstreams: Vec<String>, public: bool, freeze: bool },
    /// Makes a draft an open incident.
    PublishIncident { id: u64 },
    /// It is over.
    CloseIncident { id: u64 },
}

/// What a rollback leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// The version that comes back; nothing leaves it to the gateway.
    pub version: Option<u64>,
    /// In sentences.
    pub told: Vec<String>,
}

impl Act {
    /// Does it, for a reason. The answer is a sentence or more.
    ///
    /// # Errors
    /// What the gateway says instead.
    pub fn perform(&self, client: &Client, reason: &str) -> Result<String, ClientError> {
        let (method, path, body) = self.request(reason);
        match client.ask(method, &path, body.as_ref()) {
            Ok(answer) => self.told(client, answer),
            // What comes back cannot be read any more: the gateway knows the next one.
            Err(ClientError::Refused { status: 404 | 422, .. }) if self.names_a_version() => {
                Act::Rollback { version: None }.perform(client, reason)
            }
            Err(error) => Err(error),
        }
    }

    fn names_a_version(&self) -> bool {
        matches!(self, Act::Rollback { version: Some(_) })
    }

    fn request(&self, reason: &str) -> (Method, String, Option<Value>) {
        let rollout = |word: &str, version: u64| {
            let body = json!({ "version": version, "reason": reason });
            (Method::POST, format!("/v1/rollout:{word}"), Some(body))
        };
        match self {
            Act::Ramp { target, percent } => {
                let body = json!({ "percent": percent, "reason": reason });
                (Method::PUT, format!("{}/ramp", target.path()), Some(body))
            }
            Act::Clock { target, stop } => {
                let word = if *stop { "pause" } else { "resume" };
                (Method::POST, format!("{}/ramp:{word}", target.path()), None)
            }
            Act::Clear { target } => (Method::DELETE, format!("{}/ramp", target.path()), None),
            Act::Drain { target, drain } => {
                let state = if *drain { "drain" } else { "ready" };
                let body = json!({ "state": state, "reason": reason });
                (Method::PUT, format!("{}/state", target.path()), Some(body))
            }
            Act::Promote { version } => rollout("promote", *version),
            Act::Abort { version } => rollout("abort", *version),
            Act::Rollback { version } => (
                Method::POST,
                "/v1/rollback".to_owned(),
                Some(json!({ "version": version, "reason": reason })),
            ),
            Act::OpenIncident { title, severity, upstreams, public, freeze } => {
                let body = json!({
                    "title": title, "severity": severity, "upstreams": upstreams, "text": reason,
                    "public": public, "freeze": freeze, "reason": reason,
                });
                (Method::POST, "/v1/incidents".to_owned(), Some(body))
            }
            Act::PublishIncident { id } => incident(*id, "open", reason),
            Act::CloseIncident { id } => incident(*id, "closed", reason),
        }
    }

    fn told(&self, client: &Client, answer: Value) -> Result<String, ClientError> {
        Ok(match self {
            Act::Ramp { .. } | Act::Clock { .. } | Act::Clear { .. } | Act::Drain { .. } => {
                ramp::told(client, answer)?
            }
            Act::Promote { .. } | Act::Abort { .. } => answer["told"].as_str().unwrap_or("done").to_owned(),
            Act::Rollback { .. } => rollback::done(&answer),
            Act::OpenIncident { .. } => match answer["id"].as_u64() {
                Some(id) => format!("incident #{id} is open"),
                None => "the incident is open".to_owned(),
            },
            Act::PublishIncident { id } => format!("incident #{id} is open"),
            Act::CloseIncident { id } => format!("incident #{id} is closed"),
        })
    }
}

fn incident(id: u64, state: &str, text: &str) -> (Method, String, Option<Value>) {
    let mut body = json!({ "state": state });
    if !text.is_empty() {
        body["text"] = text.into();
    }
    (Method::PUT, format!("/v1/incidents/{id}"), Some(body))
}

/// What a ramp would shed, without setting it.
///
/// # Errors
/// If the gateway does not say.
pub(super) fn forecast(client: &Client, target: &Target, percent: f64) -> Result<Forecast, ClientError> {
    let path = format!("{}/ramp:forecast?percent={}", target.path(), in_query(&percent.to_string()));
    let mut answer: Value = client.get(&path)?;
    let bare = answer.get("shed_percent").is_some();
    client.read(if bare { answer } else { answer["forecast"].take() })
}

/// What a rollback would bring back now.
///
/// # Errors
/// If the gateway does not say which versions there are.
pub(super) fn way_back(client: &Client) -> Result<Way, ClientError> {
    let status: Value = client.get("/v1/status")?;
    if let Some(candidate) = status["rollout"]["version"]["number"].as_u64() {
        let active = status["version"]["number"].as_u64().unwrap_or_default();
        if active != candidate {
            let told =
                format!("ends the rollout of version {candidate}; version {active} stays, for everyone");
            return Ok(Way { version: None, told: vec![told] });
        }
    }
    let active = status["version"]["number"].as_u64().unwrap_or_default();
    let versions: Value = client.get("/v1/versions?limit=50")?;
    let versions: Vec<VersionSummary> = client.read(versions["items"].clone())?;
    Ok(way(active, &versions))
}

/// The newest good version older than the active one.
fn way(active: u64, versions: &[VersionSummary]) -> Way {
    let older = versions.iter().filter(|one| one.number < active && one.outcome == VersionOutcome::Good);
    let Some(next) = older.max_by_key(|version| version.number) else {
        let told = format!("no good version older than {active} is known; the gateway may know one");
        return Way { version: None, told: vec![told] };
    };
    let hash: String = next.hash.chars().take(16).collect();
    let mut told = vec![format!("version {} ({hash}) comes back at once, for everyone", next.number)];
    let by = next.author.as_deref().unwrap_or(&next.cause);
    told.push(match next.reason.as_deref() {
        Some(reason) => format!("it was {by}'s: {reason}"),
        None => format!("it was {by}'s"),
    });
    told.push(format!("version {active} is taken back, and stays out until somebody applies it"));
    Way { version: Some(next.number), told }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u64, outcome: VersionOutcome) -> VersionSummary {
        VersionSummary {
            number,
            hash: "ab".repeat(32),
            parent: None,
            cause: "api".into(),
            author: Some("ops".into()),
            reason: None,
            risk: None,
            at_ms: 0,
            outcome,
            outcome_why: None,
            outcome_at_ms: 0,
        }
    }

    #[test]
    fn the_way_back_is_named_before_it_is_gone_and_passes_over_what_was_taken_back() {
        let versions = [
            version(5, VersionOutcome::Good),
            version(4, VersionOutcome::RolledBack),
            version(3, VersionOutcome::Good),
            version(2, VersionOutcome::Good),
        ];
        let back = way(5, &versions);
        assert_eq!(back.version, Some(3));
        assert!(back.told[0].contains("version 3 (abababababababab)"), "{back:?}");
        let nothing = way(2, &versions);
        assert!(nothing.version.is_none() && nothing.told[0].contains("older than 2"), "{nothing:?}");
    }

    #[test]
    fn every_act_is_the_request_that_its_verb_makes() {
        let target = Target::of("orders", Some("a"));
        let text = |act: &Act| {
            let (method, path, body) = act.request("cold");
            format!("{method} {path} {}", body.unwrap_or_default())
        };
        for (act, expected) in [
            (
                Act::Ramp { target: Target::of("orders", None), percent: 25.0 },
                r#"PUT /v1/upstreams/orders/ramp {"percent":25.0,"reason":"cold"}"#,
            ),
            (
                Act::Clock { target: target.clone(), stop: true },
                "POST /v1/upstreams/orders/backends/a/ramp:pause null",
            ),
            (Act::Clear { target: target.clone() }, "DELETE /v1/upstreams/orders/backends/a/ramp null"),
            (
                Act::Drain { target, drain: false },
                r#"PUT /v1/upstreams/orders/backends/a/state {"reason":"cold","state":"ready"}"#,
            ),
            (Act::Abort { version: 4 }, r#"POST /v1/rollout:abort {"reason":"cold","version":4}"#),
            (Act::Rollback { version: None }, r#"POST /v1/rollback {"reason":"cold","version":null}"#),
            (Act::CloseIncident { id: 3 }, r#"PUT /v1/incidents/3 {"state":"closed","text":"cold"}"#),
        ] {
            assert_eq!(text(&act), expected);
        }
    }
}
