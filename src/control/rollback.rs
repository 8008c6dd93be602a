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
        let ended = self.end_rollout(order);
        // Whoever is in the middle of a change gives it up, unless it is swapped in just now.
        self.rollbacks.fetch_add(1, Ordering::AcqRel);
        drop(self.builder.lock().unwrap_or_else(PoisonError::into_inner));
        let active = self.active_name();
        if let (Some(ended), None) = (&ended, order.target) {
            return Ok(self.told(order, ended.number, active, Vec::new()));
        }
        let choice = self.books.read(|record| choose::choose(record, active.number, order.target))?;
        let Some(choice) = choice else {
            let notices = vec![format!("Version {} was active already.", active.number)];
            return Ok(match ended {
                Some(ended) => self.told(order, ended.number, active, notices),
                None => self.answer(active.number, active, 0, notices),
            });
        };
        let mut notices = Vec::new();
        for good in &choice {
            let number = good.facts.number;
            match self.bring_back(good, order) {
                Ok(told) => {
                    notices.extend(told);
                    return Ok(self.told(order, active.number, good.name(), notices));
                }
                Err(why) if order.target.is_some() => return Err(Unrollable::Unusable { number, why }),
                Err(why) => notices.push(format!("Version {number} was passed over: {why}")),
            }
        }
        Err(Unrollable::NoneUsable(notices))
    }

    /// What runs, by number and hash.
    pub fn active_name(&self) -> Ref {
        let state = self.state();
        Ref { number: state.number, hash: state.active.plan.hash.clone() }
    }

    /// Ends a live rollout; its text stays out.
    fn end_rollout(&self, order: &Order) -> Option<Ref> {
        let ended = self.rollouts.get().and_then(|end| end(order))?;
        self.books.change(|record| {
            record.ledger.bar(barred(&ended, order.cause));
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
            self.state().last_seen.filter(|seen| *seen != own)
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
        let (standing, back) = (self.standing(), good.name());
        self.books.change(|record| {
            if let Some(left) =
                record.ledger.active.replace(back.clone()).filter(|left| left.hash != back.hash)
            {
                record.ledger.bar(barred(&left, order.cause));
            }
            record.mark_reverted(from);
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
        self.nudge.notify_one();
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
