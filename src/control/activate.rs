//! From a checked text to what runs: everything that can fail first, then one pointer swap, then the street doors,
//! and the disk last. Whole or not at all.

use crate::config::plan::Plan;
use crate::control::apply::Receipt;
use crate::control::build::Builder;
use crate::control::origin::Kept;
use crate::control::trial::{Trials, Tried};
use crate::control::{Active, Control, Outcome};
use crate::listener::{BindError, Change};
use crate::routing::table::Table;
use crate::routing::trial::Tables;
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
        self.access_log.reopen();
        self.state().active = active;
        let persisted = self.settle();
        self.renew();
        Ok(persisted)
    }

    /// Another plan.
    pub(super) fn activate(&self, active: Active) -> Result<Receipt, String> {
        let mut builder = self.builder.lock().unwrap_or_else(PoisonError::into_inner);
        let swapped = self.swap(&mut builder, active);
        if swapped.is_err() {
            let plan = self.state().active.plan.clone();
            builder.forget_unused(&plan);
        }
        drop(builder);
        let receipt = swapped?;
        // The disk first: a certificate's file that hangs is not the version's.
        let persisted = self.settle();
        self.renew();
        Ok(Receipt { persisted, ..receipt })
    }

    /// Everything but the disk. A candidate that is tried becomes active as it was built, with all that it knows by now;
    /// any other version ends its trial.
    fn swap(&self, builder: &mut Builder, active: Active) -> Result<Receipt, String> {
        let (plan, origin) = (active.plan.clone(), active.origin.clone());
        let tried = self.tried().filter(|tried| tried.plan == plan);
        let table = match &tried {
            Some(tried) => tried.table.clone(),
            None => Arc::new(builder.build(&plan, self.next_number())?),
        };
        let doors = self.prepare_doors(&plan)?;
        let (number, hash) = (table.number, plan.hash.clone());
        let mut notices = plan.notices.clone();
        // Routes before doors: who comes in by a new door finds the routes that name it.
        let (was, before) = self.make_stable(table.clone(), tried.as_ref())?;
        tried.iter().for_each(|tried| builder.take_up(std::mem::take(&mut *tried.wishes())));
        let warnings = doors.commit();
        {
            // Together, and after the doors: who sees the version finds all of it, and whose it is.
            let mut state = self.state();
            notices.extend(only_at_start(&state.active.plan, &plan));
            state.active = active;
            state.number = number;
        }
        self.retire(before);
        builder.commit(&plan);
        (self.admin)(&plan.admin);
        self.access_log.retarget(&plan.access_log.target);
        self.access_log.reopen();
        let conflicts = self.steering.conflicts(&was, &table);
        conflicts.iter().for_each(|notice| RampConflict { notice }.emit());
        notices.extend(warnings.into_iter().chain(conflicts));
        ConfigApplied {
            version: number,
            hash: &hash,
            cause: &origin.cause,
            by: origin.by.as_deref(),
            reason: origin.reason.as_deref(),
            notices: &notices,
        }
        .emit();
        Ok(Receipt { number, hash, changed: true, persisted: false, notices })
    }

    /// The swap itself: the stable table as it was built, and what served before.
    fn make_stable(
        &self,
        table: Arc<Table>,
        tried: Option<&Tried>,
    ) -> Result<(Arc<Table>, Arc<Tables>), String> {
        let mut trials = self.trials();
        let gone = |tried| !trials.running.as_ref().is_some_and(|running| running.is(tried));
        if tried.is_some_and(gone) {
            return Err("the version was withdrawn while it was being made active".to_owned());
        }
        let running = trials.running.as_ref();
        let was = running.map_or_else(|| self.live.load(), |running| running.stable.clone());
        let watched = running.filter(|_| tried.is_some()).map(|running| running.tallies.clone());
        // Whatever is tried ends with it, in the same step.
        let before = self.steering.replace(Tables { watched: watched.clone(), ..Tables::only(table) });
        *trials = Trials::over(watched);
        Ok((was, before))
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
        self.keep(&text, &kept)
    }

    /// Tries again to keep what the disk did not take.
    pub fn keep_again(&self) {
        let (text, kept) = {
            let state = self.state();
            if state.unkept.is_none() {
                return;
            }
            (state.active.text.clone(), state.active.kept())
        };
        if self.keep(&text, &kept) {
            tracing::info!("the last good version is kept after all");
        }
    }

    fn keep(&self, text: &str, kept: &Kept) -> bool {
        match self.store.keep(text, kept) {
            Ok(()) => self.state().unkept = None,
            Err(error) => {
                self.not_kept(&error);
                return false;
            }
        }
        true
    }

    /// The active version is not on disk: a restart may not know it.
    pub fn not_kept(&self, error: &io::Error) {
        let why = format!("the last good version was not stored: {error}");
        let before = self.state().unkept.replace(why);
        // Told once, for it is tried again with every look.
        if before.is_none() {
            tracing::warn!(%error, "the last good version cannot be kept; a restart will not have it");
        }
    }
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
