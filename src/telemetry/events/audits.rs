//! Events of the audit: a row that was recorded, one that waits, and whether anything can be recorded.

use super::stream::{Kind, Record};

/// Somebody did, or wanted, something, and the audit has it, or will.
#[derive(Clone, Copy, Debug)]
pub struct AuditRecorded<'a> {
    /// Its number and its hash; nothing while it waits in memory.
    pub row: Option<(u64, &'a str)>,
    /// It was recorded some time after it happened.
    pub late: bool,
    /// Who.
    pub actor: &'a str,
    /// Where they came from.
    pub address: &'a str,
    /// What.
    pub action: &'a str,
    /// To what.
    pub target: Option<&'a str>,
    /// To which version.
    pub version: Option<u64>,
    /// Why, in their words.
    pub reason: Option<&'a str>,
    /// `done`, `refused` or `failed`.
    pub outcome: &'a str,
    /// Why it ended so.
    pub why: Option<&'a str>,
    /// How often.
    pub times: u64,
}

impl AuditRecorded<'_> {
    /// Logs it.
    pub fn emit(self) {
        let AuditRecorded { row, late, actor, address, action, target, version, reason, outcome, why, times } =
            self;
        let (seq, hash) = row.unzip();
        tracing::info!(
            seq, hash, late, actor, address, action, target, version, reason, outcome, why, times, "audit"
        );
        let on = target.map(|target| format!(" {target}")).unwrap_or_default();
        let to = version.map(|version| format!(" (version {version})")).unwrap_or_default();
        Record::new(Kind::Audit, format!("{actor}: {action}{on}{to}: {outcome}"))
            .with("recorded", row.is_some())
            .with("seq", seq)
            .with("hash", hash)
            .with("late", late)
            .with("actor", actor)
            .with("address", address)
            .with("action", action)
            .with("target", target)
            .with("version", version)
            .with("reason", reason)
            .with("outcome", outcome)
            .with("why", why)
            .with("times", times)
            .hand_on();
    }
}

/// Nothing can be recorded, or can again.
#[derive(Clone, Copy, Debug)]
pub struct AuditUnavailable<'a> {
    /// Why not; nothing when it can.
    pub why: Option<&'a str>,
}

impl AuditUnavailable<'_> {
    /// Logs it.
    pub fn emit(self) {
        let message = match self.why {
            Some(_) => {
                "history and audit cannot be recorded; changes wait in memory. hint: make room for the state \
                        directory, or mend it"
            }
            None => "history and audit are recorded again",
        };
        match self.why {
            Some(error) => tracing::error!(error, "{message}"),
            None => tracing::info!("{message}"),
        }
        Record::new(Kind::Audit, message)
            .with("what", if self.why.is_some() { "unavailable" } else { "available" })
            .with("error", self.why)
            .hand_on();
    }
}
