//! The way back: any version that was ever fully active, straight to everyone, whatever hangs (`design.md`, "Rollback").
//!
//! It has a thread of its own. What it needs is in memory: texts of good versions, what filled them, their certificates.
//! What they are made of now is used where it can be read in a quarter of a second; no lock that it takes is ever held
//! over a file or a socket. The swap comes first, then the disk, for which the answer waits a moment and no more.
//!
//! Checks that are newer than a version are no reason to refuse it, as far as its text can be understood at all; without
//! a number, one that cannot is passed over for the next older one.

mod choose;
mod counter;
mod revive;

pub use choose::Unrollable;
pub use counter::{Counter, Job, serve};
pub use revive::within;

use crate::control::origin::Origin;
use crate::control::store::ledger::{Barred, Ref, Why};
use crate::control::store::record::Good;
use crate::control::{Active, Cause, Control};
use crate::telemetry::events::VersionRolledBack;
use crate::telemetry::metrics::RollbackCause;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long the answer waits for the disk.
const DISK: Duration = Duration::from_millis(400);

/// Ends a live rollout without waiting for anything, and says which version it was; nothing if there is none.
pub type EndRollout = Box<dyn Fn(&Order) -> Option<Ref> + Send + Sync>;

/// What somebody, or the gateway itself, wants back.
#[derive(Clone, Debug)]
pub struct Order {
    /// The version; nothing for the one before.
    pub target: Option<u64>,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// On whose account.
    pub cause: RollbackCause,
    /// The version that must not run, where the gateway itself takes it back: if another one does by then, that stays.
    pub from: Option<u64>,
}

/// Which way an order went.
struct Gone {
    from: u64,
    to: Ref,
    notices: Vec<String>,
    /// Something was taken back.
    changed: bool,
}

impl Gone {
    fn nowhere(active: Ref, why: String) -> Self {
        Gone { from: active.number, to: active, notices: vec![why], changed: false }
    }

    fn lost(active: Ref, from: u64) -> Self {
        Gone::nowhere(active, format!("Version {from} does not run any more."))
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// The version that was taken back.
    pub from: u64,
    /// The version that everyone is served by.
    pub to: u64,
    /// The hash of its text.
    pub hash: String,
    /// It is on disk, and a restart will have it.
    pub persisted: bool,
    /// What was not written down, and why, a sentence each.
    pub unrecorded: Vec<String>,
    /// What a person should know, a sentence each.
    pub notices: Vec<String>,
}

impl Control {
    /// Who runs rollouts says how one is ended; only the first call counts.
    pub fn let_rollouts_end(&self, end: EndRollout) {
        let _ = self.rollouts.set(end);
    }

    /// Waits until something changed that files and listeners are to be looked at for.
    pub async fn nudged(&self) {
        self.nudge.notified().await;
    }

    /// Takes back what runs, or brings a version back. Takes well under a second: for the rollback thread.
    ///
    /// # Errors
    /// See [`Unrollable`]; then what runs goes on.
    pub fn roll_back(&self, order: &Order) -> Result<RolledBack, Unrollable> {
        if order.target.is_some() {
            // Who names a version that cannot come back ends nothing.
            self.chosen(order)?;
        }
        if let Some(from) = order.from.filter(|from| *from != self.number()) {
            let Gone { from, to, notices, .. } = Gone::lost(self.active_name(), from);
            return Ok(self.answer(from, to, 0, notices));
        }
        // Before a rollout ends, so that one which began too late to be ended has seen it.
        self.give_up_changes();
        let ended = self.end_rollout(order);
        let Gone { from, to, notices, changed } = {
            // One after the other: who comes second finds what the first one left.
            let _alone = self.going_back.lock().unwrap_or_else(PoisonError::into_inner);
            self.go_back(order, ended)?
        };
        Ok(match changed {
            true => self.told(order, from, to, notices),
            false => self.answer(from, to, 0, notices),
        })
    }

    /// Whoever is in the middle of a change gives it up, unless it is swapped in just now.
    pub(super) fn give_up_changes(&self) {
        self.rollbacks.fetch_add(1, Ordering::AcqRel);
    }

    /// Everything but the disk.
    fn go_back(&self, order: &Order, ended: Option<Ref>) -> Result<Gone, Unrollable> {
        // What was swapped in just now is what runs.
        drop(self.builder.lock().unwrap_or_else(PoisonError::into_inner));
        let active = self.active_name();
        if let Some(from) = order.from.filter(|from| *from != active.number) {
            return Ok(Gone::lost(active, from));
        }
        if let (Some(ended), None) = (&ended, order.target)
            && ended.number != active.number
        {
            return Ok(Gone { from: ended.number, to: active, notices: Vec::new(), changed: true });
        }
        let Some(choice) = self.chosen(order)? else {
            let number = active.number;
            let gone = Gone::nowhere(active, format!("Version {number} was active already."));
            let ended = ended.map(|ended| ended.number);
            return Ok(Gone { from: ended.unwrap_or(gone.from), changed: ended.is_some(), ..gone });
        };
        let mut notices = Vec::new();
        for good in &choice {
            let number = good.facts.number;
            match self.bring_back(good, order) {
                Ok(told) => {
                    notices.extend(told);
                    return Ok(Gone { from: active.number, to: good.name(), notices, changed: true });
                }
                Err(why) if order.target.is_some() => return Err(Unrollable::Unusable { number, why }),
                Err(why) => notices.push(format!("Version {number} was passed over: {why}")),
            }
        }
        Err(Unrollable::NoneUsable(notices))
    }

