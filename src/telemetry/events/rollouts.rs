//! What happens to a change on its way, as typed events: every step, its end, and glass that was broken.

use super::stream::{Kind, Record};

/// A change took a step.
#[derive(Clone, Copy, Debug)]
pub struct RolloutStep<'a> {
    /// The version's number.
    pub version: u64,
    /// Blake3 of its text, hex.
    pub hash: &'a str,
    /// `begun`, `approved`, `probed`, `offered`, `widened`, `active`, `promoted` or `confirmed`.
    pub step: &'a str,
    /// Percentage of the clients that it serves from here on.
    pub percent: f64,
    /// Who asked for the step, if somebody did.
    pub by: Option<&'a str>,
    /// In a sentence.
    pub told: &'a str,
}

impl RolloutStep<'_> {
    /// Logs it.
    pub fn emit(self) {
        let RolloutStep { version, hash, step, percent, by, told } = self;
        tracing::info!(version, hash, step, percent, by, "rollout: {told}");
        Record::new(Kind::Rollout, format!("version {version}: {told}"))
            .with("what", step)
            .with("version", version)
            .with("hash", hash)
            .with("percent", percent)
            .with("by", by)
            .hand_on();
    }
}

/// A change ended.
#[derive(Clone, Copy, Debug)]
pub struct RolloutEnded<'a> {
    /// The version's number.
    pub version: u64,
    /// Blake3 of its text, hex.
    pub hash: &'a str,
    /// `good`, `active` (unconfirmed), `reverted`, `aborted`, `rolled_back`, `superseded` or `refused`.
    pub outcome: &'a str,
    /// Why, with the numbers.
    pub why: &'a str,
}

impl RolloutEnded<'_> {
    /// Logs it; what did not go well as a warning.
    pub fn emit(self) {
        let RolloutEnded { version, hash, outcome, why } = self;
        match outcome {
            "good" | "active" => tracing::info!(version, hash, outcome, "rollout ended: {why}"),
            _ => tracing::warn!(version, hash, outcome, "rollout ended: {why}"),
        }
        Record::new(Kind::Rollout, format!("version {version} is {}: {why}", outcome.replace('_', " ")))
            .with("what", "ended")
            .with("outcome", outcome)
            .with("version", version)
            .with("hash", hash)
            .with("why", why)
            .hand_on();
    }
}

/// Somebody went around the stages, or has seen that somebody did.
#[derive(Clone, Copy, Debug)]
pub struct GlassBroken<'a> {
    /// The version's number.
    pub version: u64,
    /// Who.
    pub by: &'a str,
    /// Why, in their words.
    pub reason: &'a str,
    /// It was seen.
    pub acknowledged: bool,
}

impl GlassBroken<'_> {
    /// Logs it.
    pub fn emit(self) {
        let GlassBroken { version, by, reason, acknowledged } = self;
        let what = if acknowledged { "glass_acknowledged" } else { "glass_broken" };
        tracing::warn!(version, by, reason, "{what}");
        let told = match acknowledged {
            true => format!("{by} has seen that version {version} went around the stages"),
            false => format!("{by} broke the glass: version {version} goes to everyone at once ({reason})"),
        };
        Record::new(Kind::Rollout, told)
            .with("what", what)
            .with("version", version)
            .with("by", by)
            .with("reason", reason)
            .hand_on();
    }
}
