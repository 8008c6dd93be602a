//! From a checked text to what runs: everything that can fail first, then one pointer swap, then the street doors,
//! and the disk last. Whole or not at all.

use crate::config::plan::Plan;
use crate::control::apply::Receipt;
use crate::control::{Active, Control, Outcome};
use crate::listener::{BindError, Change};
use crate::telemetry::events::{ConfigApplied, RampConflict};
use std::io;
use std::sync::{Arc, PoisonError};

impl Control {
    /// Makes it active, unless it says what is active already.
    pub(super) fn enact(&self, next: Active) -> Result<Outcome, String> {
        let text = next.text.clone();
        let known = {
            let active = &self.state().active;
            (active.plan == next.plan).then(|| active.origin.clone())
        };
        let outcome = match known {
            Some(origin) => self.refresh(Active { origin, ..next }).map(|_| Outcome::Unchanged),
            None => self.activate(next).map(|_| Outcome::Applied),
        };
        outcome.map_err(|why| self.unfilled(&why, &text))
    }

    /// The same plan again: only what is outside the text may be new, certificates and moved log files. True when
    /// the disk has it.
    pub(super) fn refresh(&self, active: Active) -> Result<bool, String> {
        self.prepare_doors(&active.plan)?.commit();
        self.renew();
        self.access_log.reopen();
        self.state().active = active;
        Ok(self.settle())
    }

    /// Another plan.
    pub(super) fn activate(&self, active: Active) -> Result<Receipt, String> {
        let plan = &active.plan;
        let mut builder = self.builder.lock().unwrap_or_else(PoisonError::into_inner);
        let table = Arc::new(builder.build(plan)?);
        let doors = self.prepare_doors(plan)?;
        let (number, hash) = (table.number, plan.hash.clone());
        // Routes before doors: who comes in by a new door finds the routes that name it.
        let before = self.steering.swap(table.clone());
        let warnings = doors.commit();
        builder.commit(plan);
        (self.admin)(&plan.admin);
        self.access_log.retarget(&plan.access_log.target);
        self.access_log.reopen();
        let conflicts = self.steering.conflicts(&before, &table);
        conflicts.iter().for_each(|notice| RampConflict { notice }.emit());
        let mut notices = plan.notices.clone();
        notices.extend(warnings.into_iter().chain(conflicts));
        notices.extend(only_at_start(&self.state().active.plan, plan));
        tell(&active, number, &notices);
        {
            let mut state = self.state();
            state.retired.push(before);
            state.active = active;
        }
        drop(builder);
        self.renew();
        let persisted = self.settle();
        Ok(Receipt { number, hash, changed: true, persisted, notices })
    }

    /// Everything about the street doors that can fail.
    fn prepare_doors(&self, plan: &Plan) -> Result<Change<'_>, String> {
        let errors =
            |errors: Vec<BindError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        self.listeners.prepare(&plan.listeners).map_err(errors)
    }

    /// What is active is what it should be. True when the disk has it.
    fn settle(&self) -> bool {
        let (text, kept) = {
            let mut state = self.state();
            // Before the disk, which may take its time: what is true now is told now.
            state.refused = None;
            state.degraded = None;
            (state.active.text.clone(), state.active.kept())
        };
        let persisted = self.store.keep(&text, &kept);
        persisted.inspect_err(|error| self.not_kept(error)).is_ok()
    }

    /// The active version is not on disk: a restart may not know it. A reason that was there before stays.
    pub fn not_kept(&self, error: &io::Error) {
        tracing::warn!(%error, "the last good version cannot be kept; a restart will not have it");
        let why = format!("the last good version was not stored: {error}");
        self.state().degraded.get_or_insert(why);
    }
}

fn tell(active: &Active, version: u64, notices: &[String]) {
    let origin = &active.origin;
    let (by, reason) = (origin.by.as_deref(), origin.reason.as_deref());
    ConfigApplied { version, hash: &active.plan.hash, cause: &origin.cause, by, reason, notices }.emit();
}

/// What differs between two plans and is only read when the process starts; a sentence each.
fn only_at_start(before: &Plan, after: &Plan) -> Vec<String> {
    let (gateway, then) = (&after.gateway, &before.gateway);
    let (admin, was) = (&after.admin, &before.admin);
    let drain = (gateway.drain_delay, gateway.drain_timeout) != (then.drain_delay, then.drain_timeout);
    let changed = [
        ("gateway.workers", gateway.workers != then.workers),
        ("gateway.drain_delay and drain_timeout", drain),
        ("admin.address", admin.address != was.address),
        ("admin.state_dir", admin.state_dir != was.state_dir),
        ("admin.socket", admin.socket != was.socket),
    ];
    let changed = changed.into_iter().filter(|(_, differs)| *differs);
    changed
        .map(|(key, _)| format!("{key} is read at the start only: the change waits for a restart"))
        .collect()
}
