//! Versions that were taken back.

use super::stream::{Kind, Record};

/// A version, or a rollout, was taken back.
#[derive(Clone, Copy, Debug)]
pub struct VersionRolledBack<'a> {
    /// The version that was taken back.
    pub from: u64,
    /// The version that everyone is served by now.
    pub to: u64,
    /// Blake3 of its text, hex.
    pub hash: &'a str,
    /// `operator`, `guard`, `unconfirmed` or `crash_loop`.
    pub cause: &'a str,
    /// Who, if somebody did.
    pub by: Option<&'a str>,
    /// Why, in their words or ours.
    pub reason: Option<&'a str>,
    /// What a person should know, a sentence each.
    pub notices: &'a [String],
}

impl VersionRolledBack<'_> {
    /// Logs it, and its notices after it.
    pub fn emit(self) {
        let VersionRolledBack { from, to, hash, cause, by, reason, notices } = self;
        tracing::warn!(from, to, hash, cause, by, reason, "rolled back");
        for notice in notices {
            tracing::warn!(version = to, "{notice}");
        }
        Record::new(Kind::Rollback, format!("rolled back from version {from} to {to}"))
            .with("from", from)
            .with("to", to)
            .with("hash", hash)
            .with("cause", cause)
            .with("by", by)
            .with("reason", reason)
            .with_list("notices", notices)
            .hand_on();
    }
}
