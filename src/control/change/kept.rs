//! What of a change is kept beside its text, so that a restart knows of it: that it was under way, that it waits for a
//! confirmation, that its text must not come back by itself, that somebody went around the stages.

use super::course::{Ended, Outcome};
use super::proposal::Whole;
use super::view::GlassView;
use crate::config;
use crate::control::Control;
use crate::control::history::{VersionOutcome, VersionRow, VersionSummary};
use crate::control::origin::Origin;
use crate::control::store::ledger::{Barred, Confirm, Pending, Why};
use crate::control::store::record::Good;
use crate::control::{Active, Cause};
use crate::runtime::clock::unix_ms;
use std::time::Duration;

impl Control {
    /// The number of a version that was accepted; never given twice.
    pub(super) fn take_number(&self) -> u64 {
        self.books.change(|record| record.ledger.take_number()).0
    }

    /// A change is under way. Waits for the disk for at most so long: a number that somebody was told, or that the
    /// history has, must not be given again after a crash.
    pub(super) fn change_begun(&self, whole: &Whole, patience: Duration) {
        let Active { plan, origin, .. } = &whole.active;
        let pending = Pending {
            number: whole.number,
            hash: plan.hash.clone(),
            cause: origin.cause.clone(),
            by: origin.by.clone(),
            reason: origin.reason.clone(),
        };
        let ((), change) = self.books.change(|record| {
            // Whoever applies a text wants it back.
            record.ledger.lift(&pending.hash);
            record.ledger.pending = Some(pending);
        });
        // What the disk does not take is told by the books; the change goes on.
        let _ = self.books.persisted(change, patience);
    }

    /// It is over; its text stays out if it must.
    pub(super) fn change_ended(&self, ended: &Ended) {
        let why = match ended.outcome {
            Outcome::Reverted => Some(Why::Reverted),
            Outcome::Lapsed => Some(Why::Unconfirmed),
            Outcome::Aborted | Outcome::RolledBack => Some(Why::RolledBack),
            Outcome::Good | Outcome::Unconfirmed | Outcome::Superseded | Outcome::Refused => None,
        };
        let at = Origin::now(Cause::Rollback, None, None).since;
        let runs = self.active_hash();
        self.books.change(|record| {
            let is_pending =
                record.ledger.pending.as_ref().is_some_and(|pending| pending.number == ended.number);
            if is_pending {
                record.ledger.pending = None;
            }
            // Of the text that runs only what fills it was wrong: the next value is another change.
            if let Some(why) = why.filter(|_| runs != ended.hash) {
                record.ledger.bar(Barred { hash: ended.hash.clone(), number: ended.number, why, at });
            }
        });
    }

    /// The active version waits for a confirmation for so long, or not any more. A restart in between takes it back.
    pub(super) fn keep_confirm(&self, number: u64, left: Option<Duration>) {
        let left_ms = left.map(|left| i64::try_from(left.as_millis()).unwrap_or(i64::MAX));
        self.books.change(|record| {
            let return_to = record.ledger.confirmed.clone().or_else(|| record.ledger.last_good.clone());
            record.ledger.confirm = left_ms.zip(return_to).map(|(left_ms, return_to)| Confirm {
                number,
                until_ms: unix_ms().saturating_add(left_ms),
                return_to,
            });
        });
    }

    /// Whether the disk has what was said of changes until now.
    pub async fn has_kept(&self, patience: Duration) -> bool {
        self.books.has_all(patience).await
    }

    /// Somebody went around the stages, or it was seen that somebody did.
    pub(super) fn keep_glass(&self, glass: Option<&GlassView>) {
        self.books.change(|record| record.ledger.glass = glass.cloned().map(Into::into));
    }

    /// What an earlier process left of that.
    pub(super) fn glass(&self) -> Option<GlassView> {
        self.books.read(|record| record.ledger.glass.clone()).map(Into::into)
    }

    /// Another environment's word about the file's text, from the file beside it: `gateway.toml.receipt`. Blocks.
    pub(super) fn receipt_beside_file(&self) -> Option<String> {
        let mut name = self.file.file_name()?.to_owned();
        name.push(".receipt");
        config::read(&self.file.with_file_name(name)).ok()
    }

    /// The last good versions as far as they are kept as plain files, the newest first.
    pub fn good_versions(&self, limit: usize) -> Vec<VersionRow> {
        self.books.read(|record| record.goods.iter().rev().take(limit).map(row).collect())
    }

    /// Why a text with this hash must not come in by itself, if it must not.
    pub(super) fn is_barred(&self, hash: &str) -> Option<String> {
        self.books.read(|record| record.ledger.bars(hash).map(Barred::told))
    }
}

/// As the history would have it.
fn row(good: &Good) -> VersionRow {
    let facts = &good.facts;
    let at_ms = facts.origin.since.parse::<jiff::Timestamp>().map_or(0, |at| at.as_millisecond());
    let outcome = if facts.reverted { VersionOutcome::RolledBack } else { VersionOutcome::Good };
    VersionRow {
        summary: VersionSummary {
            number: facts.number,
            hash: facts.hash.clone(),
            parent: facts.parent,
            cause: facts.origin.cause.clone(),
            author: facts.origin.by.clone(),
            reason: facts.origin.reason.clone(),
            risk: facts.risk.clone(),
            at_ms,
            outcome,
            outcome_why: Some("told from the files of the good versions".to_owned()),
            outcome_at_ms: at_ms,
        },
        text: good.text.to_string(),
        differences: serde_json::Value::Null,
        findings: serde_json::Value::Null,
    }
}
