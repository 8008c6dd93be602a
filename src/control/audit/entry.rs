//! What a row says, before it has its place in the chain.

use serde::{Deserialize, Serialize};

/// Characters of names, words and addresses.
const MAX_WORD: usize = 100;
/// Characters of sentences.
const MAX_SENTENCE: usize = 500;
/// Acknowledgements of one row.
const MAX_ACKNOWLEDGEMENTS: usize = 8;

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was not allowed, or made no sense; nothing was done.
    Refused,
    /// It was begun and came to nothing, or nobody knows what came of it.
    Failed,
}

impl Outcome {
    /// All.
    pub const ALL: [Outcome; 3] = [Outcome::Done, Outcome::Refused, Outcome::Failed];

    /// The word in rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
        }
    }

    /// By its word.
    pub fn named(word: &str) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

/// Somebody did, or wanted, something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When: milliseconds since 1970 by the wall clock; in JSON RFC 3339.
    #[serde(rename = "at", with = "instant")]
    pub at_ms: i64,
    /// A token's name, `socket`, `loopback`, `file`, `gateway`, or `anonymous`.
    pub actor: String,
    /// What they may do: `viewer`, `operator`, `admin`; empty for the gateway itself.
    pub role: String,
    /// Where they came from: an address, or the socket and its user.
    pub address: String,
    /// What: `apply`, `ramp.set`, `drain`, `rollback`, `promote`, `approve`, `rollout.revert` and so on.
    pub action: String,
    /// To what, if not to a version.
    pub target: Option<String>,
    /// What was asked of it, as `key=value` with spaces between.
    pub asked: Option<String>,
    /// To which version.
    pub version: Option<u64>,
    /// Why, in their words.
    pub reason: Option<String>,
    /// How dangerous: `low`, `medium`, `high`.
    pub risk: Option<String>,
    /// What they took upon themselves: `risk=high`, `break_glass`, `now`.
    pub acknowledgements: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it ended so, if it was not done; or what else is to be said.
    pub why: Option<String>,
    /// How often: more than once where the like of it was counted together.
    pub times: u64,
}

impl Entry {
    /// Something that was done now.
    pub fn new(actor: impl Into<String>, action: impl Into<String>) -> Self {
        Entry {
            at_ms: jiff::Timestamp::now().as_millisecond(),
            actor: actor.into(),
            role: String::new(),
            address: String::new(),
            action: action.into(),
            target: None,
            asked: None,
            version: None,
            reason: None,
            risk: None,
            acknowledgements: Vec::new(),
            outcome: Outcome::Done,
            why: None,
            times: 1,
        }
    }

    /// Something that the gateway did by itself.
    pub fn by_gateway(action: impl Into<String>) -> Self {
        Entry::new("gateway", action)
    }

    /// The same with a role and an address.
    pub fn from(mut self, role: impl Into<String>, address: impl Into<String>) -> Self {
        (self.role, self.address) = (role.into(), address.into());
        self
    }

    /// The same done to something.
    pub fn to(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// The same done to a version.
    pub fn version(mut self, number: u64) -> Self {
        self.version = Some(number);
        self
    }

    /// The same for a reason, in somebody's words.
    pub fn because(mut self, reason: Option<&str>) -> Self {
        self.reason = reason.map(str::to_owned);
        self
    }

    /// The same with the risk of it.
    pub fn risk(mut self, risk: impl Into<String>) -> Self {
        self.risk = Some(risk.into());
        self
    }

    /// The same, and somebody took this upon themselves.
    pub fn acknowledged(mut self, what: impl Into<String>) -> Self {
        self.acknowledgements.push(what.into());
        self
    }

    /// The same with a sentence about it.
    pub fn saying(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// It was refused, and why.
    pub fn refused(self, why: impl Into<String>) -> Self {
        Entry { outcome: Outcome::Refused, ..self.saying(why) }
    }

    /// It failed, and why.
    pub fn failed(self, why: impl Into<String>) -> Self {
        Entry { outcome: Outcome::Failed, ..self.saying(why) }
    }

    /// Cut to what a row may hold: whoever fills it, a row stays within a few kilobytes.
    pub(super) fn bounded(mut self) -> Self {
        for word in [&mut self.actor, &mut self.role, &mut self.address, &mut self.action] {
            cut(word, MAX_WORD);
        }
        let sentences = [&mut self.target, &mut self.asked, &mut self.reason, &mut self.why];
        sentences.into_iter().flatten().for_each(|text| cut(text, MAX_SENTENCE));
        self.risk.iter_mut().for_each(|word| cut(word, MAX_WORD));
        self.acknowledgements.truncate(MAX_ACKNOWLEDGEMENTS);
        self.acknowledgements.iter_mut().for_each(|word| cut(word, MAX_WORD));
        self
    }
}

fn cut(text: &mut String, characters: usize) {
    if let Some((end, _)) = text.char_indices().nth(characters) {
        text.truncate(end);
        text.push('…');
    }
}

/// Times as RFC 3339 with milliseconds, in UTC.
mod instant {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(ms: &i64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::told(*ms))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
        let text = String::deserialize(from)?;
        text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond).map_err(D::Error::custom)
    }
}

/// A time for people and programs; one that no calendar has is 1970.
pub fn told(ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_stays_small_whoever_fills_it() {
        let long = "\u{1}".repeat(1 << 20);
        let mut entry = Entry::new(&*long, &*long).from(&*long, &*long).to(&*long).refused(&*long);
        (entry.asked, entry.risk) = (Some(long.clone()), Some(long.clone()));
        entry.acknowledgements = vec![long.clone(); 100];
        let entry = entry.because(Some(&long)).bounded();
        let size = serde_json::to_string(&entry).expect("JSON").len();
        assert!(size < 32 << 10, "{size}");
    }

    #[test]
    fn a_time_comes_back_from_json_to_the_millisecond() {
        let entry = Entry::new("ops", "apply");
        let text = serde_json::to_string(&entry).expect("JSON");
        assert_eq!(serde_json::from_str::<Entry>(&text).expect("reads"), entry);
    }
}