    fn chosen(&self, order: &Order) -> Result<Option<Vec<Good>>, Unrollable> {
        let active = self.number();
        self.books.read(|record| choose::choose(record, active, order.target))
    }

    /// What runs, by number and hash.
    pub fn active_name(&self) -> Ref {
        let state = self.state();
        Ref { number: state.number, hash: state.active.plan.hash.clone() }
    }

    /// Ends a live rollout; its text stays out if somebody wants it so.
    fn end_rollout(&self, order: &Order) -> Option<Ref> {
        let ended = self.rollouts.get().and_then(|end| end(order))?;
        let runs = self.active_hash();
        self.books.change(|record| {
            if ended.hash != runs {
                record.ledger.bar(barred(&ended, order.cause));
            }
            record.ledger.pending = None;
        });
        Some(ended)
    }

    /// Serves everyone by a good version.
    fn bring_back(&self, good: &Good, order: &Order) -> Result<Vec<String>, String> {
        let revived = self.revive(good)?;
        let origin = Origin::now(Cause::Rollback, Some(order.by.clone()), order.reason.clone());
        let overruled = {
            let own = blake3::hash(good.text.as_bytes());
            let state = self.state();
            // Where nobody decides it now, a text that nobody decided against before is a change still.
            let decided = |seen: &blake3::Hash| {
                let taken_back = state.active.plan.hash == seen.to_hex().as_str();
                order.from.is_none() || taken_back || state.active.overruled.as_ref() == Some(seen)
            };
            state.last_seen.filter(|seen| *seen != own && decided(seen))
        };
        let active = Active { plan: revived.plan, text: good.text.clone(), origin, overruled };
        // Nobody holds it over a file or a socket.
        let mut builder = self.builder.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, admin) = {
            let state = self.state();
            let differs = state.active.plan.admin != revived.own_admin;
            (state.number, differs.then(|| state.active.text.clone()))
        };
        let mut notices = revived.notices;
        notices.extend(self.put_back(&mut builder, good, active, revived.shelf, &revived.now)?);
        // Whoever began meanwhile began beside what is gone now.
        self.give_up_changes();
        let (standing, back) = (self.standing(), good.name());
        self.books.change(|record| {
            if let Some(left) =
                record.ledger.active.replace(back.clone()).filter(|left| left.hash != back.hash)
            {
                record.ledger.bar(barred(&left, order.cause));
            }
            record.mark_reverted(from);
            record.wanted_again(back.number);
            record.ledger.lift(&back.hash);
            record.ledger.last_good = Some(back.clone());
            record.ledger.confirmed = Some(back);
            record.ledger.pending = None;
            record.ledger.confirm = None;
            record.active = Some(standing);
            let before = record.admin.take();
            record.admin = admin.map(|text| before.unwrap_or(text));
        });
        drop(builder);
        self.nudge();
        Ok(notices)
    }

    /// Counts it, tells everyone, and waits a moment for the disk.
    fn told(&self, order: &Order, from: u64, to: Ref, notices: Vec<String>) -> RolledBack {
        self.metrics.process().rolled_back(order.cause);
        VersionRolledBack {
            from,
            to: to.number,
            hash: &to.hash,
            cause: order.cause.as_str(),
            by: Some(&order.by),
            reason: order.reason.as_deref(),
            notices: &notices,
        }
        .emit();
        let ((), change) = self.books.change(|_| ());
        self.answer(from, to, change, notices)
    }

    fn answer(&self, from: u64, to: Ref, change: u64, notices: Vec<String>) -> RolledBack {
        let written = self.books.persisted(change, DISK);
        let unrecorded = written.as_ref().err().map(|why| {
            let directory = self.store().directory().display();
            format!("The state directory {directory} does not have it yet, so a restart may not: {why}")
        });
        let unrecorded = unrecorded.into_iter().collect();
        RolledBack { from, to: to.number, hash: to.hash, persisted: written.is_ok(), unrecorded, notices }
    }
}

/// The text of a version that was taken back stays out.
fn barred(version: &Ref, cause: RollbackCause) -> Barred {
    let why = match cause {
        RollbackCause::Operator => Why::RolledBack,
        RollbackCause::Guard => Why::Reverted,
        RollbackCause::Unconfirmed => Why::Unconfirmed,
        RollbackCause::CrashLoop => Why::CrashLoop,
    };
    let at = Origin::now(Cause::Rollback, None, None).since;
    Barred { hash: version.hash.clone(), number: version.number, why, at }
}
