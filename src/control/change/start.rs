//! What an earlier process, or the start, left to be told to history and audit: good versions that the history does not
//! have, a version that was left for the one before it, a rollout that did not come to its end.

use super::Conductor;
use crate::control::audit::Entry;
use crate::control::history::VersionOutcome;
use crate::control::store::ledger::Ref;
use crate::telemetry::events::RolloutEnded;
use crate::telemetry::metrics::RollbackCause;

/// Good versions that a start puts into the history again, if it does not have them.
const RESTORED: usize = 8;

impl Conductor {
    /// Tells of a start, once; `left` is the version that it took back.
    pub fn tell_start(&self, left: Option<&(Ref, RollbackCause)>) {
        // The version that the process started with, and the good ones before it, in case the history lost them.
        for row in self.control.good_versions(RESTORED) {
            self.means.history.record(row);
        }
        if let Some((version, cause)) = left {
            let why = match cause {
                RollbackCause::CrashLoop => "it did not stay up: three starts without a minute of readiness",
                _ => "the process ended before somebody confirmed it",
            };
            self.tell_end(version, (VersionOutcome::Reverted, why));
        }
        // Before the first version there was none to be in the middle of.
        if self.control.books().read(|record| record.ledger.next > 2) {
            self.means.history.settle(self.control.number());
        }
        let pending = self.control.books().read(|record| record.ledger.pending.clone());
        let Some(pending) = pending else { return };
        self.control.books().change(|record| record.ledger.pending = None);
        // Only that it was over was not written any more.
        if pending.number == self.control.number() {
            return;
        }
        let version = Ref { number: pending.number, hash: pending.hash };
        self.tell_end(&version, (VersionOutcome::Interrupted, "the process ended in the middle of it"));
    }

    fn tell_end(&self, version: &Ref, (outcome, why): (VersionOutcome, &'static str)) {
        let (number, word) = (version.number, outcome.as_str());
        self.means.history.outcome(number, outcome, Some(why));
        RolloutEnded { version: number, hash: &version.hash, outcome: word, why }.emit();
        let entry = Entry::by_gateway(format!("rollout.{word}")).version(number);
        self.means.audit.append(Entry { why: Some(why.to_owned()), ..entry });
    }
}
