//! Where the active version came from, and whether it stands over the file: told to operators, and kept beside the
//! last good text, so that a restart does not undo what somebody applied (`design.md`, "Change").
//!
//! A version that was applied stands over the very text that the file had when it was last read. A file with that
//! text is no change, at a look, at a signal or at a start; any other text is.

use crate::control::Cause;
use serde::{Deserialize, Serialize};

/// Why a version is active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// `boot`, `watch`, `signal`, `api` or `rollback`.
    pub cause: String,
    /// Who applied it, if somebody did.
    pub by: Option<String>,
    /// Why, in their words.
    pub reason: Option<String>,
    /// Since when it is active: UTC, RFC 3339, with milliseconds.
    pub since: String,
}

impl Origin {
    /// It became active just now.
    pub fn now(cause: Cause, by: Option<String>, reason: Option<String>) -> Self {
        let since = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        Origin { cause: cause.as_str().to_owned(), by, reason, since }
    }

    /// Whoever applied it, for a sentence.
    pub fn told(&self) -> String {
        let by = self.by.as_deref().unwrap_or("somebody");
        let reason = self.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        if self.cause == Cause::Rollback.as_str() {
            return format!("rolled back to by {by} at {}{reason}", self.since);
        }
        format!("applied by {by} through the API at {}{reason}", self.since)
    }
}

/// What is kept beside the last good text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Blake3 of the text that this is about, hex: it and the text are two files, and a crash may come between.
    pub hash: String,
    /// Blake3 of the file's text that it stands over, hex.
    pub overruled: Option<String>,
    /// Where it came from.
    pub origin: Origin,
}

impl Kept {
    /// About the active `text`.
    pub fn of(text: &str, origin: &Origin, overruled: Option<blake3::Hash>) -> Self {
        Kept {
            hash: blake3::hash(text.as_bytes()).to_hex().to_string(),
            overruled: overruled.map(|hash| hash.to_hex().to_string()),
            origin: origin.clone(),
        }
    }

    /// The file's text that it stands over.
    pub fn overruled(&self) -> Option<blake3::Hash> {
        self.overruled.as_deref().and_then(|hex| blake3::Hash::from_hex(hex).ok())
    }

    /// Where `text` came from, if this is about it.
    pub fn origin_of(&self, text: &str) -> Option<&Origin> {
        (blake3::hash(text.as_bytes()).to_hex().as_str() == self.hash).then_some(&self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_about_one_text_and_over_one_other() {
        let origin = Origin::now(Cause::Api, Some("ops".into()), Some("the fleet is slow".into()));
        let over = blake3::hash(b"file");
        let kept = Kept::of("applied", &origin, Some(over));
        let text = serde_json::to_string(&kept).expect("written");
        let read: Kept = serde_json::from_str(&text).expect("read");
        assert_eq!((read.overruled(), read.origin_of("applied")), (Some(over), Some(&origin)));
        assert_eq!(read.origin_of("another"), None);
        assert!(origin.told().contains("by ops") && origin.told().ends_with(": the fleet is slow"));
    }

    #[test]
    fn a_time_is_rfc_3339_with_milliseconds() {
        let since = Origin::now(Cause::Boot, None, None).since;
        assert_eq!((since.len(), &since[10..11], &since[23..]), (24, "T", "Z"), "{since}");
    }
}
