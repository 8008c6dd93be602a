//! From a checked text to what runs: everything that can fail first, then one pointer swap, then the street doors,
//! and the disk last. Whole or not at all.
//!
//! Files are read before anything is locked: one that hangs holds up its own change, and neither a rollback nor a look
//! at the gateway.

use crate::config::plan::Plan;
use crate::control::apply::Receipt;
use crate::control::build::Builder;
use crate::control::sources::{self, Shelf};
use crate::control::store::ledger::Ref;
use crate::control::store::materials::Materials;
use crate::control::store::record::{Facts, Good, Standing};
use crate::control::trial::{Trials, Tried};
use crate::control::trust::Supply;
use crate::control::{Active, Control};
use crate::listener::{BindError, Change};
use crate::routing::table::Table;
use crate::routing::trial::Tables;
use crate::routing::trial::tallies::Tallies;
use crate::telemetry::events::{ConfigApplied, RampConflict};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How long the answer to a change waits for the disk.
const DISK: Duration = Duration::from_secs(2);

/// How a version becomes active.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Its number.
    pub(super) number: u64,
    /// How many rollbacks there were when the change began: one that began before a rollback must not end after it.
    pub(super) rollbacks: u64,
    /// It is good with that: no stages are required, and nobody is to confirm it.
    pub(super) good: bool,
}

impl Control {
    /// The same plan again: only what is outside the text may be new, certificates and moved log files. True when
    /// the disk has it.
    pub(super) fn refresh(&self, active: Active, rollbacks: u64) -> Result<bool, String> {
        let (shelf, materials) = self.sources(&active);
        let change = {
            // Whoever has the builder changes what runs.
            let _builder = self.builder.lock().unwrap_or_else(PoisonError::into_inner);
            self.still(rollbacks)?;
            self.prepare_doors(&shelf, &active.plan)?.commit();
            self.state().active = active;
            let good = self.books.read(|record| record.good(self.number()).is_some());
            self.settle(materials, good)
        };
        self.access_log.reopen();
        let persisted = self.books.persisted(change, DISK).is_ok();
        self.renew();
        Ok(persisted)
    }

    /// Another plan, for everyone.
    pub(super) fn activate(&self, active: Active, step: Step) -> Result<Receipt, String> {
        let Step { rollbacks, good, .. } = step;
        let (shelf, materials) = self.sources(&active);
        let mut builder = self.builder.lock().unwrap_or_else(PoisonError::into_inner);
        let swapped = self.still(rollbacks).and_then(|()| self.swap(&mut builder, active, (step, shelf)));
        let settled = match &swapped {
            Ok(_) => self.settle(materials, good),
            Err(_) => {
                let plan = self.state().active.plan.clone();
                builder.forget_unused(&plan);
                0
            }
        };
        drop(builder);
        let receipt = swapped?;
        let persisted = self.books.persisted(settled, DISK).is_ok();
        Ok(Receipt { persisted, ..receipt })
    }

    /// What follows from another version, and may wait for files, is done soon by the background thread.
    pub(super) fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// How many rollbacks there were so far.
    pub(super) fn rollbacks(&self) -> u64 {
        self.rollbacks.load(Ordering::Acquire)
    }

    /// Nobody rolled back since a change began.
    pub(super) fn still(&self, rollbacks: u64) -> Result<(), String> {
        match self.rollbacks() == rollbacks {
            true => Ok(()),
            false => {
                Err("somebody ended it, or rolled back, while it was being made active. hint: apply it again"
                    .into())
            }
        }
    }

    /// What a version is made of beside its text. Blocks on files, so nothing may be locked.
    pub(super) fn sources(&self, active: &Active) -> (Shelf, Materials) {
        sources::read(&active.plan, &active.text, &self.file, &*self.environment, &self.keyrings)
    }

    /// Everything but the disk. A candidate that is tried becomes active as it was built, with all that it knows by now;
    /// any other version ends its trial.
    fn swap(
        &self,
        builder: &mut Builder,
        active: Active,
        (step, shelf): (Step, Shelf),
    ) -> Result<Receipt, String> {
        let (plan, origin) = (active.plan.clone(), active.origin.clone());
        let tried = self.tried().filter(|tried| tried.plan == plan);
        let files = Arc::new(shelf);
        let table = match &tried {
            Some(tried) => tried.table.clone(),
            None => {
                builder.supply(Supply { files: files.clone(), forgiving: false });
                Arc::new(builder.build(&plan, step.number)?)
            }
        };
        // Whoever is not good yet is watched, also who went around the stages.
        let watched = match &tried {
            Some(tried) => Some(tried.tallies.clone()),
            None => {
                let routes = table.routes.iter().map(|route| &route.settings.name);
                (!step.good).then(|| Arc::new(Tallies::new(routes, builder.cores())))
            }
        };
        let doors = self.prepare_doors(&files, &plan)?;
        let (number, hash) = (table.number, plan.hash.clone());
        let mut notices = plan.notices.clone();
        notices.extend(self.put_in(builder, (table, tried.as_ref(), watched), doors, active)?);
        self.notifier.follow(&plan, number, &*files);
        self.books.change(|record| record.ledger.know_number(number));
        ConfigApplied {
            version: number,
            hash: &hash,
            cause: &origin.cause,
            by: origin.by.as_deref(),
            reason: origin.reason.as_deref(),
            notices: &notices,
        }
        .emit();
        Ok(Receipt { number, hash, changed: true, risk: None, persisted: false, notices })
    }

