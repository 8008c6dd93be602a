//! Changes that come by the file, and orders of people: brought to the conductor by the background thread.

use super::Conductor;
use super::course::Outcome as End;
use super::held::Held;
use super::proposal::Proposal;
use super::rules::{Refusal, Wish};
use super::view::PendingView;
use crate::control::apply::{Accepted, Job, Order, Receipt, Unapplied, is_named};
use crate::control::audit::Entry;
use crate::control::file::FileLook;
use crate::control::origin::Origin;
use crate::control::{Active, Cause, Outcome};
use crate::telemetry::events::{ConfigHeld, ConfigRefused};
use crate::telemetry::metrics::ApplyOutcome;

/// Why the file's text is kept out, and whether it waits to come in.
struct Kept {
    why: String,
    waits: Option<PendingView>,
}

impl Kept {
    /// It does not.
    fn out(why: String) -> Self {
        Kept { why, waits: None }
    }
}

impl Conductor {
    /// Looks at the file again, and begins what it says if that is a change. Blocks on files and sockets: for the
    /// background thread.
    pub fn reread(&self, cause: Cause) -> Outcome {
        let look = self.control.look_at_file(cause).map_err(Kept::out);
        let outcome = look.and_then(|look| match look {
            FileLook::Unchanged => {
                self.state().file = None;
                Ok(Outcome::Unchanged)
            }
            FileLook::Found(active) if self.control.is_active(&active.plan) => {
                self.file_agrees();
                self.same(*active).map(|_| Outcome::Unchanged).map_err(Kept::out)
            }
            FileLook::Found(active) => self.found(*active, cause),
        });
        let outcome = outcome.unwrap_or_else(|Kept { why, waits }| {
            let cause = cause.as_str();
            match waits.is_some() {
                true => ConfigHeld { cause, why: &why }.emit(),
                false => ConfigRefused { cause, error: &why }.emit(),
            }
            self.means.audit.refuse(Entry::new("file", "apply").refused(why.clone()), false);
            // What waits is not refused: it comes in by itself.
            self.control.refused(waits.is_none().then_some(why));
            // Of whatever waited before, this is the newest.
            self.state().file = waits;
            Outcome::Refused
        });
        self.count(outcome);
        outcome
    }

    fn found(&self, active: Active, cause: Cause) -> Result<Outcome, Kept> {
        // The background thread does one thing at a time; this tells others what it is at.
        let _turn = self.turns.take("the file", Some(cause.as_str()));
        let hash = active.plan.hash.clone();
        let receipt = self.control.receipt_beside_file();
        match self.propose(Proposal { active, wish: Wish::of_file(cause), confirm: None, receipt }) {
            Ok(Accepted::Active(receipt)) => {
                self.means.audit.append(Entry::new("file", "apply").version(receipt.number));
                Ok(Outcome::Applied)
            }
            Ok(Accepted::UnderWay(begun)) => {
                let entry = Entry::new("file", "apply").version(begun.number).risk(begun.risk.as_str());
                self.means.audit.append(entry);
                Ok(Outcome::Unchanged)
            }
            Err(Unapplied::UnderWay(other)) => {
                let waits = other.hash != hash;
                if waits {
                    // It is a change again at the next look, which comes as soon as the other one is over.
                    self.control.forget_read();
                }
                // The newest wins, also where that is what is under way.
                let pending = || PendingView { hash, cause: cause.as_str().to_owned(), held_by: None };
                self.state().file = waits.then(pending);
                Ok(Outcome::Unchanged)
            }
            Err(Unapplied::Refused(Refusal::Frozen(held))) => self.held(hash, cause, held),
            Err(Unapplied::Refused(refusal)) => Err(Kept::out(refusal.to_string())),
            Err(Unapplied::Failed(why)) => {
                // What failed for want of an address or a certificate may pass.
                self.control.forget_read();
                Err(Kept::out(why))
            }
            Err(Unapplied::Stale(_) | Unapplied::Busy(_) | Unapplied::Pending | Unapplied::Gone) => {
                Ok(Outcome::Unchanged)
            }
        }
    }

    /// It waits for the end of a freeze, and is told once: a look every half minute is no news. A signal is a question.
    fn held(&self, hash: String, cause: Cause, held: Held) -> Result<Outcome, Kept> {
        // It is a change again at the next look, which comes as soon as the freeze is over.
        self.control.forget_read();
        let held_by = held.first();
        let known = |file: &PendingView| file.hash == hash && file.held_by == held_by;
        if cause == Cause::Watch && self.state().file.as_ref().is_some_and(known) {
            return Ok(Outcome::Unchanged);
        }
        let waits = Some(PendingView { hash, cause: cause.as_str().to_owned(), held_by });
        Err(Kept { why: Refusal::Frozen(held).to_string(), waits })
    }

    /// The file says what is active: a change that came from it is not wanted any more.
    fn file_agrees(&self) {
        let mut state = self.state();
        state.file = None;
        let from_file = state.course.current().is_some_and(|it| it.change.cause != Cause::Api);
        if !from_file {
            return;
        }
        let act = state.course.abort(End::Superseded, "the file says again what is active".to_owned());
        drop(state);
        act.into_iter().for_each(|act| self.send(act));
    }

    /// Does what was ordered, and tells what came of it. Blocks on files and sockets: for the background thread.
    pub fn fulfil(&self, job: Job, told: impl FnOnce(Outcome)) {
        let Job { order, turn, answer } = job;
        let result = self.order(order);
        let outcome = match &result {
            Ok(Accepted::Active(receipt)) if receipt.changed => Outcome::Applied,
            Ok(_) => Outcome::Unchanged,
            Err(_) => Outcome::Refused,
        };
        self.count(outcome);
        // Before the answer: whoever has it may look for the new addresses at once.
        told(outcome);
        // Whoever is answered may come again at once.
        drop(turn);
        // Nobody may be waiting any more; the log and the status have it.
        let _ = answer.send(result);
    }

    fn order(&self, order: Order) -> Result<Accepted, Unapplied> {
        let Order { text, plan, by, reason, expected, confirm, receipt, wish } = order;
        let hash = self.control.active_hash();
        if expected.as_deref().is_some_and(|expected| !is_named(&hash, expected)) {
            return Err(Unapplied::Stale(hash));
        }
        let origin = Origin::now(Cause::Api, Some(by), reason);
        let overruled = self.control.overruled_by(&text);
        let active = Active { plan: *plan, text: text.into(), origin, overruled };
        let done = match self.control.is_active(&active.plan) {
            true => self.same(active).map(Accepted::Active).map_err(Unapplied::Failed),
            false => self.propose(Proposal { active, wish, confirm, receipt }),
        };
        done.inspect_err(|error| {
            if let Unapplied::Failed(why) = error {
                ConfigRefused { cause: Cause::Api.as_str(), error: why }.emit();
            }
        })
    }

    /// The plan that is active already: only what is outside the text may be new.
    ///
    /// # Errors
    /// What of that cannot be used.
    fn same(&self, active: Active) -> Result<Receipt, String> {
        let (hash, notices, text) =
            (active.plan.hash.clone(), active.plan.notices.clone(), active.text.clone());
        let refreshed = self.control.refresh(active, self.control.rollbacks());
        let persisted = refreshed.map_err(|why| self.control.unfilled(&why, &text))?;
        Ok(Receipt { number: self.control.number(), hash, changed: false, risk: None, persisted, notices })
    }

    fn count(&self, outcome: Outcome) {
        self.control.metrics().process().apply(match outcome {
            Outcome::Unchanged => ApplyOutcome::Unchanged,
            Outcome::Applied => ApplyOutcome::Applied,
            Outcome::Refused => ApplyOutcome::Refused,
        });
    }
}