    /// The swap itself; returns what a person should know of it.
    ///
    /// # Errors
    /// That the candidate, if it is one, was withdrawn meanwhile. Nothing else can fail.
    pub(super) fn put_in(
        &self,
        builder: &mut Builder,
        (table, tried, watched): (Arc<Table>, Option<&Tried>, Option<Arc<Tallies>>),
        doors: Change<'_>,
        active: Active,
    ) -> Result<Vec<String>, String> {
        let (number, plan) = (table.number, active.plan.clone());
        // Routes before doors: who comes in by a new door finds the routes that name it.
        let (was, before) = self.make_stable(table.clone(), tried, watched)?;
        tried.iter().for_each(|tried| builder.take_up(std::mem::take(&mut *tried.wishes())));
        let warnings = doors.commit();
        let mut notices = {
            // Together, and after the doors: who sees the version finds all of it, and whose it is.
            let mut state = self.state();
            let notices = only_at_start(&state.active.plan, &plan);
            state.active = active;
            state.parent = Some(state.number).filter(|parent| *parent != number);
            state.number = number;
            // What is true now is told now: the disk may take its time.
            state.refused = None;
            state.degraded = None;
            notices
        };
        self.retire(before);
        builder.commit(&plan);
        (self.admin)(&plan.admin);
        self.access_log.retarget(&plan.access_log.target);
        self.access_log.reopen();
        let conflicts = self.steering.conflicts(&was, &table);
        conflicts.iter().for_each(|notice| RampConflict { notice }.emit());
        notices.extend(warnings.into_iter().chain(conflicts));
        Ok(notices)
    }

    /// The swap itself: the stable table as it was built, and what served before.
    fn make_stable(
        &self,
        table: Arc<Table>,
        tried: Option<&Tried>,
        watched: Option<Arc<Tallies>>,
    ) -> Result<(Arc<Table>, Arc<Tables>), String> {
        let mut trials = self.trials();
        let gone = |tried| !trials.running.as_ref().is_some_and(|running| running.is(tried));
        if tried.is_some_and(gone) {
            return Err("the version was withdrawn while it was being made active".to_owned());
        }
        let running = trials.running.as_ref();
        let was = running.map_or_else(|| self.live.load(), |running| running.stable.clone());
        // Whatever is tried ends with it, in the same step.
        let before = self.steering.replace(Tables { watched: watched.clone(), ..Tables::only(table) });
        *trials = Trials::over(watched);
        Ok((was, before))
    }

    /// Everything about the street doors that can fail.
    fn prepare_doors(&self, shelf: &Shelf, plan: &Plan) -> Result<Change<'_>, String> {
        let errors =
            |errors: Vec<BindError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        self.listeners.prepare_from(shelf, &plan.listeners).map_err(errors)
    }

    /// What is active is what it should be, and is made of this. Returns the change of the books that says so. The
    /// builder is held. `good`: nothing more is waited for.
    fn settle(&self, materials: Materials, good: bool) -> u64 {
        let (number, name) = {
            let mut state = self.state();
            state.materials = Arc::new(materials);
            state.refused = None;
            state.degraded = None;
            (state.number, Ref { number: state.number, hash: state.active.plan.hash.clone() })
        };
        let standing = self.standing();
        let (_, change) = self.books.change(|record| {
            record.ledger.know_number(name.number);
            record.ledger.lift(&name.hash);
            let changed = record.ledger.active.replace(name.clone()) != Some(name);
            record.active = Some(standing);
            if changed {
                record.admin = None;
            }
        });
        // Where stages are required, that takes a bake more.
        if good { self.became_good(number) } else { change }
    }

    /// What is active, as it is kept.
    pub(super) fn standing(&self) -> Standing {
        let state = self.state();
        Standing { text: state.active.text.clone(), kept: state.active.kept() }
    }

    /// The active version has been fully active and baked, if it has this number: from now on it is what a start and a
    /// rollback lead to. Returns the change of the books that says so.
    pub fn became_good(&self, number: u64) -> u64 {
        let good = {
            let state = self.state();
            (state.number == number).then(|| {
                let facts = Facts {
                    number,
                    hash: state.active.plan.hash.clone(),
                    parent: state.parent,
                    origin: state.active.origin.clone(),
                    risk: None,
                    reverted: false,
                    release: env!("CARGO_PKG_VERSION").to_owned(),
                };
                Good { facts, text: state.active.text.clone(), materials: state.materials.clone() }
            })
        };
        let (_, change) = self.books.change(|record| {
            let Some(good) = good else { return };
            record.ledger.confirmed = Some(good.name());
            record.ledger.confirm = None;
            record.keep_good(good);
        });
        change
    }

    /// Tries again to keep what the disk did not take.
    pub fn keep_again(&self) {
        if self.books.trouble().is_some() {
            self.books.try_again(DISK);
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
